"""Text in pictures: sizes, lines of any script, and readable colours."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from frozenseg.visualization.fonts import default_font, drawable, load_font, runs

if TYPE_CHECKING:
    from PIL.ImageDraw import ImageDraw

RGB = tuple[int, int, int]
BLACK: RGB = (0, 0, 0)
WHITE: RGB = (255, 255, 255)
SMALLEST_TEXT, LARGEST_TEXT = 10, 160


def text_size(height: int, width: int) -> int:
    """Font size in pixels that looks alike on images of all sizes, within readable bounds."""
    size = round(0.03 * math.sqrt(height * width))
    return min(max(size, SMALLEST_TEXT), LARGEST_TEXT)


def measure(text: str, size: int) -> tuple[int, int]:
    """(width, height) in pixels of the box that holds one line, the same height for all texts."""
    ascent, descent = load_font(default_font(), size).getmetrics()
    width = sum(load_font(path, size).getlength(part) for part, path in runs(text))
    return round(width), ascent + descent


def draw_line(draw: ImageDraw, place: tuple[float, float], text: str, size: int, ink: RGB) -> None:
    """Draws one line; `place` is the left upper corner of the box that `measure` gives.

    Every character is drawn in the first font that has it, all on one baseline.
    """
    x, top = place
    baseline = top + load_font(default_font(), size).getmetrics()[0]
    for part, path in runs(text):
        font = load_font(path, size)
        draw.text((x, baseline), part, fill=ink, font=font, anchor="ls")
        x += font.getlength(part)


def shorten(text: str, length: int) -> str:
    """One line of at most `length` characters; what is cut is marked by an ellipsis.

    Characters that no font has are written out (`drawable`).
    """
    line = drawable("".join(letter if letter.isprintable() else " " for letter in text))
    return line if len(line) <= length else line[: length - 1].rstrip() + "…"


def luminance(color: RGB) -> float:
    """Relative luminance in 0..1 of an sRGB colour. Source: WCAG 2.1, "relative luminance"."""
    channels = [value / 255 for value in color]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def text_color(background: RGB) -> RGB:
    """Black or white, whichever has the higher WCAG contrast on `background` (at least 4.5)."""
    level = luminance(background)
    return BLACK if (level + 0.05) / 0.05 >= 1.05 / (level + 0.05) else WHITE
