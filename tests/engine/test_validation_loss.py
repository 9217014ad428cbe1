"""The loss on test sets: repeatable, without a trace in the training."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from detectron2.data import DatasetCatalog, MetadataCatalog
from torch import nn

from frozenseg.engine.precision import Precision
from frozenseg.engine.trainer import Trainer
from frozenseg.engine.validation_loss import sets_with_loss, validation_loss
from frozenseg.evaluation.results import read_results
from tests.engine.test_trainer import train, weights

SET = "shapes_train_panoptic"


@pytest.fixture
def cfg(stand_in_cfg):
    stand_in_cfg.merge_from_list(["DATASETS.TEST", (SET,), "TEST.VALIDATION_LOSS", True])
    return stand_in_cfg


def test_it_is_the_mean_over_the_images_in_training_mode_and_leaves_no_trace(cfg):
    model = Trainer(cfg).model.eval()
    model.norm = nn.BatchNorm2d(6)
    model.norm.eval()
    called = []

    def losses(batch):
        assert model.training
        assert not model.norm.training
        assert not torch.is_grad_enabled()
        called.append((batch[0]["file_name"], float(torch.rand(()))))
        return {"a": torch.tensor(float(len(called))), "b": torch.tensor(1.0)}

    model.losses = losses
    torch.manual_seed(5)
    expected = float(torch.rand(()))
    torch.manual_seed(5)
    assert validation_loss(cfg, model, SET, Precision("cpu")) == 4.0  # (1 + ... + 5) / 5 + 1
    assert float(torch.rand(())) == expected
    assert not model.training
    assert len({name for name, _ in called}) == 5
    first = [draw for _, draw in called]
    validation_loss(cfg, model, SET, Precision("cpu"))
    assert [draw for _, draw in called[5:]] == first


@pytest.mark.slow
def test_it_is_logged_and_changes_no_weight(cfg, tmp_path):
    cfg.merge_from_list(["TEST.EVAL_PERIOD", 2, "TEST.BEST_METRIC", "validation_loss"])
    trained, _ = train(cfg)
    folder = Path(cfg.OUTPUT_DIR)
    rows = [json.loads(line) for line in (folder / "metrics.json").read_text().splitlines()]
    logged = [row[f"{SET}/validation_loss"] for row in rows if f"{SET}/validation_loss" in row]
    assert logged[-1] == pytest.approx(trained.best.values[5])
    content = json.loads((folder / "results.json").read_text())
    assert content["validation_loss"] == {SET: trained.best.values[5]}
    assert content["best"]["value"] == min(trained.best.values.values())
    assert len(read_results(folder / "results.json")) == 1

    cfg.merge_from_list(["TEST.VALIDATION_LOSS", False, "TEST.BEST_METRIC", ""])
    cfg.merge_from_list(["TEST.EVAL_PERIOD", 0, "OUTPUT_DIR", str(tmp_path / "without")])
    plain, _ = train(cfg)
    for name, value in weights(plain).items():
        assert torch.equal(value, weights(trained)[name]), name


def test_sets_without_training_targets_are_named(cfg, caplog):
    cfg.DATASETS.TEST = ("shapes_val_panoptic", SET)
    assert sets_with_loss(cfg) == [SET]
    assert f"leaves out: shapes_val_panoptic has other classes than {SET}" in caplog.text
    cfg.DATASETS.TEST = ("shapes_val_panoptic",)
    with pytest.raises(ValueError, match=r"VALIDATION_LOSS: no set of DATASETS\.TEST has training"):
        sets_with_loss(cfg)
    cfg.DATASETS.TEST = ("no_targets",)
    DatasetCatalog.register("no_targets", lambda: [{"file_name": "a.jpg"}])
    MetadataCatalog.get("no_targets").vocabulary = MetadataCatalog.get(SET).vocabulary
    try:
        with pytest.raises(ValueError, match="no_targets has no pan_seg_file_name"):
            sets_with_loss(cfg)
    finally:
        for catalog in (DatasetCatalog, MetadataCatalog):
            catalog.pop("no_targets")
