"""The tools that score and time exports."""

from __future__ import annotations

import sys
from argparse import Namespace
from types import SimpleNamespace

import numpy as np
import pytest

from frozenseg.data.miniature.dataset import write_miniature
from tests.exporting.conftest import exported_fcclip
from tools import benchmark_export, evaluate_export
from tools.quickstart import CONFIGS

__all__ = ["exported_fcclip"]


def test_results_of_an_export_become_detectron2s():
    labels = np.ones((4, 6), np.int32)
    instances = SimpleNamespace(
        scores=np.ones(2), pred_classes=np.zeros(2, np.int64), pred_masks=np.ones((2, 4, 6), bool)
    )
    found = evaluate_export._tensors(
        {"panoptic_seg": (labels, [{"id": 1}]), "semantic_labels": labels, "instances": instances}
    )
    assert found["panoptic_seg"][0].shape == found["semantic_labels"].shape == (4, 6)
    assert found["panoptic_seg"][1] == [{"id": 1}]
    assert found["instances"].image_size == (4, 6)
    assert len(found["instances"].to("cpu")) == 2


@pytest.mark.slow
def test_an_export_is_scored(exported_fcclip, tmp_path, monkeypatch, capsys):
    write_miniature(tmp_path / "miniature", {"train": 1, "dev": 0, "val": 1})
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    config = str(CONFIGS / "fcclip.yaml")
    monkeypatch.setattr(
        sys, "argv", ["evaluate_export.py", str(exported_fcclip), "--config-file", config]
    )
    evaluate_export.main()
    said = capsys.readouterr().out
    assert "miniature_val_panoptic: 1 images" in said
    assert "| all " in said


@pytest.mark.slow
def test_figures_of_a_variant():
    config = str(CONFIGS / "fcclip.yaml")
    args = Namespace(measure="eager", config=config, folder=None, size=64, threads=1, runs=1)
    row = benchmark_export.measure(args)
    assert row["variant"] == "eager"
    assert 0 < row["processor seconds"] < row["first call"] + 1
    assert 0.1 < row["peak GB"] < 30
