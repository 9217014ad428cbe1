"""Reading COCO and LVIS instance annotations: one JSON file with a polygon or RLE per object.

Formats: https://cocodataset.org/#format-data, section 1, and https://www.lvisdataset.org/dataset.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pycocotools import mask as coco_mask

from frozenseg.data.catalog.lookup import class_of_category
from frozenseg.data.catalog.split import DatasetSplit
from frozenseg.data.findings import Report
from frozenseg.data.reading import read_annotation_file
from frozenseg.data.samples import Sample, check_categories, images_by_id
from frozenseg.vocab import Vocabulary

XYWH_ABS = 1  # detectron2.structures.BoxMode.XYWH_ABS, an IntEnum
LVIS_KEYS = ("neg_category_ids", "not_exhaustive_category_ids")


def instance_samples(
    row: DatasetSplit, vocabulary: Vocabulary, root: Path, report: Report
) -> list[Sample]:
    """One sample per image (those without objects included), sorted by image id.

    Objects have class indices; polygons of fewer than 3 points are dropped, and objects without any
    other, as in detectron2.
    Raises: the errors of `read_annotation_file`.
    """
    json_file = root / row.instance_json
    content = read_annotation_file(json_file, row.origin.remedy, "instance")
    classes = class_of_category(row, vocabulary)
    check_categories(content, vocabulary, classes, json_file, row, report)
    images = images_by_id(content, json_file, row, report)
    objects: dict[Any, list[dict[str, Any]]] = {key: [] for key in images}
    for annotation in content["annotations"]:
        where = f"{json_file}, annotation {annotation.get('id')}"
        key = annotation.get("image_id")
        if key not in images:
            where += f": image_id {key}"
            report.error("an annotation has an unknown image_id", row.origin.repair, where)
            continue
        try:
            read = read_object(annotation, classes, where)
        except ValueError as error:
            problem = f"an object is not usable{row.origin.mistake}"
            report.error(problem, row.origin.repair, str(error))
            continue
        check_object(read, images[key], where, row, report)
        if read is not None:
            objects[key].append(read)
    if not content["annotations"]:
        report.error("the annotation file has no annotations", row.origin.repair, json_file)
        return []
    report.images = len(images)
    return [
        Sample(
            root / row.images / row.image_file(images[key]),
            key,
            (images[key]["height"], images[key]["width"]),
            objects=objects[key],
            lists={name: images[key][name] for name in LVIS_KEYS if name in images[key]},
        )
        for key in sorted(images)
    ]


def read_object(
    annotation: Mapping[str, Any], class_of_category: Mapping[int, int], where: str
) -> dict[str, Any] | None:
    """An object with its class index; None if it has no valid polygon.

    Raises: ValueError naming `where` if something is missing or the category is unknown.
    """
    missing = [key for key in ("bbox", "category_id", "segmentation") if key not in annotation]
    if missing:
        raise ValueError(f"{where}: lacks {missing}; get the file again")
    category = annotation["category_id"]
    if category not in class_of_category:
        raise ValueError(
            f"{where}: category id {category} is not one of the {len(class_of_category)} classes "
            "of this dataset; check that file and dataset match"
        )
    segmentation = _valid_segmentation(annotation["segmentation"], where)
    if segmentation is None:
        return None
    return {
        **{key: annotation[key] for key in ("id", "area") if key in annotation},
        "bbox": annotation["bbox"],
        "bbox_mode": XYWH_ABS,
        "category_id": class_of_category[category],
        "iscrowd": annotation.get("iscrowd", 0),
        "segmentation": segmentation,
    }


def _valid_segmentation(segmentation: object, where: str) -> Any:
    """Polygons of at least 3 points or a compressed RLE; None if nothing is left."""
    if isinstance(segmentation, list):
        valid = [p for p in segmentation if isinstance(p, list) and len(p) >= 6 and not len(p) % 2]
        return valid or None
    if not isinstance(segmentation, dict) or not {"counts", "size"} <= set(segmentation):
        raise ValueError(
            f"{where}: segmentation is neither a list of polygons nor an RLE with counts and size"
        )
    if isinstance(segmentation["counts"], list):
        return coco_mask.frPyObjects(segmentation, *segmentation["size"])
    return segmentation


def run_length(segmentation: Any, size: tuple[int, ...]) -> dict[str, Any]:
    """A COCO segmentation, polygons or compressed RLE, as RLE of an image of (height, width)."""
    if isinstance(segmentation, list):
        return coco_mask.merge(coco_mask.frPyObjects(segmentation, size[0], size[1]))
    return segmentation


def check_object(
    read: Mapping[str, Any] | None,
    image: Mapping[str, Any],
    where: str,
    row: DatasetSplit,
    report: Report,
) -> None:
    """Checks box and mask of an object as `read_object` gives it against its image."""
    if read is None:
        report.warning("an object has no valid polygon and is left out", row.origin.repair, where)
        return
    x, y, width, height = read["bbox"]
    outside = x < -1 or y < -1 or x + width > image["width"] + 1 or y + height > image["height"] + 1
    if outside or width < 0 or height < 0:
        report.warning(
            "a box reaches out of its image", row.origin.repair, f"{where}: {read['bbox']}"
        )
    segmentation = read["segmentation"]
    size = (image["height"], image["width"])
    if isinstance(segmentation, dict) and tuple(segmentation["size"]) != size:
        problem = "the mask of an object has another size than its image"
        report.error(
            problem, row.origin.repair, f"{where}: {segmentation['size']}, image {list(size)}"
        )
