"""The one nearest resize, for arrays and tensors."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from frozenseg.resize import nearest_resize

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
