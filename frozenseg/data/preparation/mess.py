"""MESS: every set of `mess_rows.py` into images and masks of class indices.

Where the published files lie, and which label or colour is which class, stands in that table.
Legend: H and W pixels.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from itertools import product
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from frozenseg.config.sources import read_yaml
from frozenseg.data.catalog.mess_rows import CROP, MADE, MESS_SETS, SECTION, MessSet
from frozenseg.data.catalog.split import README
from frozenseg.data.image_mask_pairs import walk_files
from frozenseg.data.preparation.labels import IGNORED_8, LabelTable
from frozenseg.data.preparation.prepared_files import (
    is_complete,
    place_image,
    write_mask,
    write_picture,
)
from frozenseg.data.preparation.raw_files import (
    AGAIN,
    Source,
    check_sizes,
    empty_annotation,
    image_size,
    listed_stems,
    missing_from,
    read_labels,
    read_lines,
    require_tree,
)
from frozenseg.data.preparation.work import Done, Preparation
from frozenseg.data.reading import hex_of_color, ids_of_rgb, read_color_map, read_image, rgb_of_ids
from frozenseg.files import check_typed, write_text

_NO_CLASS = IGNORED_8 - 1
_STARS = {"**/": "(?:.*/)?", "*": "([^/]+)"}


class MessJob(NamedTuple):
    """A published image and its labels, None if there are none, and the name of what is made.

    Attributes:
        white: the class of white pixels, in a set whose folders are the classes.
    """

    name: str
    image: Path | None
    labels: Path | None
    white: int = 1


def prepare_mess(preparation: Preparation, sets: tuple[str, ...] = ()) -> None:
    """Makes mess/<set>/images and labels/*.png of `sets`, by default of those that are there.

    Raises: FileNotFoundError if the published files of one of `sets`, or of all, are not there.
    """
    root = preparation.root
    there = [name for name, one in MESS_SETS.items() if not missing_from(root, _published(one))]
    if not (sets or there):
        raise FileNotFoundError(
            f"{root} has the published files of none of MESS's sets: get some of them "
            f"({README}, section {SECTION}); --root or $DETECTRON2_DATASETS is the folder of all "
            "datasets, --sets names what one of them lacks"
        )
    for name in sets or there:
        one = MESS_SETS[name]
        require_tree(Source(one.title, one.page, SECTION), root, _published(one))
        _prepare(preparation, name, one)
    if not sets and len(there) < len(MESS_SETS):
        absent = ", ".join(name for name in MESS_SETS if name not in there)
        preparation.lines.append(f"left out, published files are not there: {absent}")


def _published(one: MessSet) -> list[str]:
    """The folders and files that a set needs."""
    folders = (f"{_folder(pattern)}/" for pattern in (one.images, one.labels))
    return list(dict.fromkeys([*folders, *one.lists, *filter(None, [one.species])]))


def _prepare(preparation: Preparation, name: str, one: MessSet) -> None:
    root, made = preparation.root, preparation.root / MADE / name
    species = read_species(root / one.species, one.classes) if one.species else {}
    if species:
        words = [f"{label}: {_plain(folder)}\n" for folder, label in species.items()]
        write_text(root / one.words, "".join(["0: background:stuff\n", *words]))
    convert = partial(convert_image, one=one, made=made, **preparation.choices)
    preparation.convert(one.title, convert, jobs_of(root, one, species))


def jobs_of(root: Path, one: MessSet, species: dict[str, int]) -> list[MessJob]:
    """One job for each image or annotation that is scored.

    Raises: FileNotFoundError if there is none.
    """
    images, labels = (find_files(root, pattern) for pattern in (one.images, one.labels))
    listed = _listed(root, one) if one.lists else {*images, *labels}
    names = sorted(one.chosen or listed)
    if not names:
        raise FileNotFoundError(f"{root}: holds no file {one.images}; {AGAIN}")
    jobs = [MessJob(name, images.get(name), labels.get(name)) for name in names]
    if not species:
        return jobs
    return [job._replace(white=_species_of(job, species)) for job in jobs]


def _species_of(job: MessJob, species: dict[str, int]) -> int:
    folder = job.image.parent.name if job.image else ""
    if job.image and folder not in species:
        raise ValueError(f"{job.image}: {folder} is no class of the list of classes; {AGAIN}")
    return species.get(folder, 1)


def find_files(root: Path, pattern: str) -> dict[str, Path]:
    """What the stars of a pattern (`MessSet.images`) stand for, joined by "_" -> the file.

    Raises: ValueError for two files of one name.
    """
    parts = re.split(r"(\*\*/|\*)", pattern)
    regex = re.compile("".join(_STARS.get(part) or re.escape(part) for part in parts), re.I)
    folder = _folder(pattern)
    found: dict[str, Path] = {}
    for name, path in walk_files(root / folder):
        match = regex.fullmatch(f"{folder}/{name}")
        if not match:
            continue
        key = "_".join(match.groups())
        if key in found:
            raise ValueError(f"{found[key]} and {path} have the same name; {AGAIN}")
        found[key] = path
    return found


