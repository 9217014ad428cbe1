"""Which font draws a character: one that every installation has, then those of the machine.

Nothing is ever downloaded. What no font has is written in characters that one has.
"""

from __future__ import annotations

import unicodedata
from functools import lru_cache
from importlib.resources import files
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.ImageFont import FreeTypeFont

# Styles that a fallback should not have, if there is another font with the character.
_UNWANTED = ("bold", "italic", "oblique", "mono", "serif", "light", "thin", "condensed", "black")
_TECHNICAL = ("lastresort",)  # draws the name of a script, not the character


@lru_cache(maxsize=1)
def default_font() -> str:
    """DejaVu Sans, which ships with matplotlib: Latin, Greek, Cyrillic, Hebrew, Arabic and more."""
    return str(files("matplotlib") / "mpl-data" / "fonts" / "ttf" / "DejaVuSans.ttf")


@lru_cache(maxsize=256)
def load_font(path: str, size: int) -> FreeTypeFont:
    """The font of a file at `size` pixels."""
    from PIL import ImageFont

    return ImageFont.truetype(path, size)


def runs(text: str) -> list[tuple[str, str]]:
    """(part of the text, file of the font that draws it), in order; parts joined are `text`.

    Marks that combine with the letter before them, and spaces, stay in its part.
    """
    fonts: list[str] = []
    for letter in text:
        joins = fonts and (letter.isspace() or unicodedata.combining(letter))
        fonts.append(fonts[-1] if joins else font_with(letter) or default_font())
    pairs = groupby(zip(text, fonts, strict=True), key=lambda pair: pair[1])
    return [("".join(letter for letter, _ in group), path) for path, group in pairs]


def drawable(text: str) -> str:
    """The text with every character that no font has written out: 🦩 as ":flamingo:", 人 as U+4EBA.

    Variation selectors and other marks without a shape of their own are dropped.
    """
    parts: list[str] = []
    for letter in text:
        if letter.isspace() or font_with(letter):
            parts.append(letter)
        elif unicodedata.category(letter) not in ("Mn", "Cf", "Sk"):
            is_symbol = unicodedata.category(letter) == "So"
            name = unicodedata.name(letter, "").lower() if is_symbol else ""
            parts.append(f":{name}:" if name else f" U+{ord(letter):04X} ")
    return " ".join("".join(parts).split())


@lru_cache(maxsize=65536)
def font_with(letter: str) -> str | None:
    """The file of a font that has the character, DejaVu Sans before all; None if there is none."""
    if _has(default_font(), letter):
        return default_font()
    return next((path for path in installed_fonts() if _has(path, letter)), None)


@lru_cache(maxsize=1)
def installed_fonts() -> tuple[str, ...]:
    """The font files of this machine, plain upright sans-serif ones first."""
    from matplotlib.font_manager import findSystemFonts

    found = {Path(path) for path in findSystemFonts()}
    plain = [path for path in found if not any(word in path.name.lower() for word in _TECHNICAL)]
    return tuple(str(path) for path in sorted(plain, key=_order))


def _order(path: Path) -> tuple[int, bool, str]:
    name = path.stem.lower().replace("sansserif", "sans")
    return sum(word in name for word in _UNWANTED), "sans" not in name, str(path)


def _has(path: str, letter: str) -> bool:
    codes = _characters(path)
    place = int(np.searchsorted(codes, ord(letter)))
    return place < len(codes) and int(codes[place]) == ord(letter)


@lru_cache(maxsize=4096)
def _characters(path: str) -> NDArray[np.uint32]:
    """Code points that a font has, ascending; none for a file that cannot be drawn at any size."""
    from matplotlib.ft2font import FT2Font

    try:
        font = FT2Font(path)
        codes = sorted(font.get_charmap()) if font.scalable else []
    except (OSError, RuntimeError):  # damaged, or of a format that freetype does not read
        codes = []
    return np.array(codes, dtype=np.uint32)
