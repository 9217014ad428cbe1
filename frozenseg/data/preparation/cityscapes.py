"""Cityscapes: masks of train ids, and the panoptic annotations.

Published are label ids 0..33 (gtFine/*_labelIds.png; 19 of them are scored) and instance ids
(*_instanceIds.png, 16 bits): below 1000 a label id, from 1000 on 1000 label id + instance. A thing
without an instance is a group, a crowd. Made are, by the names and with the content of the
official createTrainIdLabelImgs and createPanopticImgs (cityscapesScripts, which is not needed):
*_labelTrainIds.png with 0..18 and 255, and gtFine/cityscapes_panoptic_<split>(.json) with label ids
as category ids. As there, `file_name` of an image is <id>_gtFine_leftImg8bit.png, without folder.
Legend: H and W pixels.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from frozenseg.data.catalog.downloads import DOWNLOADS
from frozenseg.data.preparation.labels import LabelJob, LabelTable, prepare_labels
from frozenseg.data.preparation.raw_files import (
    AGAIN,
    Source,
    read_labels,
    read_raw,
    stems,
)
from frozenseg.data.preparation.segments import Kind, PanopticJob, categories_of, prepare_panoptic
from frozenseg.data.preparation.work import Preparation
from frozenseg.vocab import Vocabulary

SOURCE = Source("Cityscapes", DOWNLOADS["Cityscapes"].page, "Cityscapes")
PARTS = ("semantic", "panoptic")
_LABELS = 34  # ids 0..33; the license plate, -1, is in no file
_INSTANCE_STEP = 1000


def prepare_cityscapes(preparation: Preparation, parts: tuple[str, ...] = PARTS) -> None:
    """Makes *_labelTrainIds.png and cityscapes_panoptic_*, as `parts` say."""
    preparation.require(SOURCE, "cityscapes/leftImg8bit/{split}/", "cityscapes/gtFine/{split}/")
    for split in preparation.splits:
        images = _images(preparation.root / "cityscapes", split)
        if "semantic" in parts:
            _semantic(preparation, images, split)
        if "panoptic" in parts:
            _panoptic(preparation, images, split)


def label_table() -> LabelTable:
    """Label id -> train id; the ids of the other 15 labels are not scored."""
    ids = Vocabulary.from_table("cityscapes").dataset_ids
    classes = {value: index for index, value in enumerate(ids) if value is not None}
    void = [value for value in range(_LABELS) if value not in classes]
    return LabelTable.of(classes, void, "Cityscapes has label ids 0 to 33")


def _images(root: Path, split: str) -> list[tuple[Path, Path]]:
    """(image, annotation without its kind and suffix) of every image or annotation of a split."""
    left, fine = root / "leftImg8bit" / split, root / "gtFine" / split
    found = {
        (city.name, name)
        for folder, suffix in (
            (left, "_leftImg8bit.png"),
            (fine, "_gtFine_labelIds.png"),
            (fine, "_gtFine_instanceIds.png"),
        )
        for city in folder.iterdir()
        if city.is_dir()
        for name in stems(city, suffix)
    }
    if not found:
        raise FileNotFoundError(f"{fine}: holds no */*_gtFine_labelIds.png; {AGAIN}")
    return [
        (left / city / f"{name}_leftImg8bit.png", fine / city / f"{name}_gtFine")
        for city, name in sorted(found)
    ]


def _with_ending(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)


def _semantic(preparation: Preparation, images: list[tuple[Path, Path]], split: str) -> None:
    jobs = [
        LabelJob(
            image,
            _with_ending(annotation, "_labelIds.png"),
            (_with_ending(annotation, "_labelTrainIds.png"),),
        )
        for image, annotation in images
    ]
    title = f"Cityscapes semantic {split}"
    prepare_labels(preparation, title, jobs, read_labels, [label_table()])


def _panoptic(preparation: Preparation, images: list[tuple[Path, Path]], split: str) -> None:
    made = preparation.root / "cityscapes" / "gtFine" / f"cityscapes_panoptic_{split}"
    jobs = [
        PanopticJob(
            image,
            (_with_ending(annotation, "_instanceIds.png"),),
            made / f"{annotation.name}_panoptic.png",
            annotation.name.removesuffix("_gtFine"),
            f"{annotation.name}_leftImg8bit.png",
        )
        for image, annotation in images
    ]
    categories = categories_of("cityscapes")
    things = frozenset(category["id"] for category in categories if category["isthing"])
    scored = frozenset(category["id"] for category in categories)
    prepare_panoptic(
        preparation,
        f"Cityscapes panoptic {split}",
        jobs,
        partial(decode_panoptic, scored=scored, things=things),
        categories,
    )


def decode_panoptic(
    job: PanopticJob, *, scored: frozenset[int], things: frozenset[int]
) -> tuple[NDArray[np.int32], dict[int, Kind]]:
    """Instance ids (H, W) as they are, 0 where the label is not scored, and their kinds."""
    [path] = job.annotations
    ids_HW = read_raw(path, ("I;16", "I")).astype(np.int32)
    kinds, void = {}, []
    for identity in np.unique(ids_HW).tolist():
        alone = identity < _INSTANCE_STEP
        label = identity if alone else identity // _INSTANCE_STEP
        if label >= _LABELS:
            raise ValueError(
                f"{path}: instance id {identity} is out of range: Cityscapes has label ids 0 to 33 "
                f"and 1000 times them; {AGAIN}"
            )
        if label in scored:
            kinds[identity] = Kind(label, crowd=alone and label in things)
        else:
            void.append(identity)
    return np.where(np.isin(ids_HW, void), 0, ids_HW), kinds
