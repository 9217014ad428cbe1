"""Metrics for Weights & Biases, by a stand-in for its package."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from frozenseg.engine.trainer import Trainer
from frozenseg.engine.wandb_sync import require_wandb, start_wandb


@pytest.fixture
def calls(monkeypatch):
    """What wandb is started with, and whether TensorBoard's files were there before."""
    made = []

    def init(**words):
        made.append({**words, "too late": bool(list(Path(words["dir"]).glob("events.out.*")))})
        return SimpleNamespace(id="abc")

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init))
    return made


def test_a_resumed_run_continues_the_run_there(calls, tmp_path):
    for known in (None, "abc"):
        start_wandb("project", tmp_path, {"SEED": 1})
        assert calls[-1]["id"] == known
        assert calls[-1]["resume"] == "allow"
    assert calls[-1]["project"] == "project"
    assert calls[-1]["config"] == {"SEED": 1}


def test_without_the_package_the_remedy_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ValueError, match=r"WANDB_PROJECT.*pip install wandb"):
        require_wandb()


def test_a_training_lets_wandb_read_what_it_writes_for_tensorboard(calls, stand_in_cfg):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    stand_in_cfg.WANDB_PROJECT = "project"
    Trainer(stand_in_cfg).train()
    (call,) = calls
    assert call["sync_tensorboard"]
    assert not call["too late"]
    assert call["config"]["SOLVER.MAX_ITER"] == 6
    written = EventAccumulator(stand_in_cfg.OUTPUT_DIR)
    written.Reload()
    names = set(written.Tags()["scalars"])
    assert {"total_loss", "lr", "shapes_val_panoptic/panoptic/all/PQ"} <= names
