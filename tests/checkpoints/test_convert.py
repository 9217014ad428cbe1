from __future__ import annotations

import argparse
import os
import pickle

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from frozenseg.checkpoints import reading
from frozenseg.checkpoints.convert import convert_weights
from frozenseg.checkpoints.reading import read_checkpoint, read_file
from frozenseg.cli.main import main

WEIGHTS = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2)}
ARRAYS = {name: value.numpy() for name, value in WEIGHTS.items()}


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def save(content, path, kind):
    if kind == "pickle":
        path.write_bytes(pickle.dumps(content))
    else:
        torch.save(content, path, _use_new_zipfile_serialization=kind == "zip")


def test_named_tensors_are_written_as_safetensors(tmp_path):
    shared = torch.arange(6.0)
    torch.save({"model": {"a": shared, "b": shared[:3]}}, tmp_path / "w.pth")
    names, left_out = convert_weights(tmp_path / "w.pth", tmp_path / "w.safetensors")
    assert (names, left_out) == (["a", "b"], [])
    written = load_file(tmp_path / "w.safetensors")
    assert torch.equal(written["a"], shared)
    assert torch.equal(written["b"], shared[:3])
    with pytest.raises(ValueError, match=r"must end in \.safetensors"):
        convert_weights(tmp_path / "w.pth", tmp_path / "w.bin")


@pytest.mark.parametrize(
    ("name", "kind", "content"),
    [
        ("w.pkl", "pickle", {"model": ARRAYS, "__author__": "x", "matching_heuristics": True}),
        ("w.pkl", "pickle", {"model": WEIGHTS}),
        ("w.pkl", "pickle", ARRAYS),
        ("w.ckpt", "zip", {"state_dict": WEIGHTS, "settings": argparse.Namespace(a=1)}),
        ("w.pth", "old", {"state_dict": WEIGHTS, "settings": argparse.Namespace(a=1)}),
        ("w.pth", "zip", {"model": WEIGHTS, "best": np.array([argparse.Namespace()])}),
    ],
)
def test_tensors_of_pickles_are_taken(tmp_path, capsys, name, kind, content):
    source, target = tmp_path / name, tmp_path / "w.safetensors"
    save(content, source, kind)
    with pytest.raises(ValueError, match=rf"frozenseg weights convert {source} {target}"):
        read_checkpoint(source)
    with pytest.raises(SystemExit) as ended:
        main(["weights", "convert", str(source), str(target)])
    assert ended.value.code == 0
    assert f"{target}: 2 tensors, the first a.weight" in capsys.readouterr().out
    written = load_file(target)
    assert written.keys() == WEIGHTS.keys()
    assert all(torch.equal(written[name], value) for name, value in WEIGHTS.items())


@pytest.mark.parametrize("kind", ["pickle", "zip", "old"])
def test_nothing_in_a_file_is_run(tmp_path, kind):
    source = tmp_path / ("w.pkl" if kind == "pickle" else "w.pth")
    save({"model": WEIGHTS, "x": Evil(tmp_path / "ran")}, source, kind)
    convert_weights(source, tmp_path / "w.safetensors")
    with pytest.raises(ValueError, match="convert"):
        read_checkpoint(source)
    assert not (tmp_path / "ran").exists()


def test_what_is_no_tensor_is_named(tmp_path):
    torch.save({**WEIGHTS, "epoch": 3, "args": argparse.Namespace()}, tmp_path / "w.pth")
    _, left_out = convert_weights(tmp_path / "w.pth", tmp_path / "w.safetensors")
    assert left_out == ["epoch", "args"]


def test_a_whole_model_has_no_named_tensors(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"w\.pth: there are no named tensors.*state_dict\(\)"):
        convert_weights(tmp_path / "w.pth", tmp_path / "w.safetensors")


@pytest.mark.parametrize("content", [b"", b"\x80\x04no pickle", b"text"])
@pytest.mark.parametrize("name", ["w.pkl", "w.pth"])
def test_damaged_files_are_named(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{name}: damaged, or no file of weights"):
        convert_weights(tmp_path / name, tmp_path / "w.safetensors")


@pytest.mark.parametrize("kind", ["zip", "old"])
@pytest.mark.parametrize(
    "beside",
    [np.float64(0.5), np.arange(3), [np.int64(2), np.bool_(True)], np.array(["x"]), np.float32(1)],
)
def test_numpy_beside_tensors_is_read(tmp_path, beside, kind):
    save({"state_dict": WEIGHTS, "best": beside}, tmp_path / "w.ckpt", kind)
    content = read_checkpoint(tmp_path / "w.ckpt")
    assert torch.equal(content["model"]["a.weight"], WEIGHTS["a.weight"])
    assert np.array_equal(content["best"], beside)


def test_numpy_arrays_and_scalars_as_weights_are_read(tmp_path):
    torch.save({"model": {**ARRAYS, "scale": np.float32(3)}}, tmp_path / "w.pth")
    model = read_checkpoint(tmp_path / "w.pth")["model"]
    assert torch.equal(model["a.weight"], WEIGHTS["a.weight"])
    assert torch.equal(model["scale"], torch.tensor(3.0))


def test_numbered_tensors_are_refused(tmp_path):
    torch.save({"state_dict": {0: torch.ones(2)}}, tmp_path / "w.pth")
    with pytest.raises(ValueError, match=r"w\.pth numbers its tensors"):
        read_checkpoint(tmp_path / "w.pth")


def test_an_interruption_is_not_a_damaged_file(tmp_path, monkeypatch):
    (tmp_path / "w.safetensors").write_bytes(b"x")

    def stopped(_):
        raise ValueError("SafetensorError: could not get tensor: KeyboardInterrupt()")

    monkeypatch.setattr(reading, "load_file", stopped)
    with pytest.raises(KeyboardInterrupt):
        read_file(tmp_path / "w.safetensors")
