"""The ground truth of instance segmentation: the objects of one image, as COCO's.

Legend: H and W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from frozenseg.data.catalog.split import DatasetSplit
from frozenseg.data.coco_instances import run_length
from frozenseg.data.reading import check_same_size, ids_of_rgb, read_label_png, read_panoptic_png
from frozenseg.data.records import load_records
from frozenseg.vocab import Vocabulary

THING_SEGMENTS = "thing segments of the panoptic annotation"
CITYSCAPES_MAPS = "objects of the instance maps; groups count as crowds"
CITYSCAPES_STEP = 1000  # an instance's id is 1000 * label id + number


class ImageTruth(NamedTuple):
    """Objects of one image: category_id (class index), iscrowd, area, segmentation (RLE).

    `size` is (height, width).
    """

    size: tuple[int, int]
    objects: list[dict[str, Any]]


Truth = Callable[[Mapping[str, Any]], ImageTruth]


def thing_segments(record: Mapping[str, Any]) -> ImageTruth:
    """The thing segments of the panoptic map, crowds included; those without a pixel are none."""
    ids = ids_of_rgb(read_panoptic_png(record["pan_seg_file_name"]))
    _check_size(record["pan_seg_file_name"], ids.shape, record)
    objects = [
        _object(mask, segment["category_id"], segment["iscrowd"])
        for segment in record["segments_info"]
        if segment["isthing"] and (mask := ids == segment["id"]).any()
    ]
    return ImageTruth((ids.shape[0], ids.shape[1]), objects)


def annotated_objects(record: Mapping[str, Any]) -> ImageTruth:
    """The objects of an instance annotation file; areas are the file's, where they are usable."""
    size = (int(record["height"]), int(record["width"]))
    objects = []
    for one in record["annotations"]:
        rle = run_length(one["segmentation"], size)
        found = {"category_id": one["category_id"], "iscrowd": one["iscrowd"], "segmentation": rle}
        area = one.get("area")
        objects.append(
            {**found, "area": area if usable_area(area, size) else int(coco_mask.area(rle))}
        )
    return ImageTruth(size, objects)


def usable_area(area: Any, size: tuple[int, int]) -> bool:
    """Whether an object's area may be one of an image of this (height, width); NaN may not."""
    return isinstance(area, (int, float)) and 0 < area <= size[0] * size[1]


class AnnotationFile:
    """The objects that another annotation file has of the same images, found by their ids."""

    def __init__(self, json_file: Path, row: DatasetSplit, vocabulary: Vocabulary) -> None:
        """Reads the file. Raises: the errors of `load_records`."""
        self.json_file = json_file
        root = json_file.parents[len(Path(row.instance_json).parts) - 1]
        other = replace(row, panoptic_json="", semantic_masks="", instance_json=str(json_file))
        records = load_records(other, vocabulary, root)
        self.records = {record["image_id"]: record for record in records}

    def __call__(self, record: Mapping[str, Any]) -> ImageTruth:
        """Raises: ValueError for an image that the file lacks, or has with another size."""
        found = self.records.get(record["image_id"])
        if found is None:
            raise ValueError(
                f"{self.json_file}: has no image {record['image_id']}, which the panoptic "
                "annotation has: the two files do not belong together; get them again"
            )
        size = (found["height"], found["width"])
        _check_size(str(self.json_file), size, record)
        return annotated_objects(found)


class CityscapesMaps:
    """The objects of Cityscapes' instanceIds; a region of several (a bare label id) is a crowd."""

    def __init__(self, class_of_label: Mapping[int, int], things: list[bool]) -> None:
        self.class_of_label = {k: c for k, c in class_of_label.items() if things[c]}

    def __call__(self, record: Mapping[str, Any]) -> ImageTruth:
        """Reads the map of an image."""
        path = record["instance_file_name"]
        ids = read_label_png(path)
        _check_size(path, ids.shape, record)
        objects = []
        for identity in np.unique(ids).tolist():
            alone = identity >= CITYSCAPES_STEP
            label = identity // CITYSCAPES_STEP if alone else identity
            if label in self.class_of_label:
                mask = ids == identity
                objects.append(_object(mask, self.class_of_label[label], int(not alone)))
        return ImageTruth((ids.shape[0], ids.shape[1]), objects)


def encode(mask: NDArray[Any]) -> dict[str, Any]:
    """A mask (H, W) as compressed RLE."""
    return dict(coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8)))


def _object(mask: NDArray[Any], label: int, crowd: int) -> dict[str, Any]:
    found = {"category_id": label, "iscrowd": crowd, "area": int(mask.sum())}
    return {**found, "segmentation": encode(mask)}


def _check_size(path: str, size: tuple[int, ...], record: Mapping[str, Any]) -> None:
    """Raises ValueError if a map differs in size from its image, where that was read already."""
    if "height" in record:
        check_same_size(path, size, record["file_name"], (record["height"], record["width"]))
