"""A user's image and video files: finding them, and names for their results.

One rule for all doors: a folder stands for the files directly in it that are meant as images (and
videos, where they are taken); everything else in it but hidden files is counted by suffix.
"""

from __future__ import annotations

import glob
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

# fmt: off
HEIF_SUFFIXES = frozenset((".heic", ".heics", ".heif", ".heifs", ".hif"))  # `read_rgb`: by pi-heif
IMAGE_SUFFIXES = HEIF_SUFFIXES | frozenset((
    ".avif", ".bmp", ".gif", ".j2k", ".jfif", ".jp2", ".jpeg", ".jpg", ".jpx", ".pgm", ".png",
    ".ppm", ".tif", ".tiff", ".webp",
))
VIDEO_SUFFIXES = frozenset((
    ".3gp", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts",
    ".ogv", ".ts", ".webm", ".wmv",
))
# fmt: on
LONGEST_NAME = 150  # bytes of a result's name: with its endings it fits the usual 255


class FoundFiles(NamedTuple):
    """Files in the order they were asked for, without repeats.

    Attributes:
        unmatched: inputs that matched nothing.
        left_out: what folders hold besides, by suffix ("*.txt", "folders", "files without suffix").
    """

    files: tuple[Path, ...]
    unmatched: tuple[str, ...]
    left_out: Counter[str]

    def say_left_out(self) -> str:
        """The line about what folders hold besides, "" where there is nothing."""
        if not self.left_out:
            return ""
        counts = ", ".join(f"{count} {kind}" for kind, count in sorted(self.left_out.items()))
        deeper = ' (a pattern such as "FOLDER/**/*.jpg" looks into them)'
        return f"left out: {counts}{deeper if _FOLDERS in self.left_out else ''}"


_FOLDERS = "folders"


def is_image(path: Path, suffixes: Collection[str] = IMAGE_SUFFIXES) -> bool:
    """Whether a file of this name is meant as an image; hidden ones are not."""
    return path.suffix.lower() in suffixes and not path.name.startswith(".")


def is_address(text: str) -> bool:
    """Whether a text is the address of something on the internet, which nobody here fetches."""
    # One slash: as a Path has it.
    return text.lower().startswith(("http:/", "https:/", "ftp:/", "s3:/", "gs:/", "hf:/"))


def is_not_utf8(name: str) -> bool:
    """Whether a file's name holds bytes that are not UTF-8 (Python has a surrogate for each)."""
    return any("\ud800" <= character <= "\udfff" for character in name)


def find_images(inputs: Iterable[str], suffixes: Collection[str] = IMAGE_SUFFIXES) -> FoundFiles:
    """The files that names, folders and glob patterns stand for.

    A file counts whatever its name ends in; a folder stands for the image files directly in it
    (by `suffixes`, hidden ones left out); any other name is a pattern, `**` included.
    Raises: OSError for a folder that cannot be read.
    """
    files: dict[Path, None] = {}
    unmatched = []
    left_out: Counter[str] = Counter()
    for text in inputs:
        path = Path(text).expanduser()
        if path.is_dir():
            inside = [each for each in sorted(path.iterdir()) if not each.name.startswith(".")]
            found = [each for each in inside if is_image(each, suffixes) and each.is_file()]
            left_out.update(map(_kind, set(inside).difference(found)))
        elif _exists(path):
            found = [path]
        else:
            matches = sorted(glob.glob(str(path), recursive=True))
            found = [Path(match) for match in matches if Path(match).is_file()]
        files.update(dict.fromkeys(found))
        if not found:
            unmatched.append(text)
    return FoundFiles(tuple(files), tuple(unmatched), left_out)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a text that is too long for a name
        return False


def _kind(path: Path) -> str:
    if path.is_dir():
        return _FOLDERS
    return f"*{path.suffix.lower()}" if path.suffix else "files without suffix"


def output_names(files: Sequence[Path]) -> list[str]:
    """A `writable_stem` for each file; a name that is taken gets `-2`, `-3` and so on."""
    taken: set[str] = set()
    names = []
    for path in files:
        stem, number = writable_stem(path.stem), 1
        name = stem
        while name in taken:
            number += 1
            name = f"{stem}-{number}"
        taken.add(name)
        names.append(name)
    return names


def writable_stem(stem: str) -> str:
    """A name for result files: long ones are cut; bytes that are not UTF-8 become %XX."""
    escaped = "".join(f"%{ord(each) - 0xDC00:02X}" if is_not_utf8(each) else each for each in stem)
    return escaped.encode()[:LONGEST_NAME].decode(errors="ignore")