def _folder(pattern: str) -> str:
    """What precedes the first star, without the beginning of a file's name."""
    return pattern.partition("*")[0].rpartition("/")[0]


def _listed(root: Path, one: MessSet) -> set[str]:
    """The names of the test images that a set lists, in the forms of the three that do.

    Raises: ValueError for a list without any.
    """
    first, *others = (root / path for path in one.lists)
    if one.species:
        name_of, is_training = _pairs(first), _pairs(*others)
        names = [name for key, name in name_of.items() if is_training.get(key) == "0"]
    elif first.suffix == ".yaml":
        numbers = check_typed(read_yaml(first), dict[str, list[int]], str(first), AGAIN)
        names = [f"{number:03d}" for number in numbers.get("test", ())]
    else:
        names = listed_stems(first)
    if not names:
        raise ValueError(f"{first}: lists no test image; {AGAIN}")
    return {PurePosixPath(name).stem for name in names}


def _pairs(path: Path) -> dict[str, str]:
    """The first two words of every line. Raises: ValueError for a line of one word."""
    lines = [line.split() for line in read_lines(path) if line.strip()]
    for number, line in enumerate(lines, 1):
        if len(line) < 2:
            raise ValueError(f"{path}:{number}: {line[0]!r} has no second word; {AGAIN}")
    return {first: second for first, second, *_ in lines}


def read_species(path: Path, classes: int) -> dict[str, int]:
    """Folder ("001.Black_footed_Albatross") -> label from 1, of a list "1 001.Black_..."."""
    names = _pairs(path)
    if set(names) != set(map(str, range(1, classes))):
        raise ValueError(f"{path}: does not list the classes 1 to {classes - 1}; {AGAIN}")
    return {folder: int(label) for label, folder in names.items()}


def _plain(folder: str) -> str:
    return folder.partition(".")[2].replace("_", " ")


def convert_image(
    job: MessJob, *, one: MessSet, made: Path, overwrite: bool = False, allow_empty: bool = False
) -> Done:
    """Writes the mask and places the image, or writes the crops of both, unless all are there."""
    if not (job.image and job.labels):
        there = job.image or job.labels
        raise FileNotFoundError(
            f"{there or job.name}: {'has no partner' if there else 'is listed, but not there'} "
            f"({one.images}, {one.labels}); {AGAIN}"
        )
    windows = dict(_windows(job.name, image_size(job.image))) if one.cropped else {job.name: ...}
    suffix = ".png" if one.cropped else job.image.suffix
    masks = {made / "labels" / f"{name}.png": window for name, window in windows.items()}
    images = {made / "images" / f"{name}{suffix}": window for name, window in windows.items()}
    if not overwrite and all(map(is_complete, (*masks, *images))):
        return Done(made=False)
    labels_HW = read_indices(job, one)
    check_sizes(job.labels, labels_HW, job.image)
    if not allow_empty and (labels_HW == IGNORED_8).all():
        raise empty_annotation(job.labels)
    image_HW3 = read_image(job.image) if one.cropped else None
    for path, window in masks.items():
        write_mask(path, labels_HW[window])
    for path, window in images.items():
        if image_HW3 is None:
            place_image(job.image, path)
        else:
            write_picture(path, image_HW3[window])
    return Done(made=True)


def _windows(name: str, size: tuple[int, int]) -> Iterator[tuple[str, tuple[slice, slice]]]:
    """Names and places of the crops: every pixel is in one of them."""
    for top, left in product(*(range(0, side, CROP) for side in size)):
        yield f"{name}_{top}_{left}", (slice(top, top + CROP), slice(left, left + CROP))


def read_indices(job: MessJob, one: MessSet) -> NDArray[np.unsignedinteger[Any]]:
    """Class indices (H, W) uint8, 255 where nothing is scored. Raises: ValueError for a label or
    colour of no class.
    """
    path = job.labels
    assert path is not None
    if not one.colors:
        last = one.first + one.classes - 1
        classes = {one.first + index: index for index in range(one.classes)}
        also = "".join(f" and {label} (not scored)" for label in one.void)
        table = LabelTable.of(classes, one.void, f"{one.title} has {one.first} to {last}{also}")
        return table(path, read_labels(path))
    colors_HW = read_color_map(path)
    if one.rounded:
        colors_HW = ids_of_rgb(np.where(rgb_of_ids(colors_HW) > 127, 255, 0).astype(np.uint8))
    labels_HW = np.full(colors_HW.shape, _NO_CLASS, dtype=np.uint8)
    known = ids_of_rgb(np.array([one.colors], dtype=np.uint8))[0]
    indices = [0, job.white] if one.species else range(len(known))
    for color, index in zip(known, indices, strict=True):
        labels_HW[colors_HW == color] = index
    wrong = np.argwhere(labels_HW == _NO_CLASS)
    if wrong.size:
        y, x = wrong[0]
        colors = ", ".join(hex_of_color(int(color)) for color in known)
        raise ValueError(
            f"{path}: colour {hex_of_color(int(colors_HW[y, x]))} at x={x}, y={y} is of no class: "
            f"{one.title} has {colors}; {AGAIN}"
        )
    return labels_HW
