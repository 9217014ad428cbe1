"""The resize of test images: detectron2's, and defined for every image."""

from __future__ import annotations

import numpy as np
import pytest
from detectron2.data.transforms import AugInput, ResizeShortestEdge

from frozenseg.data.mappers.geometry import resize_to_edges


def image(height, width):
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)


@pytest.mark.parametrize("edges", [(25, 1000), (80, 100), (0, 100), (130, 140)])
@pytest.mark.parametrize("size", [(100, 50), (31, 64), (40, 40)])
def test_equals_detectron2(size, edges):
    theirs = AugInput(image(*size))
    ResizeShortestEdge([edges[0]] * 2, edges[1])(theirs)
    np.testing.assert_array_equal(resize_to_edges(image(*size), *edges), theirs.image)


def test_sizes_by_hand():
    assert resize_to_edges(image(100, 50), 25, 1000).shape == (50, 25, 3)
    assert resize_to_edges(image(100, 50), 80, 100).shape == (100, 50, 3)


@pytest.mark.parametrize("size", [(1, 4000), (4000, 1)])
def test_a_side_that_rounds_to_nothing_is_one_pixel(size):
    expected = tuple(min(edge, 1333) for edge in size)
    assert resize_to_edges(image(*size), 800, 1333).shape == (*expected, 3)
