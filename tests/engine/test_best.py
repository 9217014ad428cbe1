"""The best weights by a metric, early stopping, and both over a resumed run."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from frozenseg.engine.best import BestModel, best_metric
from frozenseg.engine.trainer import Trainer
from tests.engine.test_trainer import train

NAME = "shapes_val_panoptic"


def record(tmp_path, values, *, metric=f"{NAME}/panoptic/all/PQ", patience=0, best=None):
    """A BestModel after evaluations, and the iterations at which it saved."""
    (tmp_path / "results.json").write_text('{"format": 1, "results": []}')
    saved = []
    files = SimpleNamespace(save=lambda name, iteration: saved.append(iteration))
    best = best or BestModel(files, tmp_path, metric, patience)
    dataset, _, score = metric.partition("/")
    for done, value in values.items():
        best.record(done, {dataset: {} if value is None else {score: value}})
    return best, saved


def test_the_first_of_the_highest_values_is_best(tmp_path):
    best, saved = record(tmp_path, {1: 3.0, 3: 5.0, 5: 5.0, 7: 4.0})
    assert (best.best(), saved) == ((3, 5.0), [1, 3])
    said = json.loads((tmp_path / "results.json").read_text())["best"]
    metric = f"{NAME}/panoptic/all/PQ"
    assert said == {"metric": metric, "value": 5.0, "iteration": 3, "file": "model_best.pth"}


def test_of_a_loss_the_lowest_value_is_best(tmp_path):
    best, saved = record(tmp_path, {1: 3.0, 3: 5.0, 5: 2.0}, metric=f"{NAME}/validation_loss")
    assert (best.best(), saved) == ((5, 2.0), [1, 5])


def test_an_evaluation_without_the_metric_is_named_and_never_best(tmp_path, caplog):
    best, saved = record(tmp_path, {1: None, 3: float("nan"), 5: 1.0})
    assert (best.best(), saved) == ((5, 1.0), [5])
    assert caplog.text.count(f"has no {NAME}/panoptic/all/PQ") == 2


@pytest.mark.parametrize(
    ("values", "exhausted"),
    [
        ([], False),
        ([3.0, 2.0], False),
        ([3.0, 2.0, 3.0], True),
        ([3.0, 2.0, 4.0], False),
        ([None, None], True),
    ],
)
def test_patience_counts_evaluations_without_a_better_value(tmp_path, values, exhausted):
    best, _ = record(tmp_path, dict(enumerate(values)), patience=2)
    assert best.exhausted == exhausted
    best.patience = 0
    assert not best.exhausted


def test_a_resumed_run_knows_the_evaluations_up_to_its_checkpoint(tmp_path):
    record(tmp_path, {1: 3.0, 3: 5.0, 5: 9.0})
    again, _ = record(tmp_path, {})
    again.resume(4)
    assert again.values == {1: 3.0, 3: 5.0}
    other, _ = record(tmp_path, {}, metric=f"{NAME}/panoptic/all/SQ")
    other.resume(4)
    assert other.values == {}


@pytest.mark.parametrize(
    "content", ["", "[]", '{"metric": 1}', '{"metric": "", "values": {"a": 1}}']
)
def test_a_file_of_values_that_is_damaged_is_an_error_that_names_it(tmp_path, content):
    (tmp_path / "best.json").write_text(content)
    with pytest.raises(ValueError, match=r"best\.json: not .*delete it"):
        record(tmp_path, {})[0].resume(3)


@pytest.mark.parametrize(
    ("options", "metric"),
    [
        ({"TEST.BEST_METRIC": "panoptic/all/PQ"}, f"{NAME}/panoptic/all/PQ"),
        ({"TEST.BEST_METRIC": f"{NAME}/panoptic/seen/PQ"}, f"{NAME}/panoptic/seen/PQ"),
        (
            {"TEST.BEST_METRIC": "semantic/ground_truth/all/mIoU"},
            f"{NAME}/semantic/ground_truth/all/mIoU",
        ),
        ({"TEST.BEST_METRIC": "semantic/fwIoU"}, f"{NAME}/semantic/fwIoU"),
        ({}, ""),
    ],
)
def test_a_metric_is_that_of_the_first_test_set(stand_in_cfg, options, metric):
    stand_in_cfg.merge_from_list([part for pair in options.items() for part in pair])
    assert best_metric(stand_in_cfg) == metric


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"TEST.BEST_METRIC": "panoptic/all/PG"}, r"did you mean panoptic/all/PQ"),
        ({"TEST.BEST_METRIC": "PQ"}, r"known.*panoptic/all/PQ"),
        ({"TEST.BEST_METRIC": "panoptic/al/PQ"}, "BEST_METRIC is 'panoptic/al/PQ'"),
        ({"TEST.BEST_METRIC": "episodes/mIoU"}, "is scored for panoptic, instance, semantic"),
        ({"TEST.BEST_METRIC": "validation_loss"}, r"set TEST\.VALIDATION_LOSS True"),
        ({"TEST.BEST_METRIC": "panoptic/all/PQ", "DATASETS.TEST": ()}, "DATASETS.TEST is empty"),
        ({"TEST.PATIENCE": 2, "TEST.EVAL_PERIOD": 1}, r"PATIENCE is 2, which needs"),
        (
            {"TEST.PATIENCE": 2, "TEST.BEST_METRIC": "panoptic/all/PQ"},
            r"PATIENCE is 2, which needs",
        ),
    ],
)
def test_metrics_that_no_evaluation_would_have_are_refused_at_once(stand_in_cfg, options, message):
    stand_in_cfg.merge_from_list([part for pair in options.items() for part in pair])
    with pytest.raises(ValueError, match=message):
        Trainer(stand_in_cfg)


def with_scores(cfg, monkeypatch, values):
    """Evaluations give these values, one after every second iteration."""
    from frozenseg.engine import trainer

    def evaluate(cfg, model, checkpoint=""):
        path = Path(cfg.OUTPUT_DIR) / "results.json"
        path.write_text('{"format": 1, "results": []}')
        return {NAME: {"panoptic/all/PQ": values[evaluate.trainer().done]}}

    monkeypatch.setattr(trainer, "evaluate", evaluate)
    init = Trainer.__init__

    def remember(self, cfg):
        init(self, cfg)
        evaluate.trainer = lambda: self

    monkeypatch.setattr(Trainer, "__init__", remember)
    cfg.merge_from_list(["TEST.BEST_METRIC", "panoptic/all/PQ", "TEST.EVAL_PERIOD", 2])


def read(cfg, name):
    return torch.load(Path(cfg.OUTPUT_DIR) / name, weights_only=True)


def equal(one, other):
    assert one["iteration"] == other["iteration"]
    for name, value in one["model"].items():
        assert torch.equal(value, other["model"][name]), name


@pytest.mark.slow
@pytest.mark.parametrize("stop", [3, 4, 5])
def test_the_best_model_of_a_resumed_run_is_that_of_a_straight_one(
    stand_in_cfg, monkeypatch, tmp_path, stop
):
    """Checkpoints after iterations 2 and 5, evaluations after 1, 3 and 5; 3 is the best."""
    with_scores(stand_in_cfg, monkeypatch, {1: 4.0, 3: 6.0, 5: 5.0})
    train(stand_in_cfg)
    straight = read(stand_in_cfg, "model_best.pth")
    values = (Path(stand_in_cfg.OUTPUT_DIR) / "best.json").read_text()
    assert straight["iteration"] == straight["trainer"]["iteration"] == 3
    stand_in_cfg.OUTPUT_DIR = str(tmp_path / "broken")
    train(stand_in_cfg, stop_after=stop)
    train(stand_in_cfg, resume=True)
    equal(read(stand_in_cfg, "model_best.pth"), straight)
    assert (Path(stand_in_cfg.OUTPUT_DIR) / "best.json").read_text() == values
    assert (Path(stand_in_cfg.OUTPUT_DIR) / "last_checkpoint").read_text() == "model_final.pth"


@pytest.mark.slow
def test_an_evaluation_that_a_kill_took_is_done_on_resuming(stand_in_cfg, monkeypatch):
    """The checkpoint of iteration 3 is there, its evaluation is not."""
    with_scores(stand_in_cfg, monkeypatch, {1: 4.0, 3: 6.0, 5: 5.0})
    stand_in_cfg.merge_from_list(["SOLVER.CHECKPOINT_PERIOD", 2])
    train(stand_in_cfg, stop_after=4)
    folder = Path(stand_in_cfg.OUTPUT_DIR)
    best = read(stand_in_cfg, "model_best.pth")
    (folder / "best.json").unlink()
    (folder / "model_best.pth").unlink()
    trainer, losses = train(stand_in_cfg, resume=True)
    assert sorted(losses) == [4, 5]
    assert trainer.best.values == {3: 6.0, 5: 5.0}
    equal(read(stand_in_cfg, "model_best.pth"), best)


@pytest.mark.slow
def test_patience_ends_a_training_and_its_resumption(stand_in_cfg, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    scores = {1: 6.0, 3: 5.0, 5: 4.0, 7: 9.0}
    with_scores(stand_in_cfg, monkeypatch, scores)
    stand_in_cfg.merge_from_list(["TEST.PATIENCE", 2, "SOLVER.MAX_ITER", 8])
    _, losses = train(stand_in_cfg)
    assert sorted(losses) == list(range(6))
    assert "Training ends after iteration 5: no better panoptic/all/PQ in TEST.PATIENCE = 2" in (
        caplog.text
    )
    assert "Exception during training" not in caplog.text
    assert read(stand_in_cfg, "model_final.pth")["iteration"] == 5
    _, losses = train(stand_in_cfg, resume=True)
    assert not losses
    stand_in_cfg.merge_from_list(["TEST.PATIENCE", 0])
    _, losses = train(stand_in_cfg, resume=True)
    assert sorted(losses) == [6, 7]
    assert read(stand_in_cfg, "model_best.pth")["iteration"] == 7


@pytest.mark.slow
def test_the_averaged_weights_are_the_best_ones_beside_it(stand_in_cfg, monkeypatch):
    with_scores(stand_in_cfg, monkeypatch, {1: 6.0, 3: 5.0, 5: 4.0})
    stand_in_cfg.merge_from_list(["SOLVER.EMA_DECAY", 0.5])
    train(stand_in_cfg)
    averaged = read(stand_in_cfg, "model_best_ema.pth")
    assert averaged["iteration"] == 1
    assert not torch.equal(
        averaged["model"]["void_embedding.weight"],
        read(stand_in_cfg, "model_best.pth")["model"]["void_embedding.weight"],
    )
