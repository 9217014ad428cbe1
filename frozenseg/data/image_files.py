"""A user's image files: finding them, and reading each as RGB or saying why it cannot be read.

Legend: H and W pixels.
"""

from __future__ import annotations

import glob
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

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


def is_image(path: Path, suffixes: Collection[str] = IMAGE_SUFFIXES) -> bool:
    """Whether a file of this name is meant as an image; hidden ones are not."""
    return path.suffix.lower() in suffixes and not path.name.startswith(".")


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
            found = [p for p in sorted(path.iterdir()) if is_image(p, suffixes) and p.is_file()]
        elif path.exists():
            found = [path]
        else:
            matches = sorted(glob.glob(str(path), recursive=True))
            found = [Path(match) for match in matches if Path(match).is_file()]
        files.update(dict.fromkeys(found))
        if not found:
            unmatched.append(text)
    return FoundFiles(tuple(files), tuple(unmatched))


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
