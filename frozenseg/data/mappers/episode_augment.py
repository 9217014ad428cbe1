"""Augmentation of pairs of an image and its labels, every draw from one generator.

Whatever moves pixels moves both; labels are copied, never mixed, and pixels that come from beyond
the edge are not scored. Strengths that Fusioner's description leaves open are ours; they stand as
constants below.

Legend: H and W pixels, S side of the training square.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import cv2
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from frozenseg.resize import nearest_resize
from frozenseg.structures import IGNORED

AREA_SHARES, ASPECTS, CROP_DRAWS = (0.5, 1.0), (3 / 4, 4 / 3), 10
PROBABILITY = 0.5
NOISE_LEVELS = (3.0, 7.0)  # standard deviation, of 255
BEND, BEND_CELLS = 0.012, 6  # standard deviation of the shifts, of S; cells of their grid
SCALES, SHIFT = (0.9, 1.1), 0.05  # of the affine map; the shift of S

ImageArray = NDArray[np.uint8]
Labels = NDArray[np.int16]  # the widest integers that OpenCV moves without mixing
Pair = tuple[ImageArray, Labels]
Box = tuple[int, int, int, int]


def draw_box(height: int, width: int, generator: np.random.Generator) -> Box:
    """(top, left, height, width) of what becomes the training square.

    One half of the draws take a window of random area and aspect ratio, the other half the largest
    square at a random place, which equals a resize of the shortest side and a random crop.
    """
    if generator.random() < PROBABILITY:
        side = min(height, width)
        return _placed(height, width, side, side, generator)
    for _ in range(CROP_DRAWS):
        area = height * width * generator.uniform(*AREA_SHARES)
        aspect = np.exp(generator.uniform(*np.log(ASPECTS)))
        wide, high = round(np.sqrt(area * aspect)), round(np.sqrt(area / aspect))
        if 0 < wide <= width and 0 < high <= height:
            return _placed(height, width, high, wide, generator)
    low, high_aspect = ASPECTS
    wide = max(1, min(width, int(height * high_aspect)))
    high = max(1, min(height, int(width / low)))
    return _placed(height, width, high, wide, generator)


def _placed(height: int, width: int, high: int, wide: int, generator: np.random.Generator) -> Box:
    top, left = (
        int(generator.integers(whole - part + 1)) for whole, part in ((height, high), (width, wide))
    )
    return top, left, high, wide


def resize_box(image_HW3: ImageArray, labels_HW: Labels, box: Box, size: int) -> Pair:
    """The box as a square of `size`: the image bilinear with antialiasing, labels nearest."""
    top, left, height, width = box
    image = Image.fromarray(image_HW3).resize(
        (size, size),
        Image.Resampling.BILINEAR,
        box=(left, top, left + width, top + height),
    )
    inside_HW = labels_HW[top : top + height, left : left + width]
    return np.array(image), nearest_resize(inside_HW, (size, size))


def augment(
    image_SS3: ImageArray,
    labels_SS: Labels,
    generator: np.random.Generator,
    *,
    color_jitter: float,
    rotation: float,
) -> Pair:
    """With probability 0.5 the pair as it is, otherwise each step below with probability 0.5.

    The steps in order: jitter of brightness, contrast and saturation (factors 1 +- color_jitter),
    noise, horizontal flip, elastic bending, an affine map (+- rotation degrees).
    """
    if generator.random() >= PROBABILITY:
        return image_SS3, labels_SS
    steps: Sequence[Callable[[ImageArray, Labels], Pair]] = (
        lambda image, labels: (jitter_colors(image, generator, color_jitter), labels),
        lambda image, labels: (add_noise(image, generator), labels),
        lambda image, labels: (image[:, ::-1], labels[:, ::-1]),
        lambda image, labels: bend(image, labels, generator),
        lambda image, labels: move(image, labels, generator, rotation),
    )
    for step in steps:
        if generator.random() < PROBABILITY:
            image_SS3, labels_SS = step(image_SS3, labels_SS)
    return image_SS3, labels_SS


def jitter_colors(
    image_HW3: ImageArray, generator: np.random.Generator, strength: float
) -> ImageArray:
    """Brightness, contrast and saturation times factors in 1 +- strength (at least 0).

    The hue stays, since names of classes may hold colours.
    """
    bright, contrast, saturation = generator.uniform(max(0.0, 1 - strength), 1 + strength, 3)
    pixels = image_HW3.astype(np.float32) * np.float32(bright)
    grey = cv2.cvtColor(pixels, cv2.COLOR_RGB2GRAY)
    pixels = (pixels - grey[..., None]) * np.float32(saturation) + grey[..., None]
    mean = grey.mean()
    return _to_bytes((pixels - mean) * np.float32(contrast) + mean)


def add_noise(image_HW3: ImageArray, generator: np.random.Generator) -> ImageArray:
    """Normal noise of a random level, independent for every pixel and channel."""
    level = generator.uniform(*NOISE_LEVELS)
    noise = generator.standard_normal(image_HW3.shape, dtype=np.float32)
    return _to_bytes(image_HW3 + np.float32(level) * noise)


def bend(image_HW3: ImageArray, labels_HW: Labels, generator: np.random.Generator) -> Pair:
    """Elastic deformation: smooth random shifts, drawn on a coarse grid.

    Source: Simard et al., Best Practices for Convolutional Neural Networks, ICDAR 2003; there the
    shifts of all pixels are drawn and blurred.
    """
    height, width = labels_HW.shape
    deviation = BEND * min(height, width)
    grid = generator.normal(0, deviation, (BEND_CELLS, BEND_CELLS, 2)).astype(np.float32)
    shifts = cv2.resize(grid, (width, height), interpolation=cv2.INTER_CUBIC)
    y, x = np.mgrid[:height, :width].astype(np.float32)
    return _sampled(image_HW3, labels_HW, x + shifts[..., 0], y + shifts[..., 1])


def move(
    image_HW3: ImageArray, labels_HW: Labels, generator: np.random.Generator, rotation: float
) -> Pair:
    """A rotation of at most `rotation` degrees about the centre, with a small scale and shift."""
    height, width = labels_HW.shape
    angle = np.deg2rad(generator.uniform(-rotation, rotation))
    scale = generator.uniform(*SCALES)
    shift_x, shift_y = generator.uniform(-SHIFT, SHIFT, 2) * (width, height)
    cos, sin = np.cos(angle) / scale, np.sin(angle) / scale
    center_x, center_y = (width - 1) / 2, (height - 1) / 2
    y, x = np.mgrid[:height, :width]
    x, y = x - center_x - shift_x, y - center_y - shift_y
    source_x, source_y = cos * x + sin * y + center_x, cos * y - sin * x + center_y
    return _sampled(image_HW3, labels_HW, source_x.astype(np.float32), source_y.astype(np.float32))


def _sampled(
    image_HW3: ImageArray, labels_HW: Labels, x_HW: NDArray[np.float32], y_HW: NDArray[np.float32]
) -> Pair:
    """The pair at places of itself; beyond the edge a mirrored image, and labels IGNORED."""
    image = cv2.remap(
        np.ascontiguousarray(image_HW3),
        x_HW,
        y_HW,
        cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REFLECT_101,
    )
    labels = cv2.remap(
        np.ascontiguousarray(labels_HW),
        x_HW,
        y_HW,
        cv2.INTER_NEAREST,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=IGNORED,
    )
    return image.astype(np.uint8, copy=False), labels.astype(np.int16, copy=False)


def _to_bytes(pixels: NDArray[np.float32]) -> ImageArray:
    return pixels.round().clip(0, 255).astype(np.uint8)
