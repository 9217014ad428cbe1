"""Resizing: test images by Pillow, label maps and masks without new values, weights of both axes.

numpy and Pillow alone, for models on torch and for exported ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from torch import Tensor

    Map = TypeVar("Map", NDArray[Any], Tensor)


def resize_to_edges(
    image_HW3: NDArray[np.uint8], shortest_edge: int, longest_edge: int
) -> NDArray[np.uint8]:
    """detectron2's ResizeShortestEdge, except that a side never gets smaller than 1 pixel.

    Args:
        shortest_edge: wanted length in pixels; 0 keeps the image's own size.
        longest_edge: limit of the other side; it takes precedence over `shortest_edge`.
    """
    from PIL import Image

    size = size_for_edges((image_HW3.shape[0], image_HW3.shape[1]), shortest_edge, longest_edge)
    if shortest_edge == 0:
        return image_HW3
    image = Image.fromarray(image_HW3).resize(size[::-1], Image.Resampling.BILINEAR)
    return np.asarray(image)


def size_for_edges(size: tuple[int, int], shortest_edge: int, longest_edge: int) -> tuple[int, int]:
    """The (height, width) that an image of `size` gets by `resize_to_edges`."""
    if shortest_edge == 0:
        return size
    factor = shortest_edge / min(size)
    sides = [float(shortest_edge) if side == min(size) else factor * side for side in size]
    if max(sides) > longest_edge:
        factor = longest_edge / max(sides)
        sides = [factor * side for side in sides]
    height, width = (max(1, int(side + 0.5)) for side in sides)
    return height, width


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


def axis_weights(source: int, padded: int, image: int, output: int) -> NDArray[np.float64]:
    """Weights (output, source) of one axis: to `padded`, cropped to `image`, then to `output`.

    Bilinear without antialiasing, align_corners=False, as `torch.nn.functional.interpolate`.
    Every row sums to 1.
    Raises: ValueError for sizes below 1 or an image larger than its padded input.
    """
    if min(source, padded, image, output) < 1:
        raise ValueError(
            f"cannot resize masks of {source} to {padded}, crop to {image} and resize to {output}: "
            "every size must be at least 1; is the image empty?"
        )
    if image > padded:
        raise ValueError(f"an image of {image} pixels does not fit its padded input of {padded}")
    low_P, high_P, weight_P1 = bilinear_taps(source, padded)
    weights_PS = np.zeros((padded, source))
    places_P = np.arange(padded)
    weights_PS[places_P, low_P] += 1.0 - weight_P1[:, 0]
    weights_PS[places_P, high_P] += weight_P1[:, 0]
    if image == output:
        return weights_PS[:image]
    low_O, high_O, weight_O1 = bilinear_taps(image, output)
    weights_OS: NDArray[np.float64]
    weights_OS = (1.0 - weight_O1) * weights_PS[low_O] + weight_O1 * weights_PS[high_O]
    return weights_OS


def bilinear_taps(
    source: int, target: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float64]]:
    """The two source cells (target,) of every target cell, and the second's weight (target, 1).

    Without antialiasing, align_corners=False.
    """
    centre = ((np.arange(target) + 0.5) * (source / target) - 0.5).clip(0.0, source - 1.0)
    low = np.floor(centre).astype(np.int64)
    high = np.minimum(low + 1, source - 1)
    return low, high, (centre - low)[:, None]


def _take(maps: Map, indices: NDArray[np.int64], axis: int) -> Map:
    if isinstance(maps, np.ndarray):
        return maps.take(indices, axis)
    import torch

    return maps.index_select(axis, torch.from_numpy(indices).to(maps.device))
