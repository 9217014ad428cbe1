"""How a run gets its processes, and that they share a batch's gradients."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from detectron2.structures import Instances
from detectron2.utils import comm
from detectron2.utils.events import EventStorage

from frozenseg.engine import processes as module
from frozenseg.engine.non_finite import NonFiniteError
from frozenseg.engine.precision import Precision
from frozenseg.engine.processes import (
    TORCHRUN_VARIABLES,
    launch,
    process_rank,
    started_by_torchrun,
    unwrap,
    wrap_for_processes,
)
from frozenseg.engine.train_step import TrainStep
from frozenseg.mask_classification import criterion
from tests.smooth_decoder import smooth_model
from tools.record_reference import reference_batch

pytestmark = pytest.mark.slow

VARIANTS = ("convnext", "frozenseg")


@pytest.fixture
def torchrun(monkeypatch):
    """Sets the variables of the first of `count` processes of this machine."""

    def set_up(count=1, rank=0):
        values = (rank, count, rank, count, "127.0.0.1")
        for name, value in zip(TORCHRUN_VARIABLES, values, strict=True):
            monkeypatch.setenv(name, str(value))
        monkeypatch.setenv("MASTER_PORT", "0")

    return set_up


def started(**words):
    """What detectron2's launch is asked for, or what runs at once."""
    seen = []
    launch(lambda *args: seen.append(args), ("a", "b"), **words)
    return seen


def test_one_process_on_the_cpu_runs_at_once():
    assert not started_by_torchrun()
    assert process_rank() == 0
    assert started(device="cpu", num_gpus=0) == [("a", "b")]


