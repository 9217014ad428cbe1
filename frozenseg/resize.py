"""Resizing without new values: label maps and masks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

    Map = TypeVar("Map", NDArray[Any], Tensor)


def nearest_resize(maps: Map, size: tuple[int, int]) -> Map:
    """Maps (..., H, W) at `size`, of the same type; the maps themselves where they have that size.

    Every pixel takes the source pixel that its centre lies in, of two the second: 8 -> 4 takes
    1, 3, 5, 7. So maps stay where bilinearly resized images are, as with torch's "nearest-exact"
    (which rounds: of two it takes either); OpenCV's INTER_NEAREST shifts them by half a pixel.

    Args: maps: a numpy array or a torch tensor of any dtype, integers and bool included.
    """
    for axis, target in zip((-2, -1), size, strict=True):
        source = maps.shape[axis]
        if source != target:
            maps = _take(maps, (2 * np.arange(target) + 1) * source // (2 * target), axis)
    return maps


def _take(maps: Map, indices: NDArray[np.int64], axis: int) -> Map:
    if isinstance(maps, np.ndarray):
        return maps.take(indices, axis)
    import torch

    return maps.index_select(axis, torch.from_numpy(indices).to(maps.device))
