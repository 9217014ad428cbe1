"""Image and mask folders: which files belong together, and the labels of a mask as class indices.

Legend: H and W pixels.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frozenseg.data.image_files import is_image
from frozenseg.data.reading import (
    hex_of_color,
    ids_of_rgb,
    read_color_map,
    read_label_png,
    read_panoptic_png,
    semantic_of_panoptic,
)


@dataclass(frozen=True)
class Pairs:
    """Files below two folders, by what precedes their suffixes ("aachen/aachen_000000_000019").

    Attributes:
        both: key -> (image, mask), sorted by key.
        images_only, masks_only: files without the other one, sorted.
    """

    both: dict[str, tuple[Path, Path]]
    images_only: tuple[Path, ...]
    masks_only: tuple[Path, ...]


def find_pairs(images: Path, image_suffix: str, masks: Path, mask_suffix: str) -> Pairs:
    """The files below `images` and `masks` (subfolders included) whose names agree.

    A file counts if its name ends in the suffix, in small or capital letters; an empty image suffix
    means every image file.
    Raises: FileNotFoundError for a missing folder, ValueError for two images of one name.
    """
    image_of = _files_by_key(images, image_suffix)
    mask_of = _files_by_key(masks, mask_suffix)
    return Pairs(
        {key: (path, mask_of[key]) for key, path in image_of.items() if key in mask_of},
        tuple(path for key, path in image_of.items() if key not in mask_of),
        tuple(path for key, path in mask_of.items() if key not in image_of),
    )


def other_suffixes(folder: Path, keys: Collection[str]) -> Counter[str]:
    """What the names of files below `folder` have after one of the keys -> how many files.

    For the hint where `find_pairs` finds no partner: {".PNG": 6}, {"_labels.png": 6}.
    """
    known = set(keys)
    return Counter(
        name[match.start() :]
        for name, _ in walk_files(folder)
        for match in re.finditer(r"[._-]", name)
        if name[: match.start()] in known
    )


def key_of(path: Path, folder: Path, suffix: str) -> str:
    """What a file's name below `folder` has before its suffix; see `Pairs`."""
    name = path.relative_to(folder).as_posix()
    return name[: -len(suffix)] if suffix else name.rpartition(".")[0]


def read_semantic_labels(record: Mapping[str, Any], ignore_label: int) -> NDArray[np.int64]:
    """Class indices (H, W) int64 of a record's `sem_seg_file_name`, -1 where nothing is scored.

    A record with `label_ids` has a mask of these instead of indices 0, 1, ...; one with
    `label_colors` (`DatasetSplit`) a coloured picture.
    Raises: the errors of `read_label_png`; ValueError for a value that is not an id (an index that
        is too large is left to the caller, who knows the number of classes).
    """
    path = record["sem_seg_file_name"]
    if "label_colors" in record:
        return _index_of_colors(read_color_map(path), record["label_colors"], path)
    values = read_label_png(path)
    ids = record.get("label_ids")
    labels = values.copy() if ids is None else _index_of_ids(values, ids, ignore_label, path)
    labels[values == ignore_label] = -1
    return labels


def read_semantic_truth(
    record: Mapping[str, Any], ignore_label: int
) -> tuple[NDArray[np.int64], str]:
    """As `read_semantic_labels`, or the labels of the panoptic map; and the file of either."""
    if "sem_seg_file_name" in record:
        return read_semantic_labels(record, ignore_label), record["sem_seg_file_name"]
    source = record["pan_seg_file_name"]
    ids = ids_of_rgb(read_panoptic_png(source))
    return semantic_of_panoptic(ids, record["segments_info"], -1), source


def _index_of_ids(
    values: NDArray[np.int64], ids: tuple[int, ...], ignore_label: int, path: str
) -> NDArray[np.int64]:
    largest = max(int(values.max(initial=0)), ignore_label, *ids)
    index_of = np.full(largest + 1, -2, dtype=np.int64)
    index_of[ignore_label] = -1
    index_of[list(ids)] = np.arange(len(ids))
    labels = index_of[values]
    if labels.min(initial=0) == -2:
        raise ValueError(
            f"{path}: has label {values[labels == -2][0]}, which is neither the id of a class nor "
            f"{ignore_label} for ignored: correct the class list, ignore_label or the mask"
        )
    return labels


def _index_of_colors(
    colors_HW: NDArray[np.int32], known: tuple[tuple[int, int], ...], path: str
) -> NDArray[np.int64]:
    keys, indices = np.array(sorted(known), dtype=np.int64).T
    place = np.searchsorted(keys, colors_HW).clip(max=len(keys) - 1)
    other = colors_HW[keys[place] != colors_HW]
    if other.size:
        raise ValueError(
            f"{path}: {other.size} pixels have a colour of no class, such as "
            f"{hex_of_color(int(other[0]))}: give it to a class of the class list, or name it in "
            "ignore_colors (colours between two others come from scaling or smoothing the mask)"
        )
    return indices[place]


def walk_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """("sub/name.png", path) of the files below `folder`, sorted, hidden ones left out.

    Links to folders are followed, as datasets often lie elsewhere, but not in circles.
    Raises: FileNotFoundError if there is no such folder, PermissionError for one that is closed.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} does not exist (or is not a folder)")
    seen = set()
    for place, folders, files in os.walk(folder, followlinks=True, onerror=_raise):
        seen.add(os.path.realpath(place))
        folders[:] = sorted(
            name
            for name in folders
            if not name.startswith(".") and os.path.realpath(Path(place, name)) not in seen
        )
        prefix = Path(place).relative_to(folder).as_posix()
        for name in sorted(files):
            if not name.startswith("."):
                yield name if prefix == "." else f"{prefix}/{name}", Path(place, name)


def _raise(error: OSError) -> None:
    raise error


def _files_by_key(folder: Path, suffix: str) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for name, path in walk_files(folder):
        if not (name.lower().endswith(suffix.lower()) if suffix else is_image(path)):
            continue
        key = key_of(path, folder, suffix)
        if key in found:
            raise ValueError(f"{found[key]} and {path} have the same name: remove one of them")
        found[key] = path
    return dict(sorted(found.items()))
