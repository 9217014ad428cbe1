"""Attention blocks against torch's own module."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from frozenseg.layers.attention import CrossAttentionLayer, FeedForwardLayer, MultiheadAttention
from frozenseg.layers.linear import MLP


def test_equals_torch_multihead_attention_with_a_mask():
    torch.manual_seed(0)
    ours, theirs = MultiheadAttention(32, 4), nn.MultiheadAttention(32, 4, batch_first=True)
    theirs.load_state_dict(ours.state_dict())
    query, key, value = torch.randn(2, 5, 32), torch.randn(2, 7, 32), torch.randn(2, 7, 32)
    allowed = torch.rand(2, 5, 7) > 0.5
    allowed[..., 0] = True
    blocked = (~allowed).repeat_interleave(4, dim=0)
    expected = theirs(query, key, value, attn_mask=blocked, need_weights=False)[0]
    torch.testing.assert_close(ours(query, key, value, allowed), expected, atol=1e-5, rtol=1e-5)


def test_width_must_be_divisible():
    with pytest.raises(ValueError, match="30 is not divisible by 4"):
        MultiheadAttention(30, 4)


def test_forbidden_tokens_do_not_matter():
    torch.manual_seed(0)
    layer = CrossAttentionLayer(16, 2)
    x, tokens, position = torch.randn(1, 3, 16), torch.randn(1, 6, 16), torch.randn(1, 3, 16)
    allowed = torch.tensor([True, True, False, False, True, False]).expand(1, 3, 6)
    changed = torch.where(allowed[0, 0][None, :, None], tokens, tokens + 100)
    first = layer(x, tokens, tokens, position_BQD=position, allowed_BQN=allowed)
    second = layer(x, changed, changed, position_BQD=position, allowed_BQN=allowed)
    torch.testing.assert_close(first, second)


def test_feed_forward_is_a_normalised_residual():
    layer = FeedForwardLayer(8, 16)
    nn.init.zeros_(layer.linear2.weight)
    nn.init.zeros_(layer.linear2.bias)
    x = torch.randn(2, 3, 8)
    torch.testing.assert_close(layer(x), layer.norm(x))


def test_mlp_names_and_relu_between_layers():
    mlp = MLP(4, 6, 2, 3)
    assert [name for name, _ in mlp.named_parameters()][::2] == [
        f"layers.{i}.weight" for i in range(3)
    ]
    x = torch.randn(5, 4)
    a, b, c = mlp.layers
    torch.testing.assert_close(mlp(x), c(b(a(x).relu()).relu()))
