"""The trainer's checkpoint files."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from frozenseg.engine.checkpointer import Checkpointer


def toy():
    return nn.ModuleDict(
        {"backbone": nn.Linear(2, 2).requires_grad_(False), "head": nn.Linear(2, 1)}
    )


def test_frozen_encoders_are_left_out_unless_asked(tmp_path):
    model = toy()
    Checkpointer(model, str(tmp_path)).save("small")
    Checkpointer(model, str(tmp_path), save_frozen=True).save("full")
    small, full = (
        torch.load(tmp_path / f"{name}.pth", weights_only=True)["model"]
        for name in ("small", "full")
    )
    assert set(small) == {"head.weight", "head.bias"}
    assert set(full) == set(model.state_dict())


def test_weights_and_states_come_back_from_the_last_checkpoint(tmp_path):
    model = toy()
    optimizer = torch.optim.AdamW(model["head"].parameters(), lr=0.5)
    model["head"](torch.ones(1, 2)).sum().backward()
    optimizer.step()
    Checkpointer(model, str(tmp_path), optimizer=optimizer).save("model_0000001", iteration=1)
    other = toy()
    again = torch.optim.AdamW(other["head"].parameters(), lr=0.1)
    reader = Checkpointer(other, str(tmp_path), optimizer=again)
    assert reader.resume_or_load("", resume=True) == {"iteration": 1}
    assert torch.equal(other["head"].weight, model["head"].weight)
    assert again.state_dict()["state"][0]["exp_avg"].equal(
        optimizer.state_dict()["state"][0]["exp_avg"]
    )
    assert sorted(p.name for p in tmp_path.iterdir()) == ["last_checkpoint", "model_0000001.pth"]


def test_weights_alone_load_without_states_and_resuming_from_them_is_an_error(tmp_path):
    model = toy()
    Checkpointer(model, str(tmp_path)).save("weights")
    optimizer = torch.optim.AdamW(model["head"].parameters())
    reader = Checkpointer(model, str(tmp_path), optimizer=optimizer)
    reader.resume_or_load(str(tmp_path / "weights.pth"), resume=False)
    with pytest.raises(ValueError, match=r"weights\.pth has no 'optimizer' state"):
        reader.resume_or_load("", resume=True)


def test_a_model_that_does_not_fit_is_an_error(tmp_path):
    Checkpointer(toy(), str(tmp_path)).save("weights")
    with pytest.raises(ValueError, match="does not fit"):
        Checkpointer(nn.Linear(1, 1), str(tmp_path)).load(str(tmp_path / "weights.pth"))


def test_other_processes_write_nothing(tmp_path):
    Checkpointer(toy(), str(tmp_path), save_to_disk=False).save("weights")
    assert not list(tmp_path.iterdir())
