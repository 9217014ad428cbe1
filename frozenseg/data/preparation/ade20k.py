"""ADE20K with 150 classes: semantic masks, and the panoptic and instance annotations.

Published are (SceneParsing 2016, instance release 2017), below ADEChallengeData2016/:
    annotations/<split>/*.png           0 unlabelled, 1..150 the classes
    annotations_instance/<split>/*.png  RGB: R the instance category 1..100 (0 none), G the instance
                                        of the image (1..255, unique whatever the category)
Instance category k is the k-th thing of the 150 classes. Made are masks of 0..149 with 255 ignored,
and category ids 0..149 in both JSON files. Where both annotations label a pixel, the instance
counts; pixels of a thing that belong to no instance are void in the panoptic files.

Mask2Former's script states the area of stuff before things are laid on it; here areas and boxes are
those of the pixels in the PNG, and stuff that is wholly covered is not a segment.
Legend: H and W pixels.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from frozenseg.data.catalog.downloads import DOWNLOADS
from frozenseg.data.preparation.labels import LabelJob, LabelTable, prepare_folders
from frozenseg.data.preparation.raw_files import (
    AGAIN,
    Source,
    check_sizes,
    paired_stems,
    read_labels,
    read_raw,
)
from frozenseg.data.preparation.segments import (
    Kind,
    PanopticJob,
    boxes_and_areas,
    categories_of,
    image_entry,
    prepare_panoptic_folders,
)
from frozenseg.data.preparation.work import Done, Preparation
from frozenseg.vocab import Vocabulary

FOLDER = "ADEChallengeData2016"
SOURCE = Source("ADE20K", DOWNLOADS["ADE20K"].page, "ADE20K")
PARTS = ("semantic", "panoptic", "instance")
IMAGES, LABELS, INSTANCES = (
    f"{FOLDER}/{kind}/{{folder}}" for kind in ("images", "annotations", "annotations_instance")
)
_INSTANCE_STEP = 256  # id of a segment: 256 (category + 1) + instance, 0 for stuff


def prepare_ade20k(preparation: Preparation, parts: tuple[str, ...] = PARTS) -> None:
    """Makes annotations_detectron2/, ade20k_panoptic_*, ade20k_instance_*.json, as `parts` say."""
    needed = {
        IMAGES: PARTS,
        LABELS: ("semantic", "panoptic"),
        INSTANCES: ("panoptic", "instance"),
    }
    wanted = (f"{folder}/" for folder, users in needed.items() if set(users) & set(parts))
    preparation.require(SOURCE, *wanted)
    _check_category_mapping(preparation.root / FOLDER / "categoryMapping.txt")
    if "semantic" in parts:
        made = f"{FOLDER}/annotations_detectron2/{{folder}}"
        title = "ADE20K semantic"
        prepare_folders(preparation, title, IMAGES, LABELS, made, semantic_table())
    if "panoptic" in parts:
        prepare_panoptic_folders(
            preparation,
            "ADE20K panoptic",
            IMAGES,
            [LABELS, INSTANCES],
            f"{FOLDER}/ade20k_panoptic_{{split}}",
            partial(decode_panoptic, table=semantic_table(), things=tuple(thing_ids())),
            categories_of("ade20k_150"),
        )
    if "instance" in parts:
        for split in preparation.splits:
            _instance(preparation, split)


def semantic_table() -> LabelTable:
    """0 is unlabelled, label k is class k - 1."""
    classes = {index + 1: index for index in range(len(Vocabulary.from_table("ade20k_150")))}
    return LabelTable.of(classes, [0], "ADE20K has 0 (unlabelled) and 1 to 150")


def thing_ids() -> list[int]:
    """The category id (0..149) of every instance category 1..100, in their order."""
    classes = Vocabulary.from_table("ade20k_150").classes
    return [item.dataset_id for item in classes if item.is_thing and item.dataset_id is not None]


def _check_category_mapping(path: Path) -> None:
    """Raises ValueError if the file of the instance release contradicts the class table.

    Lines of instance category, label (1..150) and label of the full dataset, below a header.
    """
    if not path.is_file():
        return
    known = dict(enumerate(thing_ids(), 1))
    for line in path.read_text(encoding="utf-8").splitlines()[1:]:
        words = line.split()
        if not words:
            continue
        if len(words) < 2 or not (words[0].isdecimal() and words[1].isdecimal()):
            raise ValueError(f"{path}: {line!r} is not a line of numbers; {AGAIN}")
        label = known.get(int(words[0]), -2) + 1
        if label != int(words[1]):
            raise ValueError(
                f"{path}: says that instance category {words[0]} is label {words[1]}, but in "
                f"ADE20K it is {label if label > 0 else 'none'}: another release? {AGAIN}"
            )


def decode_panoptic(
    job: PanopticJob, *, table: LabelTable, things: tuple[int, ...]
) -> tuple[NDArray[np.int64], dict[int, Kind]]:
    """Segment ids (H, W) and their kinds: stuff of the one file, things of the other on top."""
    semantic, instances = job.annotations
    labels_HW = read_labels(semantic)
    check_sizes(semantic, labels_HW, job.image)
    classes_HW = table(semantic, labels_HW).astype(np.int32)
    stuff_HW = (labels_HW > 0) & ~np.isin(classes_HW, things)
    ids_HW = np.where(stuff_HW, (classes_HW + 1) * _INSTANCE_STEP, 0)
    thing_ids_HW = read_instances(instances, things)
    check_sizes(instances, thing_ids_HW, job.image)
    ids_HW = np.where(thing_ids_HW > 0, thing_ids_HW, ids_HW)
    kinds = {i: Kind(i // _INSTANCE_STEP - 1) for i in np.unique(ids_HW).tolist() if i}
    return ids_HW, kinds


def read_instances(path: Path, things: tuple[int, ...]) -> NDArray[np.int64]:
    """256 (category id + 1) + instance (H, W), 0 where there is no instance."""
    categories_HW, numbers_HW = np.moveaxis(read_raw(path, ("RGB",)), -1, 0)[:2].astype(np.int32)
    table = np.array([0, *(thing + 1 for thing in things)])
    instance_HW = numbers_HW > 0
    wrong_HW = instance_HW & ((categories_HW == 0) | (categories_HW >= len(table)))
    if wrong_HW.any():
        y, x = np.argwhere(wrong_HW)[0]
        raise ValueError(
            f"{path}: instance category {categories_HW[y, x]} (red) of instance {numbers_HW[y, x]} "
            f"at x={x}, y={y} is out of range 1..{len(things)}; {AGAIN}"
        )
    ids_HW = np.where(
        instance_HW, table[np.where(instance_HW, categories_HW, 0)] * _INSTANCE_STEP + numbers_HW, 0
    )
    found = np.unique(ids_HW[instance_HW]) % _INSTANCE_STEP
    if len(found) != len(np.unique(found)):
        raise ValueError(f"{path}: one instance number (green) has two categories (red); {AGAIN}")
    return ids_HW


def _instance(preparation: Preparation, split: str) -> None:
    images, annotations = (preparation.path(p, split) for p in (IMAGES, INSTANCES))
    jobs = [
        LabelJob(images / f"{stem}.jpg", annotations / f"{stem}.png", ())
        for stem in paired_stems(images, annotations)
    ]
    preparation.write_index(
        preparation.path(f"{FOLDER}/ade20k_instance_{{split}}.json", split),
        partial(_instance_index, jobs),
        f"ADE20K instance {split}",
        partial(convert_instances, things=tuple(thing_ids())),
        jobs,
    )


def convert_instances(job: LabelJob, *, things: tuple[int, ...]) -> Done:
    """The instances of an image as COCO has them; an image may have none."""
    ids_HW = read_instances(job.labels, things)
    check_sizes(job.labels, ids_HW, job.image)
    instances = []
    for identity, box, area in boxes_and_areas(ids_HW):
        rle = coco_mask.encode(np.asfortranarray(ids_HW == identity, dtype=np.uint8))
        instances.append(
            {
                "category_id": identity // _INSTANCE_STEP - 1,
                "bbox": box,
                "area": area,
                "iscrowd": 0,
                "segmentation": {"size": rle["size"], "counts": rle["counts"].decode("ascii")},
            }
        )
    height, width = ids_HW.shape
    return Done(made=True, value={"height": height, "width": width, "instances": instances})


def _instance_index(jobs: list[LabelJob], values: list[Any]) -> dict[str, Any]:
    images = []
    annotations: list[dict[str, Any]] = []
    for job, value in zip(jobs, values, strict=True):
        stem = job.image.stem
        images.append(image_entry(stem, job.image.name, value))
        for instance in value["instances"]:
            annotations.append({"id": len(annotations) + 1, "image_id": stem, **instance})
    categories = categories_of("ade20k_150", things_only=True)
    return {"images": images, "annotations": annotations, "categories": categories}
