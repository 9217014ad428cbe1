"""Text in pictures: one font that every installation has, sizes, and readable colours."""

from __future__ import annotations

from functools import lru_cache
from importlib.resources import files
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

RGB = tuple[int, int, int]
BLACK: RGB = (0, 0, 0)
WHITE: RGB = (255, 255, 255)
SMALLEST_TEXT, LARGEST_TEXT = 10, 160


@lru_cache(maxsize=64)
def font(size: int) -> FreeTypeFont:
    """DejaVu Sans (it ships with matplotlib) at `size` pixels: Latin, Greek, Cyrillic and more.

    Characters that it lacks (Chinese, emoji) are drawn as an empty box, never an error.
    """
    from PIL import ImageFont

    path = files("matplotlib") / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf"
    return ImageFont.truetype(str(path), size)


def text_size(height: int, width: int) -> int:
    """Font size in pixels that looks alike on images of all sizes, within readable bounds."""
    size = round(0.03 * (height * width) ** 0.5)
    return min(max(size, SMALLEST_TEXT), LARGEST_TEXT)


def measure(text: str, size: int) -> tuple[int, int]:
    """(width, height) in pixels of the box that holds one line, the same height for all texts."""
    ascent, descent = font(size).getmetrics()
    return round(font(size).getlength(text)), ascent + descent


def shorten(text: str, length: int) -> str:
    """One line of at most `length` characters; what is cut is marked by an ellipsis."""
    line = "".join(letter if letter.isprintable() else " " for letter in text)
    line = " ".join(line.split())
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
