from __future__ import annotations

import pickle
import re
import zipfile

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

from frozenseg.checkpoints.reading import differences, read_state_dict

STATE = {"a.weight": torch.arange(6.0).reshape(2, 3), "b": torch.tensor(2.0)}


def check_equal(state):
    assert state.keys() == STATE.keys()
    assert all(torch.equal(state[name], STATE[name]) for name in STATE)


@pytest.mark.parametrize(
    "content",
    [
        STATE,
        {"state_dict": STATE, "epoch": 3, "name": "run"},
        {"model": STATE, "iteration": 3},
        {f"module.{name}": tensor for name, tensor in STATE.items()},
    ],
)
def test_what_torch_saved_is_read(tmp_path, content):
    torch.save(content, tmp_path / "weights.pt")
    check_equal(read_state_dict(tmp_path / "weights.pt"))


def test_safetensors_are_read(tmp_path):
    save_file(STATE, tmp_path / "weights.safetensors")
    check_equal(read_state_dict(tmp_path / "weights.safetensors"))


class Archive(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(3, 2, bias=False)
        self.a.weight.data.copy_(STATE["a.weight"])
        self.b = nn.Parameter(STATE["b"].clone())

    def forward(self, x):
        return self.a(x) * self.b


@pytest.mark.filterwarnings("ignore:.*torch.jit")
def test_torchscript_archives_are_read(tmp_path):
    torch.jit.script(Archive()).save(tmp_path / "RN50.pt")
    check_equal(read_state_dict(tmp_path / "RN50.pt"))


class Evil:
    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.parametrize(
    "save", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value, 2))]
)
def test_pickled_code_is_refused_and_not_run(tmp_path, save):
    save({"a": torch.ones(1), "b": Evil(tmp_path / "ran")}, tmp_path / "evil.pt")
    with pytest.raises(ValueError, match=r"evil\.pt.*never unpickled"):
        read_state_dict(tmp_path / "evil.pt")
    assert not (tmp_path / "ran").exists()


def test_damaged_files_are_refused(tmp_path):
    torch.save(STATE, tmp_path / "whole.pt")
    content = (tmp_path / "whole.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(content[: len(content) // 2])
    (tmp_path / "empty.pt").write_bytes(b"")
    (tmp_path / "text.safetensors").write_text("<html>not found</html>")
    with zipfile.ZipFile(tmp_path / "archive.pt", "w") as archive:
        archive.writestr("x/constants.pkl", b"")
    for name in ("cut.pt", "empty.pt", "text.safetensors", "archive.pt"):
        with pytest.raises(ValueError, match=name) as caught:
            read_state_dict(tmp_path / name)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [([1, 2], "a list"), ({}, "an empty dict"), ({"a": torch.ones(1), "b": 3}, "'b' is a int")],
)
def test_files_without_named_tensors_are_refused(tmp_path, content, message):
    torch.save(content, tmp_path / "weights.pt")
    with pytest.raises(ValueError, match=message):
        read_state_dict(tmp_path / "weights.pt")


def test_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.pt"):
        read_state_dict(tmp_path / "none.pt")


def test_differences_are_counted_with_the_first_of_each_kind():
    ones, twos = torch.ones(1), torch.ones(2)
    expected = {"a": ones, "b": ones, "norm.num_batches_tracked": ones}
    assert differences(expected, expected) == ""
    found = differences({"a": twos, "c": ones, "d": ones}, expected, optional="_tracked")
    assert found == (
        "1 of another shape, first a ([2] in the file, [1] in the model); 1 missing, first b; "
        "2 unexpected, first c"
    )
    assert differences({"a": ones}, expected).startswith("2 missing, first b")


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("a.weight", torch.tensor([1.0, float("nan")]), "a.weight has 1 NaN or infinite of 2"),
        ("norm", torch.tensor([float("-inf")], dtype=torch.float16), "norm has 1 NaN or infinite"),
        ("scale", torch.tensor([1e300], dtype=torch.float64), "scale has 1 NaN or infinite of 1"),
        ("c", torch.ones(2, dtype=torch.complex64), "c is complex64"),
        ("in_proj_weight", torch.ones(2, 2, dtype=torch.int64), "in_proj_weight is int64"),
        ("s.bias", torch.eye(2).to_sparse(), "s.bias is float32 sparse_coo"),
        ("attn_mask", torch.tensor([float("nan")]), "attn_mask has 1 NaN or infinite"),
    ],
)
def test_tensors_that_no_weights_can_be_are_refused_by_name(tmp_path, name, value, message):
    torch.save({"model": {**STATE, name: value}}, tmp_path / "weights.pt")
    with pytest.raises(ValueError, match=re.escape(message)) as caught:
        read_state_dict(tmp_path / "weights.pt")
    assert str(tmp_path / "weights.pt") in str(caught.value)


def test_all_tensors_are_counted_and_three_are_named(tmp_path):
    torch.save({f"{i}.weight": torch.tensor([float("inf")]) for i in range(5)}, tmp_path / "w.pt")
    with pytest.raises(ValueError, match=r"5 of 5 tensors .* 2\.weight has .* and 2 more"):
        read_state_dict(tmp_path / "w.pt")


def test_counters_masks_of_attention_and_empty_tensors_are_no_fault(tmp_path):
    state = {
        "bn.num_batches_tracked": torch.tensor(7),
        "position_ids": torch.arange(4),
        "text.attn_mask": torch.full((2, 2), float("-inf")).triu(1),
        "empty.weight": torch.zeros(0, 3),
        "half.weight": torch.ones(2, dtype=torch.bfloat16),
    }
    torch.save(state, tmp_path / "weights.pt")
    assert read_state_dict(tmp_path / "weights.pt").keys() == state.keys()


def test_integers_in_place_of_reals_are_a_difference():
    expected = {"embedding": torch.ones(2), "steps": torch.tensor(1)}
    found = {"embedding": torch.ones(2, dtype=torch.int64), "steps": torch.tensor(2)}
    assert differences(found, expected) == "1 not of floating point, first embedding (int64)"
