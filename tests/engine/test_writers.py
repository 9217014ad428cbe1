"""Metrics for Weights & Biases, by a stand-in for its package."""

from __future__ import annotations

import sys
from types import SimpleNamespace

import pytest
from detectron2.utils.events import EventStorage

from frozenseg.engine.trainer import Trainer
from frozenseg.engine.writers import WandbWriter, require_wandb


@pytest.fixture
def wandb(monkeypatch):
    """Records what is sent."""
    sent, calls = [], []
    run = SimpleNamespace(
        id="abc",
        log=lambda row, step: sent.append((step, row)),
        finish=lambda: calls.append("finish"),
    )

    def init(**words):
        calls.append(words)
        return run

    fake = SimpleNamespace(init=init, sent=sent, calls=calls)
    monkeypatch.setitem(sys.modules, "wandb", fake)
    return fake


def test_every_scalar_is_sent_once_with_its_iteration(wandb, tmp_path):
    writer = WandbWriter("project", tmp_path, {"SEED": 1})
    with EventStorage(0) as storage:
        writer.write()
        assert not wandb.calls  # nothing to send yet
        storage.put_scalar("a", 1.0)
        storage.iter = 1
        storage.put_scalar("b", 2.0)
        writer.write()
        writer.write()
        storage.iter = 2
        storage.put_scalar("a", 3.0)
        writer.write()
    assert wandb.sent == [(0, {"a": 1.0}), (1, {"b": 2.0}), (2, {"a": 3.0})]
    writer.close()
    assert wandb.calls[-1] == "finish"


def test_a_resumed_run_continues_the_run_there(wandb, tmp_path):
    for known in (None, "abc"):
        with EventStorage(0) as storage:
            storage.put_scalar("a", 1.0)
            WandbWriter("project", tmp_path, {"SEED": 1}).write()
        assert wandb.calls[-1]["id"] == known
    assert wandb.calls[-1]["project"] == "project"
    assert wandb.calls[-1]["config"] == {"SEED": 1}


def test_without_the_package_the_remedy_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(ValueError, match=r"WANDB_PROJECT.*pip install wandb"):
        require_wandb()


def test_a_training_sends_its_losses_and_scores(wandb, stand_in_cfg):
    stand_in_cfg.WANDB_PROJECT = "project"
    Trainer(stand_in_cfg).train()
    names = {name for _, row in wandb.sent for name in row}
    assert {"total_loss", "lr", "shapes_val_panoptic/panoptic/all/PQ"} <= names
    assert wandb.calls[0]["config"]["SOLVER.MAX_ITER"] == 6
