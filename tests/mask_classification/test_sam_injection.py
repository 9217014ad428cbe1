"""The SAM branch's three reads and the two injectors, each against a plain computation."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from frozenseg.layers.attention import CrossAttentionLayer
from frozenseg.layers.deform_attention import MultiScaleDeformableAttention
from frozenseg.layers.position_encoding import sine_position_code
from frozenseg.mask_classification.sam_injection import (
    FirstLevelAttention,
    FlatReadAttention,
    SamInjection,
    build_sam_branch,
    inject_features,
    inject_queries,
    injection_from,
)

DIM, HEADS, POINTS, SHAPE = 16, 2, 4, (3, 4)


def attention(kind):
    torch.manual_seed(0)
    module = kind(DIM, 3, HEADS, POINTS)
    for parameter in module.parameters():
        nn.init.normal_(parameter, std=0.3)
    return module


def inputs(batch):
    torch.manual_seed(1)
    tokens = torch.randn(batch, SHAPE[0] * SHAPE[1], DIM)
    reference = torch.rand(1, SHAPE[0] * SHAPE[1], 1, 2).expand(batch, -1, -1, -1)
    return tokens, reference


def full_plan(module, query, reference):
    """Locations and weights of all three levels, each with the one level's points and size."""
    three = reference.expand(-1, -1, 3, -1)
    return MultiScaleDeformableAttention.plan(module, query, three, [SHAPE] * 3)


@pytest.mark.parametrize("batch", [1, 2, 5])
def test_flat_read_takes_the_kernels_positions(batch):
    module = attention(FlatReadAttention)
    query, reference = inputs(batch)
    locations, weights = module.plan(query, reference, [SHAPE])
    all_locations, all_weights = full_plan(module, query, reference)
    flat_locations, flat_weights = all_locations.reshape(-1, 2), all_weights.reshape(-1)
    tokens = query.shape[1]
    for b in range(batch):
        for n in (0, 5, tokens - 1):
            for m in range(HEADS):
                first = ((b * tokens + n) * HEADS + m) * POINTS
                read = slice(first, first + POINTS)
                torch.testing.assert_close(weights[b, n, m, 0], flat_weights[read])
                torch.testing.assert_close(locations[b, n, m, 0], flat_locations[read])


def test_flat_read_of_an_image_depends_on_the_batch():
    module = attention(FlatReadAttention)
    query, reference = inputs(4)
    changed = query.clone()
    changed[0] += 1.0
    before, after = (module(q, reference, query, [SHAPE]) for q in (query, changed))
    moved = [(before[b] - after[b]).abs().max() > 1e-4 for b in range(4)]
    assert moved == [True, True, True, False]  # images 0, 1 and 2 read image 0's buffers


def test_first_level_takes_the_first_samples_without_normalising():
    module = attention(FirstLevelAttention)
    query, reference = inputs(2)
    locations, weights = module.plan(query, reference, [SHAPE])
    all_locations, all_weights = full_plan(module, query, reference)
    torch.testing.assert_close(weights, all_weights[:, :, :, :1])
    torch.testing.assert_close(locations, all_locations[:, :, :, :1])
    assert (weights.sum((-1, -2)) < 0.99).any()


@pytest.mark.parametrize(
    ("mode", "levels"), [("single_level", 1), ("released", 3), ("first_level", 3)]
)
def test_branch_halves_the_map_in_every_mode(mode, levels):
    options = {"mode": mode, "num_layers": 1, "num_heads": 4, "num_points": 4}
    halve, encoder = build_sam_branch(24, 32, **options)
    assert encoder.level_embed.shape == (levels, 32)
    out = encoder([halve(torch.randn(2, 24, 8, 8))])
    assert [tuple(m.shape) for m in out] == [(2, 32, 4, 4)]
    sum(m.sum() for m in out).backward()
    assert halve[0].weight.grad.abs().sum() > 0


def test_unknown_mode_names_the_key():
    with pytest.raises(ValueError, match=r"MODEL\.SAM_BRANCH is 'flat'.*single_level"):
        build_sam_branch(8, 32, mode="flat", num_layers=1, num_heads=4, num_points=4)


def test_injection_from_the_configs_numbers():
    assert injection_from(0, 2) == SamInjection(0, 2)
    assert injection_from(-1, 1) == SamInjection(None, 1)
    assert injection_from(-1, -1) is None
    with pytest.raises(ValueError, match="SAM_QUERY_FUSE_LAYER is 3"):
        injection_from(0, 3)
    assert injection_from(0, -1, sam_channels=64, mask_dim=256) == SamInjection(0, None)
    with pytest.raises(ValueError, match="MASK_DIM is 256 but SAM's features have 64"):
        injection_from(0, 2, sam_channels=64, mask_dim=256)


def plain_cross_attention(layer, x, key, value, position):
    module = nn.MultiheadAttention(DIM, HEADS, batch_first=True)
    module.load_state_dict(layer.multihead_attn.state_dict())
    attended, _ = module(x + position, key, value)
    return F.layer_norm(x + attended, (DIM,), layer.norm.weight, layer.norm.bias)


@pytest.mark.parametrize("size", [(2, 3), (4, 6)])
def test_feature_injection_is_a_cross_attention_at_the_coarse_size(size):
    torch.manual_seed(0)
    layer = CrossAttentionLayer(DIM, HEADS)
    level, sam, coarse = torch.randn(2, DIM, *size), torch.randn(2, DIM, 4, 4), (2, 3)
    out = inject_features(layer, level, sam, coarse)
    assert out.shape == (2, size[0] * size[1], DIM)
    tokens, values = (
        F.interpolate(m, size=coarse, mode="bilinear").flatten(2).transpose(1, 2)
        for m in (level, sam)
    )
    position = sine_position_code(coarse, DIM)
    expected = plain_cross_attention(layer, tokens, values + position, values, position)
    if size != coarse:
        expected = expected.transpose(1, 2).unflatten(2, coarse)
        expected = F.interpolate(expected, size=size, mode="bilinear").flatten(2).transpose(1, 2)
    torch.testing.assert_close(out, expected, atol=1e-5, rtol=1e-5)


def test_query_injection_adds_sams_mean_under_the_mask():
    torch.manual_seed(0)
    queries, neck = torch.randn(1, 2, DIM), torch.randn(1, DIM, 4, 4)
    features = torch.zeros(1, DIM, 8, 8)
    features[0, 0, :, :4], features[0, 0, :, 4:] = 1.0, -1.0  # left half positive for channel 0
    embedding = torch.zeros(1, 2, DIM)
    embedding[0, 0, 0], embedding[0, 1, 0] = 1.0, -1.0
    out = inject_queries(queries, nn.Identity(), neck, embedding, features)
    added = out - queries
    torch.testing.assert_close(added[0, 0], neck[0, :, :, :2].mean((1, 2)))
    torch.testing.assert_close(added[0, 1], neck[0, :, :, 2:].mean((1, 2)))
