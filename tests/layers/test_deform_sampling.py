"""Multi-scale deformable sampling against its formula, on tiny sizes in float64."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from frozenseg.layers import deform_sampling
from frozenseg.layers.deform_sampling import BACKENDS, LevelShapes, ms_deform_sample

LEVELS = [(2, 3), (4, 1), (3, 5)]


def make_inputs(
    levels: LevelShapes = LEVELS, *, images: int = 2, queries: int = 5, points: int = 2
) -> tuple[Tensor, LevelShapes, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    heads, channels, tokens = 2, 3, sum(h * w for h, w in levels)
    value = torch.randn(images, tokens, heads, channels, generator=generator, dtype=torch.float64)
    shape = (images, queries, heads, len(levels), points)
    locations = torch.rand(*shape, 2, generator=generator, dtype=torch.float64) * 1.8 - 0.4
    weights = torch.randn(*shape, generator=generator, dtype=torch.float64)
    return value, levels, locations, weights


def sample_by_loops(
    value: Tensor, levels: LevelShapes, locations: Tensor, weights: Tensor
) -> Tensor:
    """The definition: each sample is the sum over all cells of value times a hat function."""
    B, N, A, _, P, _ = locations.shape
    out = torch.zeros(B, N, A, value.shape[-1], dtype=value.dtype)
    starts = [sum(h * w for h, w in levels[:level]) for level in range(len(levels))]
    for b, n, head, level, p in torch.cartesian_prod(
        *(torch.arange(size) for size in (B, N, A, len(levels), P))
    ).tolist():
        height, width = levels[level]
        x = locations[b, n, head, level, p, 0].item() * width - 0.5
        y = locations[b, n, head, level, p, 1].item() * height - 0.5
        for row in range(height):
            for column in range(width):
                hat = max(0.0, 1 - abs(x - column)) * max(0.0, 1 - abs(y - row))
                cell = value[b, starts[level] + row * width + column, head]
                out[b, n, head] += weights[b, n, head, level, p] * hat * cell
    return out.flatten(2)


@pytest.fixture(params=sorted(BACKENDS))
def backend(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.mark.parametrize(
    "levels", [LEVELS, [(3, 4)], [(1, 1)], [(1, 6), (6, 1)]], ids=lambda levels: str(levels)
)
def test_equals_the_formula(backend: str, levels: LevelShapes) -> None:
    inputs = make_inputs(levels)
    out = ms_deform_sample(*inputs, backend=backend)
    torch.testing.assert_close(out, sample_by_loops(*inputs), rtol=1e-12, atol=1e-12)


def test_one_point_at_a_cell_centre_reads_that_cell(backend: str) -> None:
    value, levels, *_ = make_inputs([(3, 5)], images=1)
    centre = torch.tensor([(4 + 0.5) / 5, (1 + 0.5) / 3], dtype=torch.float64)
    locations = centre.expand(1, 1, 2, 1, 1, 2)
    weights = torch.ones(1, 1, 2, 1, 1, dtype=torch.float64)
    out = ms_deform_sample(value, levels, locations, weights, backend=backend)
    torch.testing.assert_close(out[0, 0], value[0, 1 * 5 + 4].flatten())


@pytest.mark.parametrize("far", [-1e9, -1.1, 2.1, 1e9])
def test_outside_of_every_map_is_zero(backend: str, far: float) -> None:
    value, levels, locations, weights = make_inputs()
    for axis in (0, 1):
        outside = locations.clone()
        outside[..., axis] = far
        out = ms_deform_sample(value, levels, outside, weights, backend=backend)
        assert torch.equal(out, torch.zeros_like(out))


def test_a_level_never_reads_its_neighbour(backend: str) -> None:
    value, levels, locations, weights = make_inputs()
    locations = (locations * 20).round() / 20  # borders and cell centres are met exactly
    start, stop = 2 * 3, 2 * 3 + 4 * 1
    locations[:, :, :, [0, 2]] = 5.0  # outside
    poisoned = value.clone()
    poisoned[:, :start] = poisoned[:, stop:] = math.inf
    out = ms_deform_sample(value, levels, locations, weights, backend=backend)
    assert torch.equal(out, ms_deform_sample(poisoned, levels, locations, weights, backend=backend))


@pytest.mark.slow
def test_gradients(backend: str) -> None:
    value, levels, locations, weights = make_inputs([(2, 3), (3, 1)], queries=3)
    inputs = [tensor.requires_grad_() for tensor in (value, locations, weights)]

    def sample(value: Tensor, locations: Tensor, weights: Tensor) -> Tensor:
        return ms_deform_sample(value, levels, locations, weights, backend=backend)

    assert torch.autograd.gradcheck(sample, inputs)


@pytest.mark.parametrize("wanted", ["value", "locations", "weights"])
def test_gradient_of_one_input_alone(backend: str, wanted: str) -> None:
    def gradient(backend: str, names: list[str]) -> Tensor:
        value, levels, locations, weights = make_inputs()
        inputs = {"value": value, "locations": locations, "weights": weights}
        for name in names:
            inputs[name].requires_grad_()
        out = ms_deform_sample(value, levels, locations, weights, backend=backend)
        out.square().sum().backward()
        grad = inputs[wanted].grad
        assert grad is not None
        return grad

    torch.testing.assert_close(
        gradient(backend, [wanted]), gradient("grid_sample", ["value", "locations", "weights"])
    )


def test_one_sided_gradient_where_a_sample_meets_a_cell_centre() -> None:
    """The fresh offsets of the attention are whole cells: all backends take the same side there."""
    value, levels, *_ = make_inputs([(4, 8)], images=1)
    x, y = torch.meshgrid(torch.arange(-2, 11), torch.arange(-2, 7), indexing="xy")
    centres = torch.stack([(x + 0.5) / 8, (y + 0.5) / 4], dim=-1).double()  # exact in binary
    gradients = []
    for name in sorted(BACKENDS):
        locations = centres.reshape(1, 1, 1, 1, -1, 2).repeat(1, 1, 2, 1, 1, 1).requires_grad_()
        weights = torch.ones(locations.shape[:-1], dtype=torch.float64)
        ms_deform_sample(value, levels, locations, weights, backend=name).sum().backward()
        gradients.append(locations.grad)
    torch.testing.assert_close(gradients[0], gradients[1])


def test_backends_agree_in_float32_with_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deform_sampling, "GATHER_QUERIES", 7)
    levels = [(5, 7), (10, 13)]
    value64, _, *plan64 = make_inputs(levels, queries=20, points=4)
    results = []
    for name in sorted(BACKENDS):
        value, locations, weights = (t.float().requires_grad_() for t in (value64, *plan64))
        out = ms_deform_sample(value, levels, locations, weights, backend=name)
        out.square().sum().backward()
        results.append([out.detach(), value.grad, locations.grad, weights.grad])
    for first, second in zip(*results, strict=True):
        torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-4)


def test_queries_and_images_are_independent(backend: str, monkeypatch: pytest.MonkeyPatch) -> None:
    value, levels, locations, weights = make_inputs(images=3, queries=6)
    out = ms_deform_sample(value, levels, locations, weights, backend=backend)
    order, images = torch.tensor([4, 1, 5, 0, 3, 2]), torch.tensor([2, 0, 1])
    shuffled = ms_deform_sample(
        value[images],
        levels,
        locations[images][:, order],
        weights[images][:, order],
        backend=backend,
    )
    torch.testing.assert_close(shuffled, out[images][:, order])
    monkeypatch.setattr(deform_sampling, "GATHER_QUERIES", 4)
    torch.testing.assert_close(ms_deform_sample(value, levels, locations, weights), out)


def test_a_location_that_is_not_a_number_gives_no_error_and_spoils_its_query_only() -> None:
    value, levels, locations, weights = make_inputs(images=1)
    expected = ms_deform_sample(value, levels, locations, weights)
    locations[0, 2] = math.nan
    out = ms_deform_sample(value, levels, locations, weights)
    assert out[0, 2].isnan().all()
    others = [0, 1, 3, 4]
    assert torch.equal(out[0, others], expected[0, others])


def test_choice_of_backend() -> None:
    def fastest(device: str, dtype: torch.dtype, levels: LevelShapes) -> str:
        value = torch.empty(1, 4, 8, 2, device=device, dtype=dtype)
        return deform_sampling._fastest_backend(value, levels)

    assert fastest("cpu", torch.float32, LEVELS) == "weighted_gather"
    assert fastest("cpu", torch.bfloat16, LEVELS) == "grid_sample"
    assert fastest("meta", torch.float32, LEVELS) == "grid_sample"
    # rows of the table are counted in float32, exact up to 2^24
    assert fastest("cpu", torch.float32, [(1500, 1500)]) == "grid_sample"


def test_shapes_that_do_not_fit_are_named() -> None:
    value, _, locations, weights = make_inputs()
    with pytest.raises(ValueError, match=r"\[\(2, 3\)\] \(6 tokens\) do not fit 25 tokens"):
        ms_deform_sample(value, [(2, 3)], locations, weights)
