"""Reading COCO panoptic data from disk: one JSON file, images, and PNGs of segment ids.

Format: https://cocodataset.org/#format-data, section 4. The id of a pixel is R + 256 G + 65536 B;
id 0 is unlabelled. Every error names the file and what to do.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from frozenseg.data.image_files import read_rgb

DAMAGED = "delete the file and get it again"
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
        class_of_category: the data set's category id -> index in the vocabulary.
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


def require_file(path: Path, remedy: str = "") -> None:
    """Raises FileNotFoundError with the remedy if `path` is not a file."""
    if not path.is_file():
        order = f"; {remedy}" if remedy else ""
        raise FileNotFoundError(
            f"{path} does not exist{order} (the root folder is $DETECTRON2_DATASETS)"
        )


def _file_name(entry: Mapping[str, Any]) -> str:
    return str(entry["file_name"])


def read_annotation_file(path: Path, remedy: str = "", kind: str = "panoptic") -> dict[str, Any]:
    """The content of a COCO annotation file, which has `images` and `annotations`.

    Raises: FileNotFoundError, or ValueError if it is no JSON or lacks one of the two.
    """
    require_file(path, remedy)
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path}: not valid JSON ({error}); {DAMAGED}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: is no JSON object; it is not a COCO {kind} annotation file")
    missing = [key for key in ("images", "annotations") if not isinstance(content.get(key), list)]
    if missing:
        raise ValueError(f"{path}: lacks {missing}; it is not a COCO {kind} annotation file")
    return content


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
                "the data set again"
            )
    category = segment["category_id"]
    if category not in class_of_category:
        raise ValueError(
            f"{where}: category id {category} of segment {segment['id']} is not one of the "
            f"{len(class_of_category)} classes of this data set; check that file and data set match"
        )
    index = class_of_category[category]
    converted = {"iscrowd": 0, **segment, "category_id": index}
    return {**converted, "isthing": index in thing_classes}


def read_image(path: str | Path) -> np.ndarray:
    """A data set's image (H, W, 3) uint8 RGB, turned as its EXIF data say.

    Raises: FileNotFoundError, or ValueError naming the file if it cannot be decoded.
    """
    require_file(Path(path))
    try:
        return read_rgb(Path(path))
    except ValueError as error:
        raise ValueError(f"{error}; {DAMAGED}") from error


def read_label_png(path: str | Path) -> np.ndarray:
    """Semantic labels (H, W), the PNG's own integers (8 or 16 bit). Errors as `read_image`."""
    labels, _ = read_values(path)
    if labels.ndim != 2:
        raise ValueError(
            f"{path}: is a label map of {labels.ndim} dimensions {labels.shape}; one channel is "
            "expected: prepare the data set again"
        )
    return labels.astype(np.int64)


def read_panoptic_png(path: str | Path) -> np.ndarray:
    """A panoptic map (H, W, 3) uint8, see `ids_of_rgb`; an alpha channel is left out.

    Unlike `read_image`, which lays transparent colours on white and so would change the ids.
    Errors as `read_image`, also for a grey or palette file, whose values are no ids.
    """
    rgb, mode = read_values(path)
    if mode not in ("RGB", "RGBA"):
        raise ValueError(
            f"{path}: is a PNG of mode {mode}; a panoptic map has its segment ids in 8-bit RGB: "
            "prepare the data set again"
        )
    return rgb[..., :3]


def read_values(path: str | Path) -> tuple[np.ndarray, str]:
    """The values of a label file as they are, and Pillow's name for its mode.

    Errors as `read_image`.
    """
    require_file(Path(path))
    try:
        with Image.open(path) as image:
            return np.array(image), image.mode
    except (OSError, ValueError, SyntaxError) as error:
        raise ValueError(f"{path}: damaged or incomplete label map ({error}); {DAMAGED}") from error


def check_same_size(
    path: str | Path, size: tuple[int, ...], image: str, expected: tuple[int, ...]
) -> None:
    """Raises ValueError if a map (height, width) differs from its image's size."""
    if tuple(size) != tuple(expected):
        raise ValueError(
            f"{path}: is {size[1]}x{size[0]} but its image {image} is {expected[1]}x{expected[0]} "
            "(width x height): the files do not belong together; prepare the data set again"
        )


def ids_of_rgb(rgb: np.ndarray) -> np.ndarray:
    """Segment ids (H, W) int32 of a panoptic map (H, W, 3) uint8."""
    wide = rgb.astype(np.int32)
    return wide[..., 0] + 256 * wide[..., 1] + 65536 * wide[..., 2]


def rgb_of_ids(ids: np.ndarray) -> np.ndarray:
    """The panoptic map (H, W, 3) uint8 of segment ids (H, W) below 2^24."""
    return np.stack([(ids >> shift) & 255 for shift in (0, 8, 16)], axis=-1).astype(np.uint8)


def semantic_of_panoptic(
    ids: np.ndarray, segments: list[dict[str, Any]], ignore_label: int
) -> np.ndarray:
    """Class indices (H, W) int64 of a panoptic map; pixels of no segment get `ignore_label`."""
    labels = np.full(ids.shape, ignore_label, dtype=np.int64)
    for segment in segments:
        labels[ids == segment["id"]] = segment["category_id"]
    return labels
