"""A user's image files: finding them, and reading each as RGB or saying why it cannot be read.

Legend: H and W pixels.
"""

from __future__ import annotations

import glob
import warnings
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

# fmt: off
IMAGE_SUFFIXES = frozenset((
    ".avif", ".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff",
    ".webp",
))
# fmt: on


class FoundFiles(NamedTuple):
    """Files in the order they were asked for, without repeats, and inputs that matched nothing."""

    files: tuple[Path, ...]
    unmatched: tuple[str, ...]


def find_images(inputs: Iterable[str], suffixes: Collection[str] = IMAGE_SUFFIXES) -> FoundFiles:
    """The files that names, folders and glob patterns stand for.

    A file counts whatever its name ends in; a folder stands for the image files directly in it
    (by `suffixes`, hidden ones left out); any other name is a pattern, `**` included.
    """
    files: dict[Path, None] = {}
    unmatched = []
    for text in inputs:
        path = Path(text).expanduser()
        if path.is_dir():
            found = [p for p in sorted(path.iterdir()) if _is_one_of(p, suffixes)]
        elif path.exists():
            found = [path]
        else:
            matches = sorted(glob.glob(str(path), recursive=True))
            found = [Path(match) for match in matches if Path(match).is_file()]
        files.update(dict.fromkeys(found))
        if not found:
            unmatched.append(text)
    return FoundFiles(tuple(files), tuple(unmatched))


def read_rgb(path: Path, formats: list[str] | None = None) -> NDArray[np.uint8]:
    """The pixels of an image file, RGB uint8 (H, W, 3), turned as its EXIF orientation says.

    Transparent images are laid on white; 16-bit and float greys are scaled to 8 bits; of an
    animation the first frame is taken.
    Args: formats: Pillow's names of those that are read; None: all that it knows.
    Raises: FileNotFoundError; ValueError for a file that is empty, no image, damaged or too large.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such image file")
    if not path.stat().st_size:
        raise ValueError(f"{path}: the file is empty (0 bytes)")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=formats) as image:
                array = np.asarray(as_rgb(ImageOps.exif_transpose(image)), dtype=np.uint8)
    except UnidentifiedImageError:
        raise ValueError(f"{path}: not an image file that Pillow can read") from None
    except Image.DecompressionBombError as error:
        raise ValueError(f"{path}: too large: {error}") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:  # Pillow's damaged files
        raise ValueError(f"{path}: cannot be read, damaged or incomplete ({error})") from error
    if array.ndim != 3 or not array.size:
        raise ValueError(f"{path}: the image has no pixels")
    return array.copy()


def output_names(files: Sequence[Path]) -> list[str]:
    """A name without suffix for each file; a name that is taken gets `-2`, `-3` and so on."""
    taken: set[str] = set()
    names = []
    for path in files:
        name, number = path.stem, 1
        while name in taken:
            number += 1
            name = f"{path.stem}-{number}"
        taken.add(name)
        names.append(name)
    return names


def _is_one_of(path: Path, suffixes: Collection[str]) -> bool:
    hidden = path.name.startswith(".")
    return path.suffix.lower() in suffixes and not hidden and path.is_file()


def as_rgb(image: Image.Image) -> Image.Image:
    """An 8-bit RGB version of any Pillow image."""
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        return Image.fromarray(_to_8_bits(np.asarray(image))).convert("RGB")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB")
    return image.convert("RGB")


def _to_8_bits(grey_HW: NDArray[np.generic]) -> NDArray[np.uint8]:
    """16-bit greys divided by 257; other depths stretched from their smallest to largest value."""
    values_HW = np.nan_to_num(grey_HW.astype(np.float64))
    low, high = float(values_HW.min()), float(values_HW.max())
    if grey_HW.dtype.kind in "ui" and low >= 0 and high <= 65535:
        low, high = 0.0, 65535.0 if high > 255 else 255.0
    return np.rint(255 * (values_HW - low) / max(high - low, 1e-12)).astype(np.uint8)
