"""Display colours of classes: a colour belongs to a name, so it is the same in every picture."""

from __future__ import annotations

import colorsys
import hashlib
from collections.abc import Iterator, Sequence

Color = tuple[int, int, int]

_GOLDEN_RATIO = 0.618033988749895
_TRIES = 12  # candidates of a name that are looked at before near neighbours are accepted
_CELL = 40  # two colours are "near" when they share a cell of this width in every channel


def assign_colors(names: Sequence[str], fixed: Sequence[Color | None]) -> list[Color]:
    """One colour per name: the fixed one where given, else the name's own.

    A generated colour differs from every other colour of the list. Only if a name's own colour
    is near one that is already taken, the next colour of the name's sequence is used.

    Args:
        names: N canonical names.
        fixed: N colours or None; fixed colours are used as they are, even if two are equal.
    """
    taken = {color for color in fixed if color is not None}
    cells = {_cell(color) for color in taken}
    colors: list[Color] = []
    for name, given in zip(names, fixed, strict=True):
        color = given if given is not None else _pick(name, taken, cells)
        taken.add(color)
        cells.add(_cell(color))
        colors.append(color)
    return colors


def parse_color(value: object, where: str) -> Color:
    """RGB from [r, g, b] or "#rrggbb"; ValueError naming `where` otherwise."""
    if isinstance(value, str):
        digits = value.strip().removeprefix("#")
        if len(digits) == 6 and all(digit in "0123456789abcdefABCDEF" for digit in digits):
            return int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:], 16)
    elif isinstance(value, Sequence) and len(value) == 3:
        red, green, blue = value
        if all(type(channel) is int and 0 <= channel <= 255 for channel in value):
            return red, green, blue
    raise ValueError(f"{where}: colour {value!r} is neither [r, g, b] in 0..255 nor '#rrggbb'")


def _pick(name: str, taken: set[Color], cells: set[Color]) -> Color:
    fallback: Color | None = None
    for tries, candidate in enumerate(_candidates(name)):
        if candidate in taken:
            continue
        if _cell(candidate) not in cells:
            return candidate
        fallback = fallback or candidate
        if tries >= _TRIES:
            break
    assert fallback is not None  # the sequence is endless, so the loop ends with a candidate
    return fallback


def _candidates(name: str) -> Iterator[Color]:
    """Endless sequence of colours of a name: hues a golden ratio apart, so neighbours differ."""
    seed = hashlib.sha256(name.casefold().encode()).digest()
    hue = int.from_bytes(seed[:4], "big") / 2**32
    saturation = int.from_bytes(seed[4:6], "big") / 2**16
    value = int.from_bytes(seed[6:8], "big") / 2**16
    while True:
        rgb = colorsys.hsv_to_rgb(hue, 0.45 + 0.5 * saturation, 0.55 + 0.4 * value)
        yield round(255 * rgb[0]), round(255 * rgb[1]), round(255 * rgb[2])
        hue = (hue + _GOLDEN_RATIO) % 1.0
        saturation = (saturation + _GOLDEN_RATIO**2) % 1.0
        value = (value + _GOLDEN_RATIO**3) % 1.0


def _cell(color: Color) -> Color:
    return color[0] // _CELL, color[1] // _CELL, color[2] // _CELL
