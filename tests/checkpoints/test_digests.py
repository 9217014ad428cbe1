from __future__ import annotations

import pytest
import torch
from torch import nn

from frozenseg.checkpoints import digests
from frozenseg.checkpoints.digests import WeightsDigest, attention_heads

STATE = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(2, dtype=torch.float16)}


def of(state, **description) -> str:
    return WeightsDigest().of(state, lambda: description)


def test_equal_content_has_one_digest():
    assert of(STATE, kind="x") == of({name: t.clone() for name, t in STATE.items()}, kind="x")
    assert len(of(STATE)) == 64


@pytest.mark.parametrize(
    "other",
    [
        {**STATE, "a": STATE["a"].reshape(3, 2)},
        {**STATE, "a": STATE["a"] + torch.tensor([0, 0, 1e-6])},
        {**STATE, "b": STATE["b"].float()},
        {"a": STATE["a"], "c": STATE["b"]},
        {"a": STATE["a"]},
    ],
)
def test_every_change_of_the_weights_shows(other):
    assert of(other) != of(STATE)


def test_the_description_counts():
    assert of(STATE, kind="x") != of(STATE, kind="y")


def test_it_is_computed_again_only_after_a_change(monkeypatch):
    state, known = {"a": torch.ones(2)}, WeightsDigest()
    calls = []
    hash_tensor = digests._hash_tensor
    monkeypatch.setattr(digests, "_hash_tensor", lambda t: calls.append(1) or hash_tensor(t))
    first = known.of(state, dict)
    assert known.of(state, dict) == first
    assert len(calls) == 1
    state["a"].add_(1)
    assert known.of(state, dict) != first
    assert len(calls) == 2


def test_meta_weights_have_none():
    with pytest.raises(ValueError, match="meta device"):
        of({**STATE, "c": torch.ones(1, device="meta")})


def test_attention_heads_are_found_at_any_depth():
    layers = nn.Sequential(nn.Linear(2, 2), nn.Sequential(nn.MultiheadAttention(8, 4)))
    assert attention_heads(layers) == [4]
