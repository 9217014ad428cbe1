"""What a visitor of the web page may send, and the sentence that says so where it is too much.

The header of an image tells its size, before any pixel is decoded.
"""

from __future__ import annotations

import ipaddress
import re
import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from PIL import Image, UnidentifiedImageError

if TYPE_CHECKING:
    import gradio as gr
    import numpy as np
    from numpy.typing import NDArray
    from starlette.requests import HTTPConnection

    from frozenseg.vocab import Vocabulary

LONGEST_WORD = 200  # of frozenseg.vocab: a longer name is an error there
# Pillow knows more, but decodes icons to tell their size, and hands PostScript to Ghostscript.
FORMATS = ("JPEG", "PNG", "WEBP", "AVIF", "TIFF", "BMP", "GIF", "PPM")


@dataclass(frozen=True)
class Limits:
    """The largest request, and what all of them may take.

    Attributes:
        megabytes: of an uploaded file, 2**20 bytes each.
        megapixels: of an image; a larger one is refused before it is decoded.
        words: names, synonyms included.
        disk_megabytes: of all uploads on disk, and as much again of all results.
        seconds: until a request has arrived.
    """

    megabytes: float = 30.0
    megapixels: float = 25.0
    words: int = 1000
    disk_megabytes: float = 1024.0
    seconds: float = 120.0

    @property
    def file_bytes(self) -> int:
        """Of an uploaded file."""
        return round(self.megabytes * 2**20)

    @property
    def disk_bytes(self) -> int:
        """Of all uploads, and of all results."""
        return round(self.disk_megabytes * 2**20)

    @property
    def visitor_bytes(self) -> int:
        """Of one visitor's uploads, and results: an eighth, but not less than two files."""
        return max(self.disk_bytes // 8, 2 * self.file_bytes)


class TooLarge(ValueError):
    """More than `Limits` allows."""


def visitor_of(request: HTTPConnection | gr.Request, part: object = "") -> str:
    """Who asks: an IP address, or an IPv6 network of 64 bits, as a household or a host has one.

    Args: part: what tells the programs of this machine apart, which share an address: the session
        of an open page, or the port of a connection.
    """
    address = request.client.host if request.client else ""
    if part and address in ("127.0.0.1", "::1"):
        return f"{address} {part}"
    if ":" not in address:
        return address
    return str(ipaddress.ip_network((address.partition("%")[0], 64), strict=False))


def check_image_file(path: str | None, limits: Limits) -> Path:
    """The path of an uploaded image that may be decoded.

    Raises: ValueError, in words for the visitor, for no file, an empty one, none that Pillow
        knows, too many bytes or too many pixels.
    """
    if not path:
        raise ValueError("Choose an image first: drop one, browse, or take a photograph.")
    file = Path(path)
    size = file.stat().st_size if file.is_file() else 0
    if not size:
        raise ValueError(f"{file.name} is empty (0 bytes): choose another file.")
    if size > limits.megabytes * 2**20:
        raise TooLarge(
            f"{file.name} has {size / 2**20:,.1f} MB; at most {limits.megabytes:g} MB can be "
            "uploaded: save it smaller."
        )
    width, height = size_in_header(file)
    if width * height > limits.megapixels * 1e6:
        raise TooLarge(
            f"{file.name} has {width * height / 1e6:,.0f} megapixels ({width:,} x {height:,}); at "
            f"most {limits.megapixels:g} are accepted: make it smaller."
        )
    return file


def read_image_file(path: str | None, limits: Limits) -> NDArray[np.uint8]:
    """The pixels of an uploaded image, RGB uint8 (H, W, 3), upright.

    Raises: ValueError as `check_image_file`, and for a damaged file; no message names the folders
        of the server.
    """
    from frozenseg.data.reading import read_rgb

    file = check_image_file(path, limits)
    try:
        return read_rgb(file, _readable_formats())
    except (ValueError, OSError) as error:
        raise ValueError(without_folders(str(error), file)) from error


def read_typed_words(text: str | None, limits: Limits) -> Vocabulary:
    """The vocabulary that a visitor typed: words, or the name of one of the built-in tables.

    Unlike the command line this never opens a file: the text comes from anyone.
    Raises: ValueError, in words for the visitor.
    """
    from frozenseg.vocab import Vocabulary
    from frozenseg.vocab.class_tables import table_names

    words = (text or "").strip()
    if not words:
        raise ValueError("Type at least one word, for instance: cat, kitten; dog; sky:stuff")
    count = sum(bool(part.strip()) for part in re.split(r"[;,\n]", words))
    if count > limits.words:
        raise TooLarge(_too_many(count, limits))
    if len(words) > (LONGEST_WORD + 10) * limits.words:
        raise TooLarge(f"The words have {len(words):,} characters: remove some.")
    if words in table_names():
        vocabulary = Vocabulary.from_table(words)
        if len(vocabulary.all_synonyms) > limits.words:
            raise TooLarge(_too_many(len(vocabulary.all_synonyms), limits))
        return vocabulary
    try:
        return Vocabulary.parse(words)
    except ValueError as error:
        raise ValueError(f"The words cannot be read: {error}") from error


def without_folders(message: str, file: Path) -> str:
    """A message in which a file is called by its name alone, as its owner knows it."""
    return message.replace(str(file), file.name)


def _too_many(count: int, limits: Limits) -> str:
    return (
        f"{count:,} words were given; at most {limits.words:,} are accepted (synonyms count): "
        "remove some."
    )


def _readable_formats() -> list[str]:
    """Those of `FORMATS` that this Pillow has; it fails for the name of one that it lacks."""
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def size_in_header(file: Path) -> tuple[int, int]:
    """(width, height); nothing is decoded. Raises: ValueError."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(file, formats=_readable_formats()) as image:
                return image.size
    except UnidentifiedImageError:
        raise ValueError(
            f"{file.name} is not an image that can be read here: use JPEG, PNG, WebP, TIFF, BMP "
            "or GIF."
        ) from None
    except Image.DecompressionBombError:
        raise TooLarge(f"{file.name} has far too many pixels: make it smaller.") from None
    except (OSError, SyntaxError, ValueError, EOFError) as error:  # Pillow's damaged files
        message = without_folders(str(error), file)
        raise ValueError(f"{file.name} is damaged or incomplete ({message}).") from error
