"""Reading COCO panoptic data from disk: one JSON file, images, and PNGs of segment ids.

Format: https://cocodataset.org/#format-data, section 4. The id of a pixel is R + 256 G + 65536 B;
id 0 is unlabelled. Every error names the file and what to do.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from frozenseg.data.reading import read_annotation_file, require_file

SEGMENT_NUMBERS = ("id", "category_id", "area")


def load_coco_panoptic(
    *,
    json_file: Path,
    image_root: Path,
    panoptic_root: Path,
    class_of_category: Mapping[int, int],
    thing_classes: frozenset[int],
    semantic_root: Path | None = None,
    image_file: Callable[[Mapping[str, Any]], str] | None = None,
    semantic_file: Callable[[Mapping[str, Any]], str] | None = None,
    remedy: str = "",
) -> list[dict[str, Any]]:
    """One record per image, in detectron2's format, categories as class indices.

    Args:
        class_of_category: the dataset's category id -> index in the vocabulary.
        thing_classes: the class indices that are things.
        image_file: path below `image_root` of an entry of the JSON's `images`, by default its
            file_name (Cityscapes has names there that do not exist).
        semantic_file: path below `semantic_root` of an annotation, by default its file_name.
        remedy: what to do about missing files, for the error message ("run python ...").
    Returns: dicts with file_name, image_id, height, width, pan_seg_file_name, segments_info
        (id, category_id, isthing, iscrowd, area, bbox) and, if given, sem_seg_file_name.
    Raises: FileNotFoundError for missing files, ValueError for a broken or inconsistent JSON.
    """
    content = read_annotation_file(json_file, remedy)
    image_file, semantic_file = image_file or _file_name, semantic_file or _file_name
    images = {image.get("id"): image for image in content["images"]}
    records = []
    for annotation in content["annotations"]:
        image_id = annotation.get("image_id")
        if image_id not in images:
            raise ValueError(f"{json_file}: image_id {image_id} of an annotation is not in images")
        where = f"{json_file}, image {image_id}"
        try:
            segments = annotation["segments_info"]
            record = {
                "file_name": str(image_root / image_file(images[image_id])),
                "image_id": image_id,
                "height": images[image_id]["height"],
                "width": images[image_id]["width"],
                "pan_seg_file_name": str(panoptic_root / annotation["file_name"]),
                "segments_info": [
                    _read_segment(one, class_of_category, thing_classes, where) for one in segments
                ],
            }
        except KeyError as error:
            raise ValueError(f"{where}: lacks {error}; {remedy or 'make the file again'}") from None
        if semantic_root is not None:
            record["sem_seg_file_name"] = str(semantic_root / semantic_file(annotation))
        records.append(record)
    if not records:
        raise ValueError(f"{json_file}: has no annotations; {remedy or 'make it again'}")
    for key in ("file_name", "pan_seg_file_name", "sem_seg_file_name"):
        if key in records[0]:
            require_file(Path(records[0][key]), remedy)
    return records


def _file_name(entry: Mapping[str, Any]) -> str:
    return str(entry["file_name"])


def _read_segment(
    segment: Mapping[str, Any],
    class_of_category: Mapping[int, int],
    thing_classes: frozenset[int],
    where: str,
) -> dict[str, Any]:
    for name in SEGMENT_NUMBERS:
        if not isinstance(segment.get(name), (int, float)):
            raise ValueError(
                f"{where}: {name} of segment {segment.get('id')} is {segment.get(name)}, but every "
                f"segment needs the numbers {', '.join(SEGMENT_NUMBERS)} (of pixels): prepare "
                "the dataset again"
            )
    category = segment["category_id"]
    if category not in class_of_category:
        raise ValueError(
            f"{where}: category id {category} of segment {segment['id']} is not one of the "
            f"{len(class_of_category)} classes of this dataset; check that file and dataset match"
        )
    index = class_of_category[category]
    converted = {"iscrowd": 0, **segment, "category_id": index}
    return {**converted, "isthing": index in thing_classes}
