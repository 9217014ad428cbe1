"""Legends, and pictures in one sheet: image | ground truth | prediction.

Legend: H and W pixels. Images are RGB uint8 (H, W, 3).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from frozenseg.visualization.overlay import SegmentStyle, check_image
from frozenseg.visualization.segment_labels import caption
from frozenseg.visualization.text import BLACK, RGB, WHITE, draw_line, measure, shorten

LOWEST_SHEET, HIGHEST_SHEET = 320, 900  # heights of the pictures on a sheet
WIDEST_PICTURE = 1600
LONGEST_ENTRY = 40
MOST_COLUMNS = 3  # of a legend
FEWEST_ROWS = 6  # that a sheet gives to a legend however low its pictures are
WIDE = 3.0  # pictures of at least this width / height are put below one another
FRAME = (205, 205, 205)


def legend(
    styles: Sequence[SegmentStyle], height: int, size: int = 16, title: str = ""
) -> NDArray[np.uint8]:
    """A white panel `height` pixels high that lists names with their colours and scores.

    It has up to three columns. Entries that do not fit are counted in the last row
    ("and 12 more").
    Args: size: of the text, in pixels.
    """
    row = _row_height(size)
    rows = max(1, (height - size // 2) // row - bool(title))
    room = MOST_COLUMNS * rows
    shown = list(styles) if len(styles) <= room else list(styles)[: room - 1]
    entries: list[tuple[str, RGB | None]] = [
        (caption(style.name, style.score, LONGEST_ENTRY), style.color) for style in shown
    ]
    if len(shown) < len(styles):
        entries.append((f"and {len(styles) - len(shown)} more", None))
    elif not styles:
        entries.append(("no segments", None))
    lists = [entries[first : first + rows] for first in range(0, len(entries), rows)]
    top = size // 4 + row * bool(title)
    panel_HW3 = np.hstack([_entry_list(each, (height, size, top)) for each in lists])
    if not title:
        return panel_HW3
    title = shorten(title, LONGEST_ENTRY)
    missing = max(0, size + measure(title, size)[0] - panel_HW3.shape[1])
    panel_HW3 = np.pad(panel_HW3, ((0, 0), (0, missing), (0, 0)), constant_values=255)
    return _write(panel_HW3, (size // 2, size // 4), title, size)


def _entry_list(
    entries: Sequence[tuple[str, RGB | None]], layout: tuple[int, int, int]
) -> NDArray[np.uint8]:
    """One column of a legend. Args: layout: height, text size, where the first entry begins."""
    from PIL import Image, ImageDraw

    height, size, top = layout
    widest = max(measure(text, size)[0] for text, _ in entries)
    column = Image.new("RGB", (widest + 3 * size, height), WHITE)
    draw = ImageDraw.Draw(column)
    for number, (text, color) in enumerate(entries):
        y = top + number * _row_height(size)
        if color is not None:
            square = (size // 2, y + size // 6, size // 2 + size, y + size // 6 + size)
            draw.rectangle(square, fill=color, outline=FRAME)
        draw_line(draw, (2 * size, y), text, size, BLACK)
    return np.asarray(column).copy()


def _row_height(size: int) -> int:
    return round(1.6 * size)


def _write(
    image_HW3: NDArray[np.uint8], place: tuple[int, int], text: str, size: int
) -> NDArray[np.uint8]:
    """The image with a black line of text."""
    from PIL import Image, ImageDraw

    picture = Image.fromarray(image_HW3)
    draw_line(ImageDraw.Draw(picture), place, text, size, BLACK)
    return np.asarray(picture).copy()


def side_by_side(
    pictures: Sequence[tuple[str, NDArray[np.uint8]]],
    styles: Sequence[SegmentStyle] | None = None,
    legend_title: str = "",
) -> NDArray[np.uint8]:
    """One sheet: pictures at a common height, each under its title, then a legend.

    Very wide pictures are put below one another, others side by side. Small ones are enlarged
    without smoothing, large ones reduced, to 320 to 900 pixels high.

    Args:
        pictures: (title, image) pairs, left to right.
        styles: the legend's entries; None leaves the legend out.
        legend_title: a line above them.
    Raises: ValueError without pictures, or for one that is not an RGB uint8 image.
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
    if all(width >= WIDE * height for height, width in sizes):
        columns = [_joined(columns, gap, below=True)]
    if styles is not None:
        rows = min(FEWEST_ROWS, len(styles)) + bool(legend_title)
        least = size // 2 + rows * _row_height(size)
        columns.append(legend(styles, max(columns[0].shape[0], least), size, legend_title))
    sheet_HW3 = _joined(columns, gap)
    return np.pad(sheet_HW3, ((gap, gap), (gap, gap), (0, 0)), constant_values=255)


def _joined(
    parts: Sequence[NDArray[np.uint8]], gap: int, *, below: bool = False
) -> NDArray[np.uint8]:
    """Pictures left to right, or one below the other, filled up with white to a common size."""
    along, across = (0, 1) if below else (1, 0)
    full = max(part.shape[across] for part in parts)
    filled: list[NDArray[np.uint8]] = []
    for number, part in enumerate(parts):
        padding = [(0, 0), (0, 0), (0, 0)]
        padding[across] = (0, full - part.shape[across])
        padding[along] = (gap if number else 0, 0)
        filled.append(np.pad(part, padding, constant_values=255))
    return np.concatenate(filled, axis=along)


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
    title = shorten(title, LONGEST_ENTRY)
    width = max(image_HW3.shape[1], measure(title, size)[0])
    bar_HW3 = np.full((round(1.5 * size), width, 3), 255, dtype=np.uint8)
    padding = ((0, 0), (0, width - image_HW3.shape[1]), (0, 0))
    titled = [
        _write(bar_HW3, (0, 0), title, size),
        np.pad(image_HW3, padding, constant_values=255),
    ]
    return np.vstack(titled)


def _resize(image_HW3: NDArray[np.uint8], size: tuple[int, int]) -> NDArray[np.uint8]:
    """The picture at (height, width): averaged, smoothed or, from twice the size on, in squares."""
    if image_HW3.shape[:2] == size:
        return image_HW3
    import cv2

    factor = size[0] / image_HW3.shape[0]
    smooth = cv2.INTER_NEAREST if factor >= 2 else cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image_HW3, size[::-1], interpolation=smooth), dtype=np.uint8)


def _to_height(image_HW3: NDArray[np.uint8], height: int) -> NDArray[np.uint8]:
    width = round(image_HW3.shape[1] * height / image_HW3.shape[0])
    return _resize(image_HW3, (height, min(max(1, width), WIDEST_PICTURE)))
