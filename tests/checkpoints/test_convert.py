from __future__ import annotations

import pytest
import torch
from safetensors.torch import load_file

from frozenseg.checkpoints.convert import convert_weights


def test_named_tensors_are_written_as_safetensors(tmp_path):
    shared = torch.arange(6.0)
    torch.save({"model": {"a": shared, "b": shared[:3]}}, tmp_path / "w.pth")
    assert convert_weights(tmp_path / "w.pth", tmp_path / "w.safetensors") == ["a", "b"]
    written = load_file(tmp_path / "w.safetensors")
    assert torch.equal(written["a"], shared)
    assert torch.equal(written["b"], shared[:3])
    with pytest.raises(ValueError, match=r"must end in \.safetensors"):
        convert_weights(tmp_path / "w.pth", tmp_path / "w.bin")
