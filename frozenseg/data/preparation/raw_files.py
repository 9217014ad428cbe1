"""Reading what a benchmark publishes; every error names the file and what to do.

Legend: H and W pixels, K channels.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from frozenseg.data.reading import DAMAGED, PILLOW_ERRORS

AGAIN = "unpack the archive of the dataset again"
_EXIF_ORIENTATION = 0x0112
_TURNED = (5, 6, 7, 8)  # orientations that exchange width and height


class Source(NamedTuple):
    """Where a benchmark comes from: its name, the page, and the section of datasets/README.md."""

    name: str
    page: str
    section: str


def require_tree(source: Source, root: Path, paths: Sequence[str]) -> None:
    """Raises FileNotFoundError that names what is missing, what is expected and where it is from.

    Args:
        paths: files and folders below `root`; what ends in "/" must be a folder with content.
    """
    if missing := missing_from(root, paths):
        raise FileNotFoundError(
            f"{root} lacks {', '.join(missing)}: {source.name} needs {', '.join(paths)} there. "
            f"Get them from {source.page} (datasets/README.md, section {source.section}); "
            "--root or $DETECTRON2_DATASETS is the folder of all datasets, --splits chooses splits"
        )


def missing_from(root: Path, paths: Sequence[str]) -> list[str]:
    """Those of `paths` (as `require_tree` takes them) that are not there."""
    return [path for path in paths if not _is_there(root / path, path.endswith("/"))]


def _is_there(path: Path, folder: bool) -> bool:
    return any(path.iterdir()) if folder and path.is_dir() else path.is_file() and not folder


def stems(folder: Path, suffix: str) -> list[str]:
    """Names of the files of a folder that end in `suffix`, without it, sorted; no hidden ones."""
    names = (path.name for path in folder.iterdir())
    found = (name for name in names if name.endswith(suffix) and not name.startswith("."))
    return sorted(name.removesuffix(suffix) for name in found)


def paired_stems(images: Path, masks: Path) -> list[str]:
    """The names of all .jpg and masks (.png); one without its partner fails when it is converted.

    Raises: FileNotFoundError if the folders hold no such files.
    """
    names = set(stems(images, ".jpg")) | set(stems(masks, ".png"))
    if not names:
        raise FileNotFoundError(f"{images}: holds no file *.jpg; {AGAIN}")
    return sorted(names)


def read_lines(path: Path) -> list[str]:
    """The lines of a text file. Raises: ValueError if it is none."""
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text; {AGAIN}") from error


def listed_stems(path: Path) -> list[str]:
    """The first word of every line of a list of images. Raises: ValueError if there is none."""
    words = [line.split() for line in read_lines(path)]
    names = [line[0] for line in words if line]
    if not names:
        raise ValueError(f"{path}: the list of images is empty; {AGAIN}")
    return names


def read_raw(path: Path, modes: Collection[str]) -> NDArray[Any]:
    """A published annotation as it is, (H, W) or (H, W, K); palette files give their indices.

    Args:
        modes: Pillow's names of what the benchmark publishes ("L", "P", "I;16", "RGB", "RGBA").
    Raises: FileNotFoundError, or ValueError for a file that is damaged or of another mode.
    """
    require_raw(path)
    if not path.stat().st_size:
        raise ValueError(f"{path}: the annotation is empty (0 bytes); {AGAIN}")
    try:
        with Image.open(path) as image:
            mode, values = image.mode, np.array(image)
    except PILLOW_ERRORS as error:
        raise ValueError(f"{path}: damaged or incomplete ({error}); {DAMAGED}") from error
    if mode not in modes:
        raise ValueError(
            f"{path}: is of mode {mode}, but the benchmark publishes {' or '.join(modes)}: the "
            f"file is not the original one; {AGAIN}"
        )
    return values


def read_labels(path: Path) -> NDArray[np.uint8]:
    """Labels (H, W) of an 8-bit grey or palette PNG, whose indices they are. As `read_raw`."""
    return read_raw(path, ("L", "P"))


def require_raw(path: Path) -> None:
    """Raises FileNotFoundError if a file is missing that others of its dataset point to."""
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist, but its image, mask or list entry does; {AGAIN}"
        )


def image_size(path: Path) -> tuple[int, int]:
    """(height, width) of an image as it is shown, that is, turned as its EXIF data say.

    Reads the head of the file only. Raises: FileNotFoundError, or ValueError if it is not an image.
    """
    require_raw(path)
    try:
        with Image.open(path) as image:
            turned = image.getexif().get(_EXIF_ORIENTATION) in _TURNED
            width, height = reversed(image.size) if turned else image.size
    except PILLOW_ERRORS as error:
        raise ValueError(f"{path}: damaged image ({error}); {DAMAGED}") from error
    return height, width


def check_sizes(path: Path, values: NDArray[Any], image: Path) -> None:
    """Raises ValueError if the mask `values` of `path` and its image differ in size."""
    expected = image_size(image)
    height, width = values.shape[:2]
    if (height, width) != expected:
        raise ValueError(
            f"{path}: is {width}x{height} but its image {image} is {expected[1]}x{expected[0]} "
            f"(width x height): the files do not belong together; {AGAIN}"
        )


def check_range(
    path: Path, what: str, values_HW: NDArray[Any], wrong_HW: NDArray[np.bool_], rest: str
) -> None:
    """ValueError naming the first wrong value: `what` has {} for it, `rest` is what is right."""
    if wrong_HW.any():
        y, x = np.argwhere(wrong_HW)[0]
        value = what.format(values_HW[y, x])
        raise ValueError(f"{path}: {value} at x={x}, y={y} is out of range: {rest}")


def empty_annotation(path: Path) -> ValueError:
    """The error for an annotation in which nothing is labelled."""
    return ValueError(
        f"{path}: no pixel is labelled; {AGAIN}, or, if the benchmark's own file is like this, "
        "accept it with --allow-empty"
    )
