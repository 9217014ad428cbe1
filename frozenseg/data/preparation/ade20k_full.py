"""ADE20K-Full with 847 classes (A-847): 16-bit masks, and the images they belong to.

Published are images/ADE/<split>/**/ADE_*.jpg and beside each *_seg.png (RGB), where the class of a
pixel is R // 10 * 256 + G: one of some 3,000, of which the benchmark scores 847. Which ones, with
which names, is in no file of the release but its index, a pickle, which is never loaded here: a
class list must be given (see `read_classes`). As in the family's script, images whose shorter edge
is above 512 are scaled to it, labels by nearest neighbour, and all images are saved as JPEG again;
published scores are on such files.
Legend: H and W pixels.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from frozenseg.data.catalog.downloads import DOWNLOADS
from frozenseg.data.catalog.split import FOLDERS
from frozenseg.data.preparation.ade20k_classes import FullClass, class_list_text, read_classes
from frozenseg.data.preparation.labels import IGNORED_16
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
    read_raw,
)
from frozenseg.data.preparation.work import Done, Preparation
from frozenseg.data.reading import read_image
from frozenseg.files import write_text

FOLDER = "ADE20K_2021_17_01"
SOURCE = Source("ADE20K-Full", DOWNLOADS["ADE20K-Full"].page, "ADE20K-Full")
CLASSES = 847
SHORT_EDGE = 512
_VALUES = 26 * 256  # R // 10 * 256 + G is smaller


class FullJob(NamedTuple):
    """An image, and where its copy and its mask go."""

    image: Path
    placed: Path
    mask: Path


def prepare_ade20k_full(
    preparation: Preparation, classes_file: Path, short_edge: int = SHORT_EDGE
) -> None:
    """Makes images_detectron2/, annotations_detectron2/ and classes_847.tsv.

    Args:
        classes_file: see `read_classes`.
        short_edge: larger images are scaled to it; 0 keeps all images as they are.
    """
    classes = read_classes(classes_file)
    preparation.require(SOURCE, f"{FOLDER}/images/ADE/{{folder}}/")
    folder = preparation.root / FOLDER
    if len(classes) != CLASSES:
        preparation.lines.append(
            f"{classes_file}: {len(classes)} classes; the benchmark has {CLASSES}"
        )
    _write_class_list(preparation, folder / "classes_847.tsv", classes)
    table_V = np.full(_VALUES, IGNORED_16, dtype=np.uint16)
    for index, item in enumerate(classes):
        table_V[item.ade_id] = index
    convert = partial(convert_full, table_V=table_V, short_edge=short_edge, **preparation.choices)
    for split in preparation.splits:
        preparation.convert(f"ADE20K-Full {split}", convert, _jobs(folder, FOLDERS[split]))


def _write_class_list(preparation: Preparation, path: Path, classes: list[FullClass]) -> None:
    """Writes the list of the masks; ValueError if masks of another one may be there."""
    text = class_list_text(classes)
    if path.is_file() and path.read_text(encoding="utf-8") != text and not preparation.overwrite:
        raise ValueError(
            f"{path}: masks were made with another class list; give that one, or make them again "
            "with --overwrite"
        )
    write_text(path, text)


def _jobs(folder: Path, split: str) -> list[FullJob]:
    images = sorted((folder / "images/ADE" / split).rglob("ADE_*.jpg"), key=lambda path: path.name)
    twice = [name for name, count in Counter(path.name for path in images).items() if count > 1]
    if twice:
        raise ValueError(f"{folder}/images/ADE/{split}: has several {twice[0]}; {AGAIN}")
    if not images:
        raise FileNotFoundError(f"{folder}/images/ADE/{split}: holds no ADE_*.jpg; {AGAIN}")
    return [
        FullJob(
            path,
            folder / "images_detectron2" / split / path.name,
            folder / "annotations_detectron2" / split / f"{path.stem}.tif",
        )
        for path in images
    ]


def scaled_size(height: int, width: int, short_edge: int) -> tuple[int, int]:
    """(height, width) with the shorter edge at most `short_edge`; 0 changes nothing."""
    if not short_edge or min(height, width) <= short_edge:
        return height, width
    if width >= height:
        return short_edge, round(width / height * short_edge)
    return round(height / width * short_edge), short_edge


def convert_full(
    job: FullJob,
    *,
    table_V: NDArray[np.uint16],
    short_edge: int,
    overwrite: bool = False,
    allow_empty: bool = False,
) -> Done:
    """Writes mask and image, unless both are there in the right size."""
    size = scaled_size(*image_size(job.image), short_edge)
    there = not overwrite and is_complete(job.placed) and is_complete(job.mask)
    if there and image_size(job.placed) == image_size(job.mask) == size:
        return Done(made=False)
    path = job.image.with_name(f"{job.image.stem}_seg.png")
    rgb = read_raw(path, ("RGB",))
    check_sizes(path, rgb, job.image)
    labels_HW = table_V[rgb[..., 0].astype(np.int32) // 10 * 256 + rgb[..., 1]]
    if (labels_HW == IGNORED_16).all() and not allow_empty:
        raise empty_annotation(path)
    write_mask(job.mask, _scale(labels_HW, size, nearest=True))
    if short_edge:
        write_picture(job.placed, _scale(read_image(job.image), size), quality=75)
    else:
        place_image(job.image, job.placed)
    return Done(made=True)


def _scale(array: NDArray[Any], size: tuple[int, int], *, nearest: bool = False) -> NDArray[Any]:
    if array.shape[:2] == size:
        return array
    import cv2

    method = cv2.INTER_NEAREST if nearest else cv2.INTER_LINEAR
    return cv2.resize(array, size[::-1], interpolation=method)
