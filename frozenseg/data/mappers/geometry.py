"""Geometric augmentation of training: the draws are ours (seeded), the transforms detectron2's."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from detectron2.data import transforms as T
from numpy.typing import NDArray
from PIL import Image


def draw_large_scale_jitter(
    height: int,
    width: int,
    *,
    size: int,
    scales: tuple[float, float],
    flip_probability: float,
    generator: np.random.Generator,
) -> T.TransformList:
    """A random flip, resize and crop of an image of (height, width); the result is <= size x size.

    The image is resized to fit inside a square of scale x size, scale uniform in `scales`, then a
    window of at most size x size is cut out; one draw sets its place along both axes, as
    detectron2's FixedSizeCrop does. Padding to size x size is left to `pad_to`, since detectron2
    v0.6 and main fill label maps with different values.
    Source: Ghiasi et al., Simple Copy-Paste, arXiv:2012.07177, section 3 (large-scale jittering).
    """
    flip = generator.random() < flip_probability
    scale = generator.uniform(*scales)
    place = generator.random()

    ratio = min(scale * size / height, scale * size / width)
    resized = [max(1, round(edge * ratio)) for edge in (height, width)]
    cut = [min(edge, size) for edge in resized]
    top, left = (round((whole - part) * place) for whole, part in zip(resized, cut, strict=True))

    transforms: list[T.Transform] = [T.HFlipTransform(width)] if flip else []
    transforms.append(T.ResizeTransform(height, width, *resized, interp=Image.Resampling.BILINEAR))
    transforms.append(T.CropTransform(left, top, cut[1], cut[0]))
    return T.TransformList(transforms)


def pad_to(array: NDArray[Any], height: int, width: int, value: int) -> NDArray[Any]:
    """`array` (H, W, ...) padded at the bottom and right with `value` to (height, width, ...)."""
    missing = (height - array.shape[0], width - array.shape[1])
    padding = [(0, missing[0]), (0, missing[1]), *[(0, 0)] * (array.ndim - 2)]
    return np.pad(array, padding, constant_values=value)


def channels_first(image_HW3: NDArray[np.uint8]) -> torch.Tensor:
    """The image as a tensor (3, H, W)."""
    return torch.from_numpy(np.ascontiguousarray(image_HW3.transpose(2, 0, 1)))
