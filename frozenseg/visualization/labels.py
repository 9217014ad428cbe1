"""Writes names into segments: one coloured chip each, inside the image, none over another."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from frozenseg.visualization.text import (
    RGB,
    SMALLEST_TEXT,
    font,
    measure,
    shorten,
    text_color,
    text_size,
)

LONGEST_NAME = 28
Box = tuple[int, int, int, int]  # left, top, right, bottom; right and bottom excluded


class PlacedLabel(NamedTuple):
    """A label and where it would best stand.

    Attributes:
        x, y: centre wanted, in pixels.
        radius: room around the centre inside the segment; the text shrinks a little to fit.
        area: size of the segment; larger ones choose their place first.
    """

    name: str
    score: float | None
    color: RGB
    x: int
    y: int
    radius: float
    area: int


def caption(name: str, score: float | None, longest: int = LONGEST_NAME) -> str:
    """A name, shortened to one line, and its score with two decimals where there is one."""
    line = shorten(name, longest)
    return line if score is None else f"{line} {score:.2f}"


def draw_labels(image_HW3: NDArray[np.uint8], labels: Iterable[PlacedLabel]) -> list[Box]:
    """Draws labels into an RGB uint8 image (H, W, 3), in place.

    A label that meets another one moves up or down; where there is no room left, or the image is
    smaller than the text, it is left out (the legend still names the segment).
    Returns: the boxes of the labels drawn.
    """
    height, width = image_HW3.shape[:2]
    base = text_size(height, width)
    boxes: list[Box] = []
    for label in sorted(labels, key=lambda each: -each.area):
        text = caption(label.name, label.score)
        size = _fitting_size(text, base, label.radius)
        box = _free_box(text, size, label, (height, width), boxes)
        if box is not None:
            boxes.append(box)
            _draw_chip(image_HW3, box, text, size, label.color)
    return boxes


def _fitting_size(text: str, base: int, radius: float) -> int:
    """The font size that fits the text into the segment, between 70 % and 100 % of `base`."""
    share = 2 * radius / max(1, measure(text, base)[0])
    return max(SMALLEST_TEXT, round(base * min(1.0, max(0.7, share))))


def _free_box(
    text: str, size: int, label: PlacedLabel, image: tuple[int, int], taken: list[Box]
) -> Box | None:
    """The box nearest to the wanted centre that lies in the image and meets no other one."""
    height, width = image
    text_width, text_height = measure(text, size)
    margin = max(2, size // 4)
    box_width, box_height = text_width + 2 * margin, text_height + margin
    if box_width > width or box_height > height:
        return None
    left = min(max(label.x - box_width // 2, 0), width - box_width)
    for step in (0, -1, 1, -2, 2, -3, 3):
        top = label.y - box_height // 2 + step * (box_height // 2 + 1)
        top = min(max(top, 0), height - box_height)
        box = (left, top, left + box_width, top + box_height)
        if not any(_meet(box, other) for other in taken):
            return box
    return None


def _meet(one: Box, other: Box) -> bool:
    apart = one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
    return not apart


def _draw_chip(image_HW3: NDArray[np.uint8], box: Box, text: str, size: int, color: RGB) -> None:
    """A rounded chip in the segment's colour with the text in black or white."""
    from PIL import Image, ImageDraw

    left, top, right, bottom = box
    chip = Image.fromarray(image_HW3[top:bottom, left:right])
    draw = ImageDraw.Draw(chip)
    edge = (right - left - 1, bottom - top - 1)
    ink = text_color(color)
    draw.rounded_rectangle((0, 0, *edge), radius=size // 4, fill=color, outline=ink)
    ascent, descent = font(size).getmetrics()
    x = (right - left - measure(text, size)[0]) / 2
    y = (bottom - top - ascent - descent) / 2
    draw.text((x, y), text, fill=ink, font=font(size))
    image_HW3[top:bottom, left:right] = np.asarray(chip)
