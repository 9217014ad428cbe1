"""Reading COCO and LVIS instance annotations: one JSON file with a polygon or RLE per object.

Formats: https://cocodataset.org/#format-data, section 1, and https://www.lvisdataset.org/dataset.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from frozenseg.data.reading import read_annotation_file, require_file

logger = logging.getLogger(__name__)

XYWH_ABS = 1  # detectron2.structures.BoxMode.XYWH_ABS, an IntEnum
LVIS_KEYS = ("neg_category_ids", "not_exhaustive_category_ids")


def load_coco_instances(
    *,
    json_file: Path,
    image_root: Path,
    class_of_category: Mapping[int, int],
    image_file: Callable[[Mapping[str, Any]], str],
    remedy: str = "",
) -> list[dict[str, Any]]:
    """One record per image (those without objects included), in detectron2's format.

    Args:
        class_of_category: the dataset's category id -> index in the vocabulary.
        image_file: path below `image_root` of an entry of the JSON's `images`.
        remedy: what to do about missing files, for the error message.
    Returns: dicts with file_name, image_id, height, width and annotations (id, category_id as class
        index, bbox, bbox_mode, segmentation, area, iscrowd), sorted by image id; for LVIS also
        neg_category_ids and not_exhaustive_category_ids (the dataset's own ids).
        Polygons of fewer than 3 points are dropped; objects without any other are, too, and
        counted in the log, as in detectron2.
    Raises: FileNotFoundError for missing files, ValueError for a broken or inconsistent JSON.
    """
    content = read_annotation_file(json_file, remedy, "instance")
    records: dict[Any, dict[str, Any]] = {}
    for image in content["images"]:
        records[image["id"]] = {
            "file_name": str(image_root / _image_file(image, image_file, json_file)),
            "image_id": image["id"],
            "height": image["height"],
            "width": image["width"],
            **{key: image[key] for key in LVIS_KEYS if key in image},
            "annotations": [],
        }
    invalid = 0
    for annotation in content["annotations"]:
        where = f"{json_file}, annotation {annotation.get('id')}"
        if annotation.get("image_id") not in records:
            raise ValueError(f"{where}: image_id {annotation.get('image_id')} is not in images")
        read = read_object(annotation, class_of_category, where)
        invalid += read is None
        if read is not None:
            records[annotation["image_id"]]["annotations"].append(read)
    if invalid:
        logger.warning("%s: left out %d objects without a valid polygon", json_file, invalid)
    if not content["annotations"]:
        raise ValueError(f"{json_file}: has no annotations; {remedy or 'make it again'}")
    ordered = [records[key] for key in sorted(records)]
    require_file(Path(ordered[0]["file_name"]), remedy)
    return ordered


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
        from pycocotools import mask

        return mask.frPyObjects(segmentation, *segmentation["size"])
    return segmentation


def _image_file(
    image: Mapping[str, Any], image_file: Callable[[Mapping[str, Any]], str], json_file: Path
) -> str:
    try:
        return image_file(image)
    except KeyError as error:
        raise ValueError(
            f"{json_file}: image {image.get('id')} has no {error.args[0]}; check that file and "
            "dataset match"
        ) from None