def test_gpus_are_left_to_detectron2(monkeypatch):
    asked = []
    monkeypatch.setattr(
        "detectron2.engine.launch", lambda *args, **words: asked.append((args, words))
    )
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    url = "tcp://10.0.0.1:29500"
    started(device="cuda", num_gpus=4, num_machines=2, machine_rank=1, dist_url=url)
    ((args, words),) = asked
    assert args[1] == 4
    assert words == {
        **{"num_machines": 2, "machine_rank": 1, "dist_url": url},
        "args": ("a", "b"),
    }


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            {"device": "cpu", "num_gpus": 0, "num_machines": 2},
            "--num-machines 2 on the CPU.*torchr",
        ),
        ({"device": "cuda", "num_gpus": 1, "num_machines": 2}, "needs --dist-url"),
        (
            {"device": "cpu", "num_gpus": 0, "machine_rank": 5},
            "--machine-rank 5: must be from 0 to --num-machines - 1, 0",
        ),
        ({"device": "cuda", "num_gpus": 9}, "--num-gpus is 9, but this machine has 4"),
    ],
)
def test_flags_that_cannot_be_met_are_errors(words, message, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    with pytest.raises(ValueError, match=message):
        started(**words)


def test_torchrun_counts_machines_and_gpus_itself(torchrun, monkeypatch):
    torchrun(count=3, rank=2)
    assert process_rank() == 2
    with pytest.raises(ValueError, match="--nnodes"):
        started(device="cpu", num_gpus=0, num_machines=2)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    with pytest.raises(ValueError, match=r"torchrun started 3 processes.*2 GPUs"):
        started(device="cuda", num_gpus=1)


def test_a_process_of_torchrun_has_detectron2s_groups_and_leaves_them(torchrun):
    torchrun()
    seen = []

    def main():
        seen.append((dist.get_backend(), comm.get_local_rank(), comm.get_local_size()))
        seen.append(comm.all_gather("x"))

    launch(main, (), device="cpu", num_gpus=0)
    assert seen == [("gloo", 0, 1), ["x"]]
    assert not dist.is_initialized()
    assert comm._LOCAL_PROCESS_GROUP is None


def half_gradients(rank: int, cache: Path, variant: str):
    """The gradients of one image of the reference batch, its points fixed by its rank."""
    with smooth_model(variant, cache) as model:
        wrapped = wrap_for_processes(model.train())
        torch.manual_seed(100 + rank)
        sum(wrapped([reference_batch()[rank]]).values()).backward()
    return {n: p.grad for n, p in model.named_parameters() if p.requires_grad}


def in_two_processes(rank: int, folder: Path) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    for variant in VARIANTS:
        gradients = half_gradients(rank, folder / str(rank), variant)
        torch.save(gradients, folder / f"{variant}{rank}.pt")
    for steps in (1, 2):
        torch.save(step_gradients(rank, steps, folder), folder / f"steps{steps}_{rank}.pt")
    (folder / f"stop{rank}.txt").write_text(stop_of_a_bad_loss(rank, folder))
    dist.destroy_process_group()


def step(model, batch, steps, output_dir=""):
    """One step of the trainer, whose optimizer leaves the gradients."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-9)
    trainer = TrainStep(
        wrap_for_processes(model),
        [batch],
        optimizer,
        precision=Precision("cpu"),
        seed=0,
        accumulation_steps=steps,
        output_dir=output_dir,
    )
    with EventStorage():
        trainer.iter = 0
        trainer.run_step()


def step_gradients(rank: int, steps: int, cache: Path):
    """Of four copies of the reference images in two ranks; each mask has the same points."""
    first, second = reference_batch()
    second["image"] = first["image"].flip(-1)  # a constant one would put many pixels at one kink
    masks = second["instances"].gt_masks.new_ones(2, *first["image"].shape[1:])
    masks[1, 40:] = False
    instances = Instances(masks.shape[1:])
    instances.gt_classes, instances.gt_masks = second["instances"].gt_classes, masks
    second["instances"] = instances
    batch = [[first, second], [second, second]][rank]
    points = torch.rand(1, 20000, 2, generator=torch.Generator().manual_seed(5))
    with (
        smooth_model("convnext", cache / str(rank)) as model,
        pytest.MonkeyPatch.context() as patch,
    ):
        patch.setattr(torch, "rand", lambda n, count, _, **__: points[:, :count].repeat(n, 1, 1))
        step(model, batch, steps)
    return {n: p.grad for n, p in model.named_parameters() if p.requires_grad}


def stop_of_a_bad_loss(rank: int, folder: Path) -> str:
    """What each rank says when only rank 1 has a bad loss."""
    model = BadInRankOne()
    try:
        step(model, [rank], 1, folder)
    except NonFiniteError as error:
        return str(error)
    return ""


class BadInRankOne(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def forward(self, batch):
        return {"loss_x": self.weight.sum() * (float("nan") if batch[0] == 1 else 1.0)}


def test_in_two_ranks_too_the_parts_of_a_batch_add_up_to_it(two_ranks):
    """Mask counts are those of all ranks and parts; ranks agree although parts do not exchange."""
    whole, parts = (
        [torch.load(two_ranks / f"steps{n}_{rank}.pt", weights_only=True) for rank in (0, 1)]
        for n in (1, 2)
    )
    for name, value in whole[0].items():
        assert torch.equal(parts[0][name], parts[1][name]), name
        scale = float(value.abs().max())
        torch.testing.assert_close(parts[0][name], value, rtol=1e-3, atol=1e-3 * scale + 1e-8)


def test_a_bad_loss_in_one_rank_stops_all(two_ranks):
    first, second = ((two_ranks / f"stop{rank}.txt").read_text() for rank in (0, 1))
    assert first == "another process met numbers that are not finite at iteration=0"
    assert "the losses loss_x are not finite at iteration=0" in second
    (file,) = (two_ranks / "non_finite").iterdir()
    assert file.name == "iteration_0000000_rank_1.pth"
    assert str(file) in second


@pytest.fixture(scope="module")
def two_ranks(tmp_path_factory):
    """The folder with the gradients of two processes."""
    folder = tmp_path_factory.mktemp("ranks")
    mp.spawn(in_two_processes, args=(folder,), nprocs=2)
    return folder


@pytest.mark.usefixtures("one_thread")
@pytest.mark.parametrize("variant", VARIANTS)
def test_two_ranks_average_to_the_mean_of_the_two_halves(variant, two_ranks, tmp_path, monkeypatch):
    """Same samples, fixed points, one mask count: DistributedDataParallel adds nothing else."""
    found = [torch.load(two_ranks / f"{variant}{rank}.pt", weights_only=True) for rank in (0, 1)]
    counts = [len(sample["instances"]) for sample in reference_batch()]
    assert counts[0] != counts[1]  # else a count of each rank's own would pass too
    shared = sum(counts) / 2
    monkeypatch.setattr(criterion, "_masks_per_rank", lambda count, like: torch.tensor(shared))
    halves = [half_gradients(rank, tmp_path / "alone", variant) for rank in (0, 1)]
    for name, first in found[0].items():
        assert torch.equal(first, found[1][name]), name
        mean = (halves[0][name] + halves[1][name]) / 2
        torch.testing.assert_close(first, mean, rtol=1e-4, atol=1e-5 * float(mean.abs().max()))
    monkeypatch.undo()
    own = [half_gradients(rank, tmp_path / "alone", variant) for rank in (0, 1)]
    name = "sem_seg_head.predictor.query_feat.weight"
    assert not torch.allclose(found[0][name], (own[0][name] + own[1][name]) / 2, rtol=1e-2)


def test_the_module_uses_nothing_of_torchrun_unless_all_variables_are_there(monkeypatch):
    monkeypatch.setenv("RANK", "3")
    monkeypatch.setenv("WORLD_SIZE", "4")
    assert not module.started_by_torchrun()
    assert process_rank() == 0


def test_one_process_needs_no_wrapper():
    model = torch.nn.Linear(1, 1)
    assert wrap_for_processes(model) is model
    assert unwrap(model) is model


def test_a_cpu_model_can_be_wrapped_for_several_processes(tmp_path, monkeypatch):
    dist.init_process_group("gloo", init_method=f"file://{tmp_path}/meet", rank=0, world_size=1)
    try:
        monkeypatch.setattr("detectron2.utils.comm.get_world_size", lambda: 2)
        model = torch.nn.Linear(1, 1)
        wrapped = wrap_for_processes(model)
        assert wrapped is not model
        assert unwrap(wrapped) is model
    finally:
        dist.destroy_process_group()
