"""The trainer's checkpoint files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import torch
from torch import nn

from frozenseg.engine.checkpointer import Checkpointer


def toy():
    return nn.ModuleDict(
        {"backbone": nn.Linear(2, 2).requires_grad_(False), "head": nn.Linear(2, 1)}
    )


RANDOM = {"backbone.": "MODEL.FC_CLIP.CLIP_PRETRAINED_WEIGHTS"}


def saved(path):
    return set(torch.load(path, weights_only=True)["model"])


def test_frozen_encoders_are_left_out_unless_random(tmp_path):
    model = toy()
    Checkpointer(model, str(tmp_path)).save("small")
    Checkpointer(model, str(tmp_path), encoders_without_weights=RANDOM).save("full")
    assert saved(tmp_path / "small.pth") == {"head.weight", "head.bias"}
    assert saved(tmp_path / "full.pth") == set(model.state_dict())


def test_frozen_weights_that_a_file_changed_are_saved_from_then_on(tmp_path):
    model = toy()
    Checkpointer(model, str(tmp_path), encoders_without_weights=RANDOM).save("given")
    same, other = Checkpointer(model, str(tmp_path)), Checkpointer(toy(), str(tmp_path))
    for name, checkpointer in (("same", same), ("other", other)):
        checkpointer.load(str(tmp_path / "given.pth"))
        checkpointer.save(name)
    assert saved(tmp_path / "same.pth") == {"head.weight", "head.bias"}
    assert saved(tmp_path / "other.pth") == set(model.state_dict())


def test_a_random_encoder_must_be_in_the_file(tmp_path):
    Checkpointer(toy(), str(tmp_path)).save("small")
    with pytest.raises(ValueError, match=r"small\.pth holds no backbone.*CLIP_PRETRAINED_WEIGHTS"):
        Checkpointer(toy(), "", encoders_without_weights=RANDOM).load(str(tmp_path / "small.pth"))


def test_the_file_resumed_from_is_known_by_its_iteration(tmp_path):
    Checkpointer(toy(), str(tmp_path)).save("model_final", iteration=5)
    resumed, started = Checkpointer(toy(), str(tmp_path)), Checkpointer(toy())
    resumed.resume_or_load("", resume=True)
    started.resume_or_load(str(tmp_path / "model_final.pth"), resume=False)
    assert resumed.file_of(5) == str(tmp_path / "model_final.pth")
    assert (resumed.file_of(4), started.file_of(5)) == ("", "")


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


def runs(tmp_path, *iterations):
    """A folder with checkpoints of a run, the last one under its final name."""
    checkpointer = Checkpointer(toy(), str(tmp_path))
    for i in iterations:
        checkpointer.save(f"model_{i:07d}", iteration=i)
        os.utime(tmp_path / f"model_{i:07d}.pth", (i, i))
    return checkpointer


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (bytes(range(256)) * 20, "is not a text with the name of a file"),
        (b"model_0000009.pth", "names 'model_0000009.pth', which is no file there"),
        (b"../other/model_0000001.pth", r"names '\.\./other/.*no file there"),
        (b"last_checkpoint", "names 'last_checkpoint', which is no file there"),
    ],
)
def test_a_last_checkpoint_that_names_no_file_is_an_error_with_the_checkpoints(
    tmp_path, content, said
):
    checkpointer = runs(tmp_path, 1, 3)
    (tmp_path / "last_checkpoint").write_bytes(content)
    others = r"newest first: model_0000003\.pth, model_0000001\.pth; .*write its name into"
    with pytest.raises(ValueError, match=rf"last_checkpoint {said}.*{others}.*last_checkpoint"):
        checkpointer.resume_or_load("", resume=True)


def test_a_damaged_last_checkpoint_is_an_error_with_the_earlier_ones(tmp_path):
    checkpointer = runs(tmp_path, 1, 3)
    path = tmp_path / "model_0000003.pth"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(ValueError, match=r"_0000003\.pth is damaged.*first: model_0000001\.pth;"):
        checkpointer.resume_or_load("", resume=True)
    (tmp_path / "model_0000001.pth").unlink()
    with pytest.raises(ValueError, match=r"is damaged.*no other checkpoint: start anew"):
        checkpointer.resume_or_load("", resume=True)


def test_without_last_checkpoint_the_newest_one_is_taken_with_a_warning(tmp_path, caplog):
    """A run that was killed before it wrote the name of its first checkpoint."""
    checkpointer = runs(tmp_path, 1, 3)
    checkpointer.save("model_best", iteration=7)
    (tmp_path / "last_checkpoint").unlink()
    assert checkpointer.has_checkpoint()
    assert checkpointer.resume_or_load("", resume=True) == {"iteration": 3}
    assert "last_checkpoint is not there: model_0000003.pth is the newest" in caplog.text


def test_the_best_model_is_not_what_a_run_resumes_from(tmp_path):
    checkpointer = runs(tmp_path, 1)
    checkpointer.save("model_best", iteration=1)
    assert (tmp_path / "last_checkpoint").read_text() == "model_0000001.pth"
    assert checkpointer.file_of(1).endswith("model_0000001.pth")


def test_a_state_that_does_not_fit_is_an_error_with_the_file(tmp_path):
    model = toy()
    optimizer = torch.optim.SGD(model["head"].parameters(), lr=1.0)
    Checkpointer(model, str(tmp_path), optimizer=optimizer).save("model_0000001")
    other = torch.optim.SGD([model["head"].weight], lr=1.0)
    with pytest.raises(ValueError, match=r"_0000001\.pth: its 'optimizer' state does not fit"):
        Checkpointer(model, str(tmp_path), optimizer=other).resume_or_load("", resume=True)


def test_checkpoints_and_their_name_are_synced(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda fd: synced.append(os.readlink(f"/proc/self/fd/{fd}")))
    Checkpointer(toy(), str(tmp_path), averaged=dict).save("model_final")
    names = [Path(path).name.split(".")[1] for path in synced if path != str(tmp_path)]
    assert names == ["model_final_ema", "model_final", "last_checkpoint"]
    assert synced.count(str(tmp_path)) == 3
