"""Writing prepared files, whole or not at all, and telling whether one is complete."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, PngImagePlugin

from frozenseg.data.reading import PILLOW_ERRORS
from frozenseg.files import write_atomically

_PNG_END = b"IEND\xaeB`\x82"


def is_complete(path: Path) -> bool:
    """True for a prepared file that is there whole: ours always are, those of others may not."""
    try:
        with path.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            if path.suffix != ".png":
                return size > 0
            file.seek(max(0, size - len(_PNG_END)))
            return file.read() == _PNG_END
    except FileNotFoundError:
        return False


def text_in(path: Path, key: str) -> str:
    """The text that `write_mask` put into a PNG; "" if the file is not there whole or has none."""
    try:
        with Image.open(path) as image:
            return str(image.info.get(key, "")) if is_complete(path) else ""
    except PILLOW_ERRORS:
        return ""


def write_picture(path: Path, array: NDArray[Any], **options: Any) -> None:
    """Writes an image in the format of the name, whole or not at all; `options` are Pillow's."""
    image = Image.fromarray(np.ascontiguousarray(array))
    write_atomically(path, lambda part: image.save(part, **options))


def write_mask(path: Path, mask_HW: NDArray[Any], text: dict[str, str] | None = None) -> None:
    """Writes a PNG (uint8, with `text` in it) or, for a name in .tif, a TIFF (uint16).

    Both are lossless and depend on nothing but their content.
    """
    if path.suffix == ".tif":
        write_picture(path, mask_HW, compression="tiff_adobe_deflate")
        return
    info = PngImagePlugin.PngInfo()
    for key, value in (text or {}).items():
        info.add_text(key, value)
    write_picture(path, mask_HW, pnginfo=info)


def place_image(source: Path, target: Path) -> None:
    """Makes `target` the same file as `source`: a hard link, or a copy where there are none."""

    def place(part: Path) -> None:
        try:
            os.link(source.resolve(), part)
        except OSError:
            shutil.copyfile(source, part)

    if not (target.is_file() and os.path.samefile(source, target)):
        write_atomically(target, place)
