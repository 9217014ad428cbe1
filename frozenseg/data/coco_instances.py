"""Reading COCO and LVIS instance annotations: one JSON file with a polygon or RLE per object.

Formats: https://cocodataset.org/#format-data, section 1, and https://www.lvisdataset.org/dataset.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from pycocotools import mask as coco_mask

from frozenseg.data.catalog.lookup import class_of_category
from frozenseg.data.catalog.split import DatasetSplit
from frozenseg.data.findings import Report
from frozenseg.data.object_masks import (
    areas_differ,
    boxes_and_areas,
    boxes_differ,
    is_polygon,
    polygon_problems,
    rle_problem,
)
from frozenseg.data.samples import Sample, check_categories, images_by_id, report_repeated
from frozenseg.data.schemas import Id, InstanceFile, ObjectEntry, read_annotations
from frozenseg.vocab import Vocabulary

XYWH_ABS = 1  # detectron2.structures.BoxMode.XYWH_ABS, an IntEnum
LVIS_KEYS = ("neg_category_ids", "not_exhaustive_category_ids")
FREQUENCIES = {"rare": "r", "common": "c", "frequent": "f"}  # of LVIS' classes
AT_ONCE = 10_000  # objects whose boxes and areas are computed together
WRONG_BOX = "the box of an object is not that of its mask"
WRONG_AREA = "the area of an object, by which AP knows small and large ones, is not its mask's"
AREA_TOLERANCE = 1.01  # of an object's area over that of its image: some are those of boxes


class Fault(NamedTuple):
    """What is wrong with an object: "error" (it cannot be used) or "warning", and the value."""

    level: str
    problem: str
    entry: ObjectEntry
    value: object = ""


def instance_samples(
    row: DatasetSplit, vocabulary: Vocabulary, root: Path, report: Report
) -> list[Sample]:
    """One sample per image (those without objects included), sorted by image id.

    Objects have class indices; polygons of fewer than 3 points are dropped, and objects without any
    other, as in detectron2.
    Raises: the errors of `read_annotations`.
    """
    json_file = root / row.instance_json
    content = read_annotations(json_file, InstanceFile, row.origin.remedy, row.origin.repair)
    classes = class_of_category(row, vocabulary)
    check_categories(content.categories, vocabulary, classes, json_file, row, report)
    images = images_by_id(content.images, json_file, row, report)
    repair, entries = row.origin.repair, content.annotations
    report_repeated(entries, "annotations", json_file, report.warning, repair)
    if row.kind == "lvis":
        _check_lvis(content, classes, json_file, repair, report)
    if not any(entry.get("segmentation") for entry in entries):
        problem = "has boxes only: no object has a mask" if entries else "has no annotations"
        report.error(f"the annotation file {problem}", repair, json_file)
        return []
    entries_of: dict[Id, list[ObjectEntry]] = {key: [] for key in images}
    for entry in entries:
        if entry["image_id"] in images:
            entries_of[entry["image_id"]].append(entry)
        else:
            where = f"{_where(json_file, entry)}: image_id {entry['image_id']}"
            report.error("an annotation has an unknown image_id", repair, where)
    report.images = len(images)
    samples: list[Sample] = []
    unseen: list[tuple[dict[str, Any], tuple[int, int]]] = []
    for key in sorted(images, key=lambda key: (isinstance(key, str), key)):
        size = (images[key]["height"], images[key]["width"])
        objects, faults = read_objects(entries_of[key], classes, size)
        for fault in faults:
            say = report.error if fault.level == "error" else report.warning
            where = f"{_where(json_file, fault.entry)}: {fault.value}".removesuffix(": ")
            mistake = row.origin.mistake if "category" in fault.problem else ""
            say(fault.problem + mistake, repair, where)
        lists = {name: value for name, value in images[key].items() if name in LVIS_KEYS}
        image = root / row.images / row.image_file(images[key])
        samples.append(Sample(image, key, size, objects=objects, lists=lists))
        if not any(fault.level == "error" for fault in faults):
            unseen += [(each, size) for each in objects]
        if unseen and (len(unseen) >= AT_ONCE or len(samples) == len(images)):
            for problem, each, values in _other_masks(*zip(*unseen, strict=True)):
                report.warning(problem, repair, f"{_where(json_file, each)}: {values}")
            unseen = []
    return samples


def _check_lvis(
    content: InstanceFile, classes: Mapping[int, int], json_file: Path, repair: str, report: Report
) -> None:
    """Checks what LVIS' federated AP needs: how frequent a class is, where it was looked for."""
    letters = {category["id"]: category.get("frequency") for category in content.categories}
    for category_id in classes:
        if letters.get(category_id) not in FREQUENCIES.values():
            problem = 'a category has no frequency "r", "c" or "f"'
            report.error(problem, repair, f"{json_file}: category {category_id}")
    for image in content.images:
        for key in LVIS_KEYS:
            found: Any = image.get(key)
            if found is None or not classes.keys() >= set(found):
                problem = f"an image has no {key}, or a category id in them that is no class"
                report.error(problem, repair, f"{json_file}: image {image['id']}: {found}")


