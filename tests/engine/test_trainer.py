"""Training: what is written, exact resume, precision, and a loss that falls."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path

import pytest
import torch
from detectron2.utils.events import EventStorage

from frozenseg.engine.trainer import Trainer, TrainingBar, accumulation_steps
from frozenseg.evaluation.results import read_results
from frozenseg.files import file_digest


def train(cfg, *, resume=False, stop_after=None):
    """Trains; `stop_after` iterations an error ends the run, as a crash would."""
    trainer = Trainer(cfg)
    trainer.resume_or_load(resume=resume)
    losses = {}
    step = trainer._trainer.run_step

    def run_step():
        if trainer.iter == stop_after:
            raise KeyboardInterrupt
        step()
        losses[trainer.iter] = trainer.storage.history("total_loss").latest()

    trainer._trainer.run_step = run_step
    try:
        trainer.train()
    except KeyboardInterrupt:
        assert stop_after is not None
    return trainer, losses


def weights(trainer):
    return {name: value.clone() for name, value in trainer.model.state_dict().items()}


@pytest.mark.slow
def test_a_resumed_run_equals_an_uninterrupted_one(stand_in_cfg, tmp_path):
    straight, losses = train(stand_in_cfg)
    stand_in_cfg.OUTPUT_DIR = str(tmp_path / "broken")
    _, first = train(stand_in_cfg, stop_after=4)  # the last checkpoint is that of iteration 2
    resumed, second = train(stand_in_cfg, resume=True)
    assert sorted(second) == [3, 4, 5]
    assert first | second == losses
    for name, value in weights(straight).items():
        assert torch.equal(value, weights(resumed)[name]), name
    rate = [group["lr"] for group in resumed.optimizer.param_groups]
    assert rate == [group["lr"] for group in straight.optimizer.param_groups]


def test_a_run_with_a_random_seed_resumes_with_that_seed(stand_in_cfg):
    stand_in_cfg.SEED = -1
    first, _ = train(stand_in_cfg, stop_after=4)
    resumed = Trainer(stand_in_cfg)
    assert resumed.seed != first.seed
    resumed.resume_or_load(resume=True)
    assert resumed.seed == resumed._trainer.seed == first.seed
    assert resumed.data_loader.dataset.seed == first.seed
    assert resumed.data_loader.start == 3 * 2


@pytest.mark.slow
def test_the_seed_decides_the_run(stand_in_cfg, tmp_path):
    _, first = train(stand_in_cfg)
    stand_in_cfg.OUTPUT_DIR = str(tmp_path / "again")
    _, again = train(stand_in_cfg)
    stand_in_cfg.merge_from_list(["OUTPUT_DIR", str(tmp_path / "other"), "SEED", 8])
    _, other = train(stand_in_cfg)
    assert first == again != other


@pytest.mark.slow
def test_what_a_run_leaves_behind(stand_in_cfg):
    trainer, _ = train(stand_in_cfg)
    folder = Path(stand_in_cfg.OUTPUT_DIR)
    assert {"model_0000002.pth", "model_final.pth", "last_checkpoint", "results.json"} <= {
        path.name for path in folder.iterdir()
    }
    assert not list(folder.glob(".*part*"))
    saved = torch.load(folder / "model_final.pth", weights_only=True)
    assert set(saved["model"]) == {
        name for name, p in trainer.model.named_parameters() if p.requires_grad
    }
    rows = [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]
    assert rows[-1]["iteration"] >= 5
    assert any("total_loss" in row for row in rows)
    assert any("shapes_val_panoptic/panoptic/all/PQ" in row for row in rows)


@pytest.mark.parametrize("clip_weights", ["", "openai:"])
def test_frozen_weights_that_exist_nowhere_else_are_saved(stand_in_cfg, clip_weights):
    stand_in_cfg.MODEL.FC_CLIP.CLIP_PRETRAINED_WEIGHTS = clip_weights
    stand_in_cfg.merge_from_list(["SOLVER.MAX_ITER", 1, "DATASETS.TEST", ()])
    trainer, _ = train(stand_in_cfg)
    saved = torch.load(Path(stand_in_cfg.OUTPUT_DIR) / "model_final.pth", weights_only=True)
    assert set(saved["model"]) == set(trainer.model.state_dict())


@pytest.mark.slow
@pytest.mark.parametrize("max_iter", [6, 4])
def test_resuming_a_finished_run_scores_the_file_that_it_resumes_from(stand_in_cfg, max_iter):
    train(stand_in_cfg)
    results = Path(stand_in_cfg.OUTPUT_DIR) / "results.json"
    results.unlink()
    stand_in_cfg.merge_from_list(["SOLVER.MAX_ITER", max_iter, "SOLVER.STEPS", (3,)])
    _, losses = train(stand_in_cfg, resume=True)
    assert not losses
    (entry,) = read_results(results)
    final = results.with_name("model_final.pth")
    assert (entry["checkpoint"], entry["checkpoint_hash"]) == (final.name, file_digest(final))
    last = results.with_name("metrics.json").read_text().splitlines()[-1]
    assert json.loads(last)["iteration"] == max_iter


def test_a_run_without_loss_scale_resumes_into_one_with(stand_in_cfg):
    trainer = Trainer(stand_in_cfg)
    state = trainer.state_dict()
    assert state["grad_scaler"] == {}
    trainer._trainer.scaler = torch.amp.GradScaler("cpu", init_scale=8.0)
    trainer.load_state_dict(state)
    assert trainer._trainer.scaler.get_scale() == 8.0
    scaled = trainer.state_dict()
    trainer._trainer.scaler = torch.amp.GradScaler("cpu", init_scale=2.0)
    trainer.load_state_dict(scaled)
    assert trainer._trainer.scaler.get_scale() == 8.0


@pytest.mark.slow
def test_training_starts_from_given_weights(stand_in_cfg, tmp_path):
    first, _ = train(stand_in_cfg)
    stand_in_cfg.merge_from_list(
        [
            *("MODEL.WEIGHTS", str(Path(stand_in_cfg.OUTPUT_DIR) / "model_final.pth")),
            *("OUTPUT_DIR", str(tmp_path / "second")),
        ]
    )
    second = Trainer(stand_in_cfg)
    second.resume_or_load(resume=True)  # nothing to resume there
    assert second.start_iter == 0
    head = second.model.sem_seg_head[1].weight
    assert torch.equal(head, first.model.sem_seg_head[1].weight)


@pytest.mark.slow
def test_the_loss_falls(stand_in_cfg):
    stand_in_cfg.merge_from_list(
        ["SOLVER.MAX_ITER", 40, "SOLVER.STEPS", (), "SOLVER.BASE_LR", 0.05, "DATASETS.TEST", ()]
    )
    _, losses = train(stand_in_cfg)
    start, end = (sum(losses[i] for i in part) / 10 for part in (range(10), range(30, 40)))
    assert end < 0.8 * start


def test_amp_on_the_cpu_falls_back_instead_of_failing(stand_in_cfg):
    stand_in_cfg.merge_from_list(["SOLVER.AMP.ENABLED", True, "SOLVER.MAX_ITER", 2])
    _, losses = train(stand_in_cfg)
    assert len(losses) == 2


def test_a_loss_that_is_not_finite_stops_the_run(stand_in_cfg):
    trainer = Trainer(stand_in_cfg)
    torch.nn.init.constant_(trainer.model.sem_seg_head[1].weight, float("nan"))
    with pytest.raises(FloatingPointError, match="iteration=0"):
        trainer.train()


@pytest.mark.parametrize(("batch", "steps", "processes"), [(6, 2, 2), (3, 2, 1), (4, 1, 3)])
def test_a_batch_that_cannot_be_shared_is_an_error_with_the_keys(
    stand_in_cfg, batch, steps, processes
):
    opts = ["SOLVER.IMS_PER_BATCH", batch, "SOLVER.ACCUMULATION_STEPS", steps]
    stand_in_cfg.merge_from_list(opts)
    message = (
        rf"IMS_PER_BATCH is {batch}.*{processes} processes x SOLVER\.ACCUMULATION_STEPS {steps}"
    )
    with pytest.raises(ValueError, match=message):
        accumulation_steps(stand_in_cfg, processes)


@pytest.mark.slow
def test_accumulation_is_the_larger_batch_but_for_the_draws(stand_in_cfg, tmp_path):
    """The same images: with the loss on all pixels the weights agree."""
    found = []
    for steps in (1, 2):
        stand_in_cfg.merge_from_list(
            [
                *("SOLVER.ACCUMULATION_STEPS", steps, "OUTPUT_DIR", str(tmp_path / str(steps))),
                *("SOLVER.IMS_PER_BATCH", 4, "DATASETS.TEST", ()),
            ]
        )
        trainer = Trainer(stand_in_cfg)
        trainer.model.losses = types.MethodType(mean_colour_loss, trainer.model)
        trainer.train()
        found.append(weights(trainer))
    for name, value in found[0].items():
        torch.testing.assert_close(value, found[1][name], rtol=1e-4, atol=1e-5)


def mean_colour_loss(self, batch):
    """A mean over the images, without random points."""
    outputs = [self.logits(sample["image"]).square().mean() for sample in batch]
    return {"loss_ce": sum(outputs) / len(batch)}


def test_no_training_data_is_an_error(stand_in_cfg):
    stand_in_cfg.DATASETS.TRAIN = ()
    with pytest.raises(ValueError, match=r"DATASETS\.TRAIN is empty"):
        Trainer(stand_in_cfg)


def test_on_a_terminal_a_bar_counts_iterations_and_shows_the_loss(capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    bar = TrainingBar()
    with EventStorage(3) as storage:
        bar.trainer = types.SimpleNamespace(max_iter=5, start_iter=3, storage=storage)
        bar.before_train()
        for loss in (7.0, 9.0):
            storage.put_scalar("total_loss", loss)
            bar.after_step()
        bar.after_train()
    said = capsys.readouterr().err
    assert "5/5" in said
    assert "loss=8" in said
