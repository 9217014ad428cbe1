"""Multi-scale deformable attention: its formula, its initial state and its seams."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from frozenseg.layers.deform_attention import (
    MultiScaleDeformableAttention,
    sampling_locations,
    softmax_of_few,
)
from frozenseg.layers.deform_sampling import LevelShapes, ms_deform_sample

LEVELS = [(2, 3), (4, 2)]
DIM, HEADS, POINTS, QUERIES = 8, 4, 3, 5


def make_attention(levels: int = len(LEVELS)) -> MultiScaleDeformableAttention:
    torch.manual_seed(0)
    attention = MultiScaleDeformableAttention(DIM, levels, HEADS, POINTS).double()
    for parameter in attention.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    return attention


def make_inputs(images: int = 2) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    tokens = sum(height * width for height, width in LEVELS)
    query = torch.randn(images, QUERIES, DIM, generator=generator, dtype=torch.float64)
    reference = torch.rand(images, QUERIES, 2, 2, generator=generator, dtype=torch.float64)
    value = torch.randn(images, tokens, DIM, generator=generator, dtype=torch.float64)
    return query, reference, value


def attend_by_loops(
    attention: MultiScaleDeformableAttention, query: Tensor, reference: Tensor, value: Tensor
) -> Tensor:
    """The attention of one query vector (DIM,) with reference (L, 2) over values (M, DIM)."""
    state = attention.state_dict()

    def linear(name: str, x: Tensor) -> Tensor:
        return x @ state[f"{name}.weight"].T + state[f"{name}.bias"]

    offsets = linear("sampling_offsets", query).tolist()
    logits = linear("attention_weights", query)
    projected = linear("value_proj", value)
    out, width_of_head = torch.zeros(DIM, dtype=torch.float64), DIM // HEADS
    for head in range(HEADS):
        samples = len(LEVELS) * POINTS
        weights = logits[head * samples : (head + 1) * samples].exp()
        weights = weights / weights.sum()
        channels = slice(head * width_of_head, (head + 1) * width_of_head)
        for level, (height, width) in enumerate(LEVELS):
            start = sum(h * w for h, w in LEVELS[:level])
            for point in range(POINTS):
                sample = level * POINTS + point
                dx, dy = offsets[(head * samples + sample) * 2 :][:2]
                x = (reference[level, 0].item() + dx / width) * width - 0.5
                y = (reference[level, 1].item() + dy / height) * height - 0.5
                for row in range(height):
                    for column in range(width):
                        hat = max(0.0, 1 - abs(x - column)) * max(0.0, 1 - abs(y - row))
                        cell = projected[start + row * width + column, channels]
                        out[channels] += weights[sample] * hat * cell
    return linear("output_proj", out)


@torch.no_grad()
def test_equals_the_formula() -> None:
    attention, (query, reference, value) = make_attention(), make_inputs()
    out = attention(query, reference, value, LEVELS)
    for image in range(2):
        for n in range(QUERIES):
            expected = attend_by_loops(
                attention, query[image, n], reference[image, n], value[image]
            )
            torch.testing.assert_close(out[image, n], expected, rtol=1e-12, atol=1e-12)


@torch.no_grad()
def test_float32_is_close_to_float64() -> None:
    attention, inputs = make_attention(), make_inputs()
    expected = attention(*inputs, LEVELS)
    out = attention.float()(*(tensor.float() for tensor in inputs), LEVELS)
    torch.testing.assert_close(out.double(), expected, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_queries_may_come_in_any_order() -> None:
    attention, (query, reference, value) = make_attention(), make_inputs()
    order = torch.tensor([3, 0, 4, 2, 1])
    out = attention(query, reference, value, LEVELS)
    shuffled = attention(query[:, order], reference[:, order], value, LEVELS)
    torch.testing.assert_close(shuffled, out[:, order])


def test_gradients() -> None:
    attention = make_attention()
    inputs = [tensor[:, :3].requires_grad_() for tensor in make_inputs(images=1)[:2]]
    value = make_inputs(images=1)[2].requires_grad_()
    assert torch.autograd.gradcheck(
        lambda query, reference, value: attention(query, reference, value, LEVELS),
        [*inputs, value],
        fast_mode=True,
    )
    attention(*inputs, value, LEVELS).sum().backward()
    for name, parameter in attention.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.any(), name


def test_names_and_shapes_of_parameters() -> None:
    shapes = {
        name: tuple(parameter.shape)
        for name, parameter in MultiScaleDeformableAttention(256, 3, 8, 4).named_parameters()
    }
    assert shapes == {
        "sampling_offsets.weight": (192, 256),
        "sampling_offsets.bias": (192,),
        "attention_weights.weight": (96, 256),
        "attention_weights.bias": (96,),
        "value_proj.weight": (256, 256),
        "value_proj.bias": (256,),
        "output_proj.weight": (256, 256),
        "output_proj.bias": (256,),
    }


def test_initial_state() -> None:
    torch.manual_seed(0)
    attention = MultiScaleDeformableAttention(64, 3, 8, 4)
    for layer in (attention.sampling_offsets, attention.attention_weights):
        assert not layer.weight.any()
    for layer in (attention.attention_weights, attention.value_proj, attention.output_proj):
        assert not layer.bias.any()
    for layer in (attention.value_proj, attention.output_proj):
        bound = math.sqrt(6 / (64 + 64))
        assert 0.99 * bound < layer.weight.abs().max() <= bound
    # 8 heads look at the 8 neighbours, from (1, 0) towards growing y; point p is p cells away
    directions = [(1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1)]
    bias_ALP2 = attention.sampling_offsets.bias.detach().view(8, 3, 4, 2)
    for head, (x, y) in enumerate(directions):
        for point in range(4):
            expected = torch.tensor([x, y]) * (point + 1.0)
            for level in range(3):
                torch.testing.assert_close(bias_ALP2[head, level, point], expected)


@torch.no_grad()
def test_fresh_attention_weighs_all_samples_alike() -> None:
    attention = MultiScaleDeformableAttention(DIM, 2, HEADS, POINTS)
    _, weights = attention.project(torch.randn(1, 4, DIM))
    torch.testing.assert_close(weights, torch.full((1, 4, HEADS, 2, POINTS), 1 / (2 * POINTS)))


def test_weights_share_one_softmax_over_levels_and_points() -> None:
    _, weights = make_attention().project(make_inputs()[0])
    torch.testing.assert_close(weights.sum((-2, -1)), torch.ones_like(weights[..., 0, 0]))
    assert (weights.sum(-1) - 0.5).abs().max() > 0.01


def test_softmax_of_few_is_softmax_for_large_values_too() -> None:
    logits = torch.tensor([[1e4, 1e4 - 1, -1e4], [-1e4, -1e4, -2e4]], requires_grad=True)
    torch.testing.assert_close(softmax_of_few(logits), logits.softmax(-1))
    inputs = torch.randn(3, 12, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(softmax_of_few, [inputs])


def test_locations_move_by_whole_cells() -> None:
    offsets = torch.tensor([1.0, -2.0]).expand(1, 1, 2, 2, 3, 2)
    reference = torch.tensor([[0.25, 0.5], [0.75, 0.125]]).view(1, 1, 2, 2)
    locations = sampling_locations(reference, offsets, [(4, 8), (16, 2)])
    assert locations.shape == offsets.shape
    expected = torch.tensor([[0.25 + 1 / 8, 0.5 - 2 / 4], [0.75 + 1 / 2, 0.125 - 2 / 16]])
    torch.testing.assert_close(locations, expected[:, None].expand(1, 1, 2, 2, 3, 2))


def test_one_reference_point_and_one_level_serve_all_levels_of_the_offsets() -> None:
    offsets = torch.randn(2, 5, 4, 3, 2, 2)
    reference = torch.rand(2, 5, 1, 2)
    one = sampling_locations(reference, offsets, [(4, 6)])
    three = sampling_locations(reference.expand(-1, -1, 3, -1), offsets, [(4, 6)] * 3)
    assert torch.equal(one, three)


@torch.no_grad()
def test_the_sampler_is_injected() -> None:
    calls = []

    def spy(value: Tensor, levels: LevelShapes, locations: Tensor, weights: Tensor) -> Tensor:
        calls.append([tuple(x.shape) for x in (value, locations, weights)])
        return ms_deform_sample(value, levels, locations, weights)

    attention = MultiScaleDeformableAttention(DIM, 2, HEADS, POINTS, sample=spy).double()
    attention.load_state_dict(make_attention().state_dict())
    out = attention(*make_inputs(), LEVELS)
    torch.testing.assert_close(out, make_attention()(*make_inputs(), LEVELS))
    plan = (2, QUERIES, HEADS, 2, POINTS)
    assert calls == [[(2, 14, HEADS, DIM // HEADS), (*plan, 2), plan]]


def test_builds_on_the_meta_device_and_runs_there() -> None:
    with torch.device("meta"):
        attention = MultiScaleDeformableAttention(DIM, 2, HEADS, POINTS)
        assert all(parameter.is_meta for parameter in attention.parameters())
        out = attention(
            torch.empty(1, QUERIES, DIM),
            torch.empty(1, QUERIES, 2, 2),
            torch.empty(1, 14, DIM),
            LEVELS,
        )
    assert out.shape == (1, QUERIES, DIM)


def test_bad_input_is_named() -> None:
    with pytest.raises(ValueError, match="dim 10 is not divisible by num_heads 4"):
        MultiScaleDeformableAttention(10, 3, 4, 4)
    query, reference, value = make_inputs()
    with pytest.raises(ValueError, match="built for 2 levels was given 1"):
        make_attention()(query, reference, value, LEVELS[:1])