def read_objects(
    entries: Iterable[ObjectEntry], classes: Mapping[int, int], size: tuple[int, int]
) -> tuple[list[dict[str, Any]], list[Fault]]:
    """The usable objects of an image with class indices, and what is wrong with all of them.

    Args:
        classes: category id -> class index.
        size: (height, width) of the image.
    """
    objects, faults = [], []
    polygons, owners = [], []
    for entry in entries:
        found = list(_faults(entry, classes, size))
        faults += found
        if any(fault.level == "error" for fault in found):
            continue
        segmentation: Any = entry["segmentation"]
        if isinstance(segmentation, list):
            segmentation = [polygon for polygon in segmentation if is_polygon(polygon)]
            polygons += segmentation
            owners += [entry] * len(segmentation)
        elif isinstance(segmentation["counts"], list):
            segmentation = coco_mask.frPyObjects(segmentation, *size)
        if segmentation:
            objects.append(_object(entry, classes, segmentation))
    faults += [
        Fault(level, problem, owners[index])
        for index, level, problem in polygon_problems(polygons, size)
    ]
    return objects, faults


def _other_masks(
    objects: Sequence[Mapping[str, Any]], sizes: Sequence[tuple[int, int]]
) -> Iterator[tuple[str, Mapping[str, Any], str]]:
    """(problem, object, values) of objects whose box and area are those of another mask.

    Args: sizes: (height, width) of the image of each.
    """
    boxes_O4, areas_O = boxes_and_areas([each["segmentation"] for each in objects], sizes)
    given_O4 = np.array([each["bbox"] for each in objects], np.float64)
    for index in np.flatnonzero(boxes_differ(given_O4, boxes_O4)):
        found = boxes_O4[index].round(2).tolist()
        yield WRONG_BOX, objects[index], f"box {objects[index]['bbox']}, of the mask {found}"
    given_O = np.array([each.get("area", np.nan) for each in objects])
    for index in np.flatnonzero(areas_differ(given_O, areas_O)):
        found = round(areas_O[index], 2)
        yield WRONG_AREA, objects[index], f"area {objects[index]['area']}, of the mask {found}"


def _object(entry: ObjectEntry, classes: Mapping[int, int], segmentation: Any) -> dict[str, Any]:
    """What detectron2 calls an annotation."""
    return {
        **{key: value for key, value in entry.items() if key in ("id", "area")},
        "bbox": entry["bbox"],
        "bbox_mode": XYWH_ABS,
        "category_id": classes[entry["category_id"]],
        "iscrowd": int(entry.get("iscrowd", 0)),
        "segmentation": segmentation,
    }


def _faults(
    entry: ObjectEntry, classes: Mapping[int, int], size: tuple[int, int]
) -> Iterator[Fault]:
    """What is wrong with an object, its polygons' coordinates aside."""
    height, width = size
    segmentation, category = entry.get("segmentation"), entry["category_id"]
    if category not in classes:
        problem = f"a category id is not one of the {len(classes)} classes of this dataset"
        yield Fault("error", problem, entry, f"category id {category}")
    if segmentation is None:
        yield Fault("error", "an object has a box but no mask", entry)
    elif isinstance(segmentation, list):
        if not any(map(is_polygon, segmentation)):
            problem = "an object has no valid polygon and is left out"
            yield Fault("warning", problem, entry)
        elif not all(map(is_polygon, segmentation)):
            problem = "a polygon has fewer than 3 points or half a point and is left out"
            yield Fault("warning", problem, entry)
    elif problem := rle_problem(segmentation, size):
        yield Fault("error", "the RLE of an object is not a mask of its image", entry, problem)
    if not 0 <= entry.get("area", 0) <= AREA_TOLERANCE * height * width:
        problem = "the area of an object is not a number of pixels of its image"
        yield Fault("error", problem, entry, f"area {entry['area']}")
    x, y, w, h = entry["bbox"]
    if not (x >= -1 and y >= -1 and x + w <= width + 1 and y + h <= height + 1 and w >= 0 <= h):
        yield Fault("warning", "a box reaches out of its image", entry, entry["bbox"])


def run_length(segmentation: Any, size: tuple[int, ...]) -> dict[str, Any]:
    """A COCO segmentation, polygons or compressed RLE, as RLE of an image of (height, width)."""
    if isinstance(segmentation, list):
        return coco_mask.merge(coco_mask.frPyObjects(segmentation, size[0], size[1]))
    return segmentation


def _where(json_file: Path, entry: Mapping[str, Any]) -> str:
    return f"{json_file}, annotation {entry.get('id')}"
