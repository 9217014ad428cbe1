"""Writes names into segments: one coloured chip each, inside the image, none over another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from frozenseg.visualization.text import (
    RGB,
    SMALLEST_TEXT,
    draw_line,
    measure,
    shorten,
    text_color,
    text_size,
)

LONGEST_NAME = 28
LARGEST_SHARE = 0.3  # of the image that labels may cover together: it should still be seen
Box = tuple[int, int, int, int]  # left, top, right, bottom; right and bottom excluded


class PlacedLabel(NamedTuple):
    """A label and its best place.

    Attributes:
        x, y: centre wanted, in pixels.
        radius: space around the centre inside the segment; the text shrinks a little to fit.
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

    The label of a segment smaller than the text is put beside it. One that meets another label
    moves; where there is no room left, the image is smaller than the text, or labels cover much of
    the image already, it is left out (the legend still names the segment).
    Returns: the boxes of the labels drawn.
    """
    height, width = image_HW3.shape[:2]
    base = text_size(height, width)
    boxes: list[Box] = []
    room = LARGEST_SHARE * height * width
    for label in sorted(labels, key=lambda each: -each.area):
        text = caption(label.name, label.score)
        size = _fitting_size(text, base, label.radius)
        box = _free_box(text, size, label, (height, width), boxes)
        if box is None or (boxes and _area(box) > room):
            continue
        boxes.append(box)
        room -= _area(box)
        _draw_chip(image_HW3, box, text, size, label.color)
    return boxes


def _fitting_size(text: str, base: int, radius: float) -> int:
    """The font size that fits the text into the segment, between 70 % and 100 % of `base`."""
    share = 2 * radius / max(1, measure(text, base)[0])
    return max(SMALLEST_TEXT, round(base * min(1.0, max(0.7, share))))


def _free_box(
    text: str, size: int, label: PlacedLabel, image: tuple[int, int], taken: list[Box]
) -> Box | None:
    """The first place for the box that lies in the image and meets no other label."""
    height, width = image
    text_width, text_height = measure(text, size)
    margin = max(2, size // 4)
    box_width, box_height = text_width + 2 * margin, text_height + margin
    if box_width > width or box_height > height:
        return None
    for x, y, beside in _places(label, box_width, box_height):
        left = min(max(x - box_width // 2, 0), width - box_width)
        top = min(max(y - box_height // 2, 0), height - box_height)
        box = (left, top, left + box_width, top + box_height)
        hides = beside and _meet(box, (label.x, label.y, label.x + 1, label.y + 1))
        if not hides and not any(_meet(box, other) for other in taken):
            return box
    return None


def _places(label: PlacedLabel, width: int, height: int) -> Iterator[tuple[int, int, bool]]:
    """(x, y) of a box's centre, best first, and whether it is to leave the segment uncovered."""
    if 2 * label.radius < height:
        away = round(label.radius) + 2
        for sign in (-1, 1):
            yield label.x, label.y + sign * (away + height // 2 + 1), True
        for sign in (1, -1):
            yield label.x + sign * (away + width // 2 + 1), label.y, True
    for step in (0, -1, 1, -2, 2, -3, 3):
        yield label.x, label.y + step * (height // 2 + 1), False


def _area(box: Box) -> int:
    return (box[2] - box[0]) * (box[3] - box[1])


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
    line = max(1, size // 24)
    draw.rounded_rectangle((0, 0, *edge), radius=size // 4, fill=color, outline=ink, width=line)
    text_width, text_height = measure(text, size)
    place = ((right - left - text_width) / 2, (bottom - top - text_height) / 2)
    draw_line(draw, place, text, size, ink)
    image_HW3[top:bottom, left:right] = np.asarray(chip)
