"""What is kept of a step whose loss is not finite, and that it is enough to repeat the step."""

from __future__ import annotations

import argparse
import math
import re
from pathlib import Path

import pytest
import torch
from detectron2.structures import BitMasks, Instances
from torch import nn

from frozenseg.cli import program
from frozenseg.data.loader import SeededDataset
from frozenseg.engine.non_finite import NonFiniteError, read_bad_step, save_bad_step
from frozenseg.engine.trainer import Trainer


def spoil(trainer, iteration):
    """From that iteration on the model's loss is infinite, and depends on batch and draws."""
    model, losses = trainer.model, trainer.model.losses

    def spoilt(batch):
        values = losses(batch)
        model.last = float(values["loss_ce"])
        infinite = trainer.iter >= iteration
        return {**values, "loss_bad": values["loss_ce"] * (math.inf if infinite else 0.0)}

    model.losses = spoilt


@pytest.mark.slow
def test_the_run_stops_and_the_saved_step_gives_the_same_loss_again(stand_in_cfg):
    trainer = Trainer(stand_in_cfg)
    spoil(trainer, 4)
    with pytest.raises(NonFiniteError, match="the losses loss_bad are not finite") as stop:
        trainer.train()
    assert "iteration=4" in str(stop.value)
    (path,) = re.findall(r"\S+\.pth", str(stop.value))
    assert Path(path) == Path(stand_in_cfg.OUTPUT_DIR, "non_finite/iteration_0000004_rank_0.pth")
    bad = read_bad_step(Path(path))
    assert math.isinf(bad.losses["loss_bad"])
    assert bad.losses["loss_ce"] == pytest.approx(trainer.model.last)

    fresh = Trainer(stand_in_cfg).model
    fresh.load_state_dict(bad.weights, strict=False)
    torch.manual_seed(bad.draws["torch_seed"])
    assert float(fresh.losses(bad.batch)["loss_ce"]) == bad.losses["loss_ce"]


def test_the_draws_name_the_samples_of_the_stream(stand_in_cfg):
    trainer = Trainer(stand_in_cfg)
    spoil(trainer, 3)
    asked, fetch = [], SeededDataset.__getitem__
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            SeededDataset, "__getitem__", lambda self, key: asked.append(key) or fetch(self, key)
        )
        with pytest.raises(NonFiniteError):
            trainer.train()
    (path,) = Path(stand_in_cfg.OUTPUT_DIR, "non_finite").iterdir()
    bad = read_bad_step(path)
    assert bad.draws["positions"] == [position for position, _ in asked[-2:]] == [6, 7]
    assert bad.draws["seed"] == stand_in_cfg.SEED
    names = [Path(sample["file_name"]).name for sample in bad.batch]
    assert names == [
        Path(trainer.data_loader.dataset.records[index]["file_name"]).name
        for _, index in asked[-2:]
    ]


def test_a_failed_run_is_neither_evaluated_nor_saved(stand_in_cfg):
    """Not even in the last iteration, after which detectron2's hook would evaluate."""
    trainer = Trainer(stand_in_cfg)
    spoil(trainer, 5)
    with pytest.raises(NonFiniteError):
        trainer.train()
    found = {path.name for path in Path(stand_in_cfg.OUTPUT_DIR).iterdir()}
    assert "model_0000002.pth" in found
    assert not {"model_final.pth", "results.json"} & found


def test_gradients_that_are_not_finite_stop_the_run_before_the_weights_change(stand_in_cfg):
    trainer = Trainer(stand_in_cfg)
    head = trainer.model.sem_seg_head[1].weight
    before = head.detach().clone()
    head.register_hook(lambda gradient: gradient * math.nan)
    with pytest.raises(
        NonFiniteError, match=r"norm of the gradients is nan at iteration=0;.*\.pth"
    ):
        trainer.train()
    assert torch.equal(head, before)


def test_an_error_of_the_matcher_is_such_a_stop_too(stand_in_cfg):
    trainer = Trainer(stand_in_cfg)

    def fail(batch):
        raise FloatingPointError("the matching cost is not finite")

    trainer.model.losses = fail
    with pytest.raises(NonFiniteError, match=r"matching cost is not finite at iteration=0.*\.pth"):
        trainer.train()


def test_the_file_holds_no_pickled_objects_and_all_kinds_of_values(tmp_path):
    instances = Instances((4, 6))
    instances.gt_classes = torch.tensor([1, 2])
    instances.gt_masks = BitMasks(torch.ones(2, 4, 6, dtype=torch.bool))
    sample = {"image": torch.ones(3, 4, 6), "instances": instances, "path": Path("a.jpg")}
    model = nn.Sequential(nn.Linear(1, 1), nn.Linear(1, 1).requires_grad_(False))
    path = save_bad_step(
        tmp_path / "new",
        [{**sample, "sizes": [(4, 6)], "crowd": False}],
        model=model,
        draws={"iteration": 7, "rank": 1, "torch_seed": 2**64 - 1},
        losses={"loss": torch.tensor(math.nan)},
    )
    torch.load(path, weights_only=True)
    (again,) = read_bad_step(path).batch
    assert torch.equal(again["instances"].gt_masks, instances.gt_masks.tensor)
    assert again["instances"].image_size == (4, 6)
    assert (again["path"], again["sizes"], again["crowd"]) == ("a.jpg", [[4, 6]], False)
    bad = read_bad_step(path)
    assert bad.draws["torch_seed"] == 2**64 - 1
    assert set(bad.weights) == {"0.weight", "0.bias"}


def test_another_file_is_refused(tmp_path):
    torch.save({"model": {}}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match="was not written by a training that stopped"):
        read_bad_step(tmp_path / "w.pth")


def test_a_diverged_loss_is_a_user_error_of_one_line(capsys):
    def diverge(_args):
        raise NonFiniteError("the losses are not finite: lower SOLVER.BASE_LR")

    with pytest.raises(SystemExit) as end:
        program.run(diverge, argparse.Namespace())
    assert end.value.code == program.EXIT_USER_ERROR
    assert capsys.readouterr().err == ("error: the losses are not finite: lower SOLVER.BASE_LR\n")
