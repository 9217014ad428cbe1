"""The nearest resize of arrays and tensors, detectron2's of test images, weights of an axis."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from detectron2.data.transforms import AugInput, ResizeShortestEdge
from hypothesis import given, settings
from hypothesis import strategies as st

from frozenseg.resize import axis_weights, nearest_resize, resize_to_edges, size_for_edges

SIDE = st.integers(1, 400)


@pytest.mark.slow
@settings(max_examples=200)
@given(source=SIDE, target=SIDE, across=st.booleans())
def test_arrays_and_tensors_are_resized_as_nearest_exact(source, target, across):
    """Where a centre lies on the border of two pixels, torch's rounding takes either of them."""
    shape, size = ((1, source), (1, target)) if across else ((source, 1), (target, 1))
    label_map = torch.arange(source).view(shape)
    found = nearest_resize(label_map, size)
    expected = F.interpolate(label_map[None, None].double(), size, mode="nearest-exact")[0, 0]
    on_border = torch.tensor([(2 * i + 1) * source % (2 * target) == 0 for i in range(target)])
    assert torch.equal(found.flatten()[~on_border], expected.long().flatten()[~on_border])
    assert (found - expected).abs().max() <= 1
    assert np.array_equal(nearest_resize(label_map.numpy(), size), found.numpy())


def test_centres_decide_not_corners():
    row = np.arange(8)[None]
    assert nearest_resize(row, (1, 4)).tolist() == [[1, 3, 5, 7]]
    assert nearest_resize(row[:, :3], (1, 6)).tolist() == [[0, 0, 1, 1, 2, 2]]


@pytest.mark.parametrize("shape", [(2, 2), (3, 2, 2), (0, 2, 2), (1, 2, 2, 2)])
@pytest.mark.parametrize("dtype", ["bool", "uint8", "int16", "int32", "int64", "float16"])
def test_leading_axes_and_types_stay(shape, dtype):
    array = (np.arange(np.prod(shape)).reshape(shape) * 7000).astype(dtype)
    expected = array.repeat(2, -2).repeat(3, -1)
    large = nearest_resize(array, (4, 6))
    assert large.dtype == array.dtype
    assert np.array_equal(large, expected)
    large = nearest_resize(torch.from_numpy(array), (4, 6))
    assert large.dtype == torch.from_numpy(array).dtype
    assert np.array_equal(large.numpy(), expected)


def test_a_map_of_that_size_is_returned_itself():
    for maps in (np.zeros((3, 2)), torch.zeros(5, 3, 2)):
        assert nearest_resize(maps, (3, 2)) is maps


def test_arrays_do_not_need_torch():
    code = (
        "import sys, numpy as np; from frozenseg.resize import nearest_resize\n"
        "nearest_resize(np.zeros((4, 4)), (2, 3)); sys.exit('torch' in sys.modules)"
    )
    folder = Path(__file__).parents[1]
    assert subprocess.run([sys.executable, "-c", code], cwd=folder, check=False).returncode == 0


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


@settings(max_examples=500)
@given(
    size=st.tuples(st.integers(1, 4000), st.integers(1, 4000)),
    edges=st.sampled_from([(800, 1333), (640, 2560), (7, 9)]),
)
def test_sizes_round_as_detectron2s(size, edges):
    theirs = ResizeShortestEdge.get_output_shape(*size, *edges)
    assert size_for_edges(size, *edges) == tuple(max(1, side) for side in theirs)


@pytest.mark.parametrize("sizes", [(8, 32, 32, 32), (8, 32, 30, 45), (5, 33, 33, 4), (1, 4, 1, 1)])
def test_axis_weights_are_a_convex_combination(sizes) -> None:
    weights = axis_weights(*sizes)
    assert weights.shape == (sizes[3], sizes[0])
    assert weights.min() >= 0
    np.testing.assert_allclose(weights.sum(1), 1)


def test_axis_weights_equal_interpolate_in_float64() -> None:
    signal = torch.randn(1, 1, 11, dtype=torch.float64)
    expected = F.interpolate(F.interpolate(signal, 44, mode="linear")[..., :39], 57, mode="linear")
    found = axis_weights(11, 44, 39, 57) @ signal[0, 0].numpy()
    np.testing.assert_allclose(found, expected[0, 0].numpy())


@pytest.mark.parametrize(
    ("sizes", "message"),
    [((8, 32, 33, 32), "does not fit"), ((8, 32, 32, 0), "at least 1"), ((0, 1, 1, 1), "at least")],
)
def test_impossible_sizes_are_errors(sizes, message) -> None:
    with pytest.raises(ValueError, match=message):
        axis_weights(*sizes)
