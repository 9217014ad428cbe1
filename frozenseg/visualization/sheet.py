"""Legends, and pictures side by side: image | ground truth | prediction.

Legend: H and W pixels. Images are RGB uint8 (H, W, 3).
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from numpy.typing import NDArray

from frozenseg.visualization.labels import caption
from frozenseg.visualization.overlay import SegmentStyle, check_image
from frozenseg.visualization.text import BLACK, WHITE, font, measure, shorten

LOWEST_SHEET, HIGHEST_SHEET = 320, 900  # heights of the pictures on a sheet
WIDEST_PICTURE = 1600
LONGEST_ENTRY = 40
FRAME = (205, 205, 205)


def legend(
    styles: Sequence[SegmentStyle], height: int, size: int = 16, title: str = ""
) -> NDArray[np.uint8]:
    """A white panel `height` pixels high that lists names with their colours and scores.

    Entries that do not fit are counted in the last row ("and 12 more").
    Args: size: of the text, in pixels.
    """
    from PIL import Image, ImageDraw

    row = round(1.6 * size)
    room = max(1, (height - size // 2) // row) - bool(title)
    shown = list(styles) if len(styles) <= room else list(styles)[: max(0, room - 1)]
    lines = [caption(style.name, style.score, LONGEST_ENTRY) for style in shown]
    if len(shown) < len(styles):
        lines.append(f"and {len(styles) - len(shown)} more")
    elif not styles:
        lines.append("no segments")
    title = shorten(title, LONGEST_ENTRY)
    widest = max(measure(line, size)[0] for line in [*lines, title])
    panel = Image.new("RGB", (widest + 3 * size, height), WHITE)
    draw = ImageDraw.Draw(panel)
    y = size // 4
    if title:
        draw.text((size // 2, y), title, fill=BLACK, font=font(size))
        y += row
    for number, line in enumerate(lines):
        if number < len(shown):
            square = (size // 2, y + size // 6, size // 2 + size, y + size // 6 + size)
            draw.rectangle(square, fill=shown[number].color, outline=FRAME)
        draw.text((2 * size, y), line, fill=BLACK, font=font(size))
        y += row
    return np.asarray(panel).copy()


def side_by_side(
    pictures: Sequence[tuple[str, NDArray[np.uint8]]],
    styles: Sequence[SegmentStyle] | None = None,
    legend_title: str = "",
) -> NDArray[np.uint8]:
    """One sheet: pictures at a common height, each under its title, then a legend.

    Small pictures are enlarged without smoothing, large ones reduced, to 320 to 900 pixels high.
    Args:
        pictures: (title, image) pairs, left to right.
        styles: the legend's entries; None leaves the legend out.
        legend_title: a line above them.
    Raises: ValueError for no picture or one that is no RGB uint8 image.
    """
    if not pictures:
        raise ValueError("a sheet needs at least one picture, got none")
    for _, image_HW3 in pictures:
        check_image(image_HW3)
    sizes = [(image_HW3.shape[0], image_HW3.shape[1]) for _, image_HW3 in pictures]
    height = min(picture_size(size)[0] for size in sizes)
    size = max(12, round(height / 36))
    gap = size // 2
    columns = [_titled(title, _to_height(image, height), size) for title, image in pictures]
    if styles is not None:
        columns.append(legend(styles, columns[0].shape[0], size, legend_title))
    full = max(column.shape[0] for column in columns)
    spaced: list[NDArray[np.uint8]] = []
    for column in columns:
        below = full - column.shape[0]
        spaced.append(np.pad(column, ((gap, gap + below), (gap, 0), (0, 0)), constant_values=255))
    return np.pad(np.hstack(spaced), ((0, 0), (0, gap), (0, 0)), constant_values=255)


def picture_size(size: tuple[int, int]) -> tuple[int, int]:
    """The (height, width) at which a sheet shows a picture of (height, width) `size`."""
    height, width = size
    shown = min(max(height, LOWEST_SHEET), HIGHEST_SHEET, round(WIDEST_PICTURE * height / width))
    shown = max(1, shown)
    return shown, min(max(1, round(width * shown / height)), WIDEST_PICTURE)


def to_picture_size(image_HW3: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The picture as a sheet shows it; labels that are drawn after this stay sharp."""
    return _resize(image_HW3, picture_size((image_HW3.shape[0], image_HW3.shape[1])))


def _titled(title: str, image_HW3: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """The image under a white bar with its title; the bar is widened for a narrow image."""
    from PIL import Image, ImageDraw

    title = shorten(title, LONGEST_ENTRY)
    width = max(image_HW3.shape[1], measure(title, size)[0])
    bar = Image.new("RGB", (width, round(1.5 * size)), WHITE)
    ImageDraw.Draw(bar).text((0, 0), title, fill=BLACK, font=font(size))
    padding = ((0, 0), (0, width - image_HW3.shape[1]), (0, 0))
    return np.vstack([np.asarray(bar), np.pad(image_HW3, padding, constant_values=255)])


def _resize(image_HW3: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """The picture at (height, width): averaged, smoothed or, from twice the size on, in squares."""
    if image_HW3.shape[:2] == size:
        return image_HW3
    factor = size[0] / image_HW3.shape[0]
    smooth = cv2.INTER_NEAREST if factor >= 2 else cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image_HW3, size[::-1], interpolation=smooth), dtype=np.uint8)


def _to_height(image_HW3: NDArray[np.uint8], height: int) -> NDArray[np.uint8]:
    width = round(image_HW3.shape[1] * height / image_HW3.shape[0])
    return _resize(image_HW3, (height, min(max(1, width), WIDEST_PICTURE)))
