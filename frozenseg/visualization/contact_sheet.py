"""Many small pictures on one sheet, each with lines of text below it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from frozenseg.visualization.text import BLACK, WHITE, draw_line, measure, shorten

TILE = 220  # pixels: the longer side of a picture
COLUMNS = 5
_GAP, _TEXT, _GREY = 10, 14, (225, 225, 225)


class Tile(NamedTuple):
    """A picture of at most TILE x TILE pixels, RGB uint8 (None: a grey square), and its lines."""

    picture_HW3: NDArray[np.uint8] | None
    lines: tuple[str, ...]


def contact_sheet(tiles: Sequence[Tile], columns: int = COLUMNS) -> NDArray[np.uint8]:
    """The tiles row by row, RGB uint8.

    Raises: ValueError without tiles.
    """
    from PIL import Image, ImageDraw

    if not tiles:
        raise ValueError("a contact sheet needs at least one picture, got none")
    line = measure("", _TEXT)[1] + 2
    cell = TILE + line * max(len(each.lines) for each in tiles) + 2 * _GAP
    columns = min(columns, len(tiles))
    rows = -(-len(tiles) // columns)
    size = (columns * (TILE + _GAP) + _GAP, rows * cell + _GAP)
    sheet = Image.new("RGB", size, WHITE)
    draw = ImageDraw.Draw(sheet)
    for number, each in enumerate(tiles):
        x = _GAP + number % columns * (TILE + _GAP)
        y = _GAP + number // columns * cell
        if each.picture_HW3 is None:
            draw.rectangle((x, y, x + TILE, y + TILE), fill=_GREY)
        else:
            height, width = each.picture_HW3.shape[:2]
            place = (x + (TILE - width) // 2, y + (TILE - height) // 2)
            sheet.paste(Image.fromarray(each.picture_HW3), place)
        for index, text in enumerate(each.lines):
            draw_line(draw, (x, y + TILE + 4 + index * line), _fitting(text), _TEXT, BLACK)
    return np.asarray(sheet)


def _fitting(text: str) -> str:
    """The text, its middle left out where it is too wide for a tile."""
    whole = shorten(text, 200)
    for kept in range(len(whole), 1, -1):
        half = kept // 2
        short = whole if kept == len(whole) else f"{whole[:half]}…{whole[-half:]}"
        if measure(short, _TEXT)[0] <= TILE:
            return short
    return "…"
