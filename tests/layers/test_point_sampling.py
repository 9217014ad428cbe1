"""Point sampling against pixel values, `grid_sample` and PointRend's rule."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from frozenseg.layers.point_sampling import sample_labels, sample_points, uncertain_points


def test_pixel_centres_return_the_pixels():
    maps = torch.randn(2, 3, 4)
    y, x = torch.meshgrid((torch.arange(3) + 0.5) / 3, (torch.arange(4) + 0.5) / 4, indexing="ij")
    points = torch.stack((x, y), dim=-1).flatten(0, 1).expand(2, -1, -1)
    torch.testing.assert_close(sample_points(maps, points), maps.flatten(1), atol=1e-5, rtol=1e-5)


@settings(max_examples=20)
@given(
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    count=st.integers(0, 4),
    seed=st.integers(0, 1000),
)
def test_labels_equal_bilinear_sampling_of_the_masks(height, width, count, seed):
    generator = torch.Generator().manual_seed(seed)
    masks = torch.rand(5, height, width, generator=generator) > 0.5
    index = torch.randint(0, 5, (count,), generator=generator)
    points = torch.rand(count, 7, 2, generator=generator)
    points[:, :2] = points[:, :2].round()  # the corners of the image
    expected = sample_points(masks[index].float(), points)
    torch.testing.assert_close(sample_labels(masks, index, points), expected, atol=2e-5, rtol=0)


def test_one_row_of_points_serves_all_masks():
    masks = torch.rand(3, 4, 4) > 0.5
    points = torch.rand(1, 6, 2)
    labels = sample_labels(masks, torch.arange(3), points)
    expected = sample_labels(masks, torch.arange(3), points.expand(3, -1, -1))
    assert torch.equal(labels, expected)


def test_important_points_lie_on_the_boundary():
    logits = torch.linspace(-8, 8, 64).expand(1, 64, 64).contiguous()
    points = uncertain_points(
        logits,
        100,
        oversample_ratio=8,
        importance_ratio=0.75,
        generator=torch.Generator().manual_seed(0),
    )
    assert points.shape == (1, 100, 2)
    distance = (points[0, :, 0] - 0.5).abs()
    assert distance[:75].max() < 0.2
    assert distance[75:].max() > 0.3


def test_draws_follow_the_generator():
    logits = torch.randn(2, 8, 8)
    kwargs = {"oversample_ratio": 3, "importance_ratio": 0.75}
    first, second, third = (
        uncertain_points(logits, 16, generator=torch.Generator().manual_seed(s), **kwargs)
        for s in (1, 1, 2)
    )
    assert torch.equal(first, second)
    assert not torch.equal(first, third)


@pytest.mark.parametrize("importance", [0.0, 1.0])
def test_extreme_shares(importance):
    points = uncertain_points(
        torch.randn(3, 4, 4), 5, oversample_ratio=3, importance_ratio=importance
    )
    assert points.shape == (3, 5, 2)
