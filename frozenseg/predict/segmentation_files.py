"""Segmentations as files: label map, JSON, arrays, pictures; and as `supervision` detections.

Legend: H and W pixels, N segments.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from frozenseg.files import write_atomically, write_json
from frozenseg.predict.segmented_image import SegmentedImage
from frozenseg.predict.tasks import FILE_KINDS

PICTURES = (".jpg", ".jpeg", ".webp")
MOST_PALETTE_IDS = 255


def save_one(segmentation: SegmentedImage, path: Path, about: Mapping[str, Any]) -> dict[str, Path]:
    """Writes one file in the format of its ending (`Segmentation.save`); its path by kind.

    Raises: ValueError for an ending that is not known; for a picture, if the image is not.
    """
    suffix = path.suffix.lower()
    if suffix == ".png":
        kind = "labels"
        write_picture(path, label_image(segmentation))
    elif suffix == ".json":
        kind = "json"
        source = {"image": segmentation.source} if segmentation.source else {}
        write_json(path, {**source, **about, **segmentation.to_json()}, ensure_ascii=False)
    elif suffix == ".npz":
        kind = "npz"
        write_atomically(path, lambda part: _write_npz(part, arrays(segmentation)))
    elif suffix in PICTURES:
        kind = "overlay"
        write_picture(path, Image.fromarray(segmentation.overlay()))
    else:
        known = ", ".join((".png", ".json", ".npz", *PICTURES))
        raise ValueError(f"{path}: the file's ending says the format; use one of {known}")
    return {kind: path}


def save_all(
    segmentation: SegmentedImage,
    folder: Path,
    name: str,
    image_HW3: NDArray[np.uint8],
    about: Mapping[str, Any],
    kinds: Collection[str] = FILE_KINDS,
) -> dict[str, Path]:
    """Writes NAME_overlay.png, NAME_sheet.png, NAME_labels.png and, last, NAME.json.

    The label map is a 16-bit grey PNG of segment ids. Each file is complete or not there. The JSON
    object's "files" are the others of this call by kind: those of an earlier one may lie beside.

    Args:
        about: further entries of the JSON object, put first (image, model, weights, ...).
        kinds: which of the files are written.
    Returns: the paths by kind ("overlay", "sheet", "labels", "json").
    """
    paths = all_paths(folder, name, kinds)
    pictures: dict[str, Callable[[], NDArray[Any]]] = {
        "overlay": lambda: segmentation.overlay(image_HW3),
        "sheet": lambda: segmentation.sheet(image_HW3),
        "labels": lambda: segmentation.label_map_HW.astype(np.uint16),
    }
    for kind in (each for each in pictures if each in paths):
        write_picture(paths[kind], Image.fromarray(pictures[kind]()))
    if "json" in paths:
        labels = {"label_map": paths["labels"].name} if "labels" in paths else {}
        files = {kind: path.name for kind, path in paths.items() if kind != "json"}
        content = {**about, "files": files, **labels, **segmentation.to_json()}
        write_json(paths["json"], content, ensure_ascii=False)
    return paths


def all_paths(folder: Path, name: str, kinds: Collection[str] = FILE_KINDS) -> dict[str, Path]:
    """The files that `save_all` writes, by kind."""
    files = {kind: f"{name}_{kind}.png" for kind in FILE_KINDS[:3]} | {"json": f"{name}.json"}
    return {kind: folder / file for kind, file in files.items() if kind in kinds}


def label_image(segmentation: SegmentedImage) -> Image.Image:
    """The label map as an image whose pixel values are the ids.

    8 bits with the classes' colours as palette where the ids fit, otherwise 16-bit grey.
    """
    label_map_HW = segmentation.label_map_HW
    if label_map_HW.size and label_map_HW.max() > MOST_PALETTE_IDS:
        return Image.fromarray(label_map_HW.astype(np.uint16))
    image = Image.fromarray(label_map_HW.astype(np.uint8))
    palette = np.zeros((256, 3), dtype=np.uint8)
    for number, style in segmentation.styles.items():
        palette[number] = style.color
    image.putpalette(palette.tobytes())
    return image


def arrays(segmentation: SegmentedImage) -> dict[str, NDArray[Any]]:
    """A segmentation as arrays: no pickle is needed to read them.

    label_map (H, W) int32; per segment: ids, class_index (N,), names (N,), scores (N,) float32,
    NaN for none, areas (N,), boxes (N, 4) as x, y, width, height, is_thing (N,), rle (N,) the
    counts of COCO's run-length masks (of the size of the label map); words, task.
    """
    segments = segmentation.segments
    scores = [np.nan if each.score is None else each.score for each in segments]
    return {
        "label_map": segmentation.label_map_HW,
        "ids": np.array([each.id for each in segments], dtype=np.int32),
        "class_index": np.array([each.class_index for each in segments], dtype=np.int32),
        "names": np.array([each.name for each in segments], dtype=np.str_),
        "scores": np.array(scores, dtype=np.float32),
        "areas": np.array([each.area for each in segments], dtype=np.int64),
        "boxes": np.array([each.box for each in segments], dtype=np.int32).reshape(-1, 4),
        "is_thing": np.array([each.is_thing for each in segments], dtype=bool),
        "rle": np.array([each.rle["counts"] for each in segments], dtype=np.str_),
        "words": np.array(segmentation.vocabulary.names, dtype=np.str_),
        "task": np.array(segmentation.task),
    }


def to_supervision(segmentation: SegmentedImage) -> Any:
    """See `Segmentation.to_supervision`."""
    try:
        supervision = importlib.import_module("supervision")
    except ImportError as error:
        raise ImportError(
            "to_supervision needs the package supervision: pip install supervision"
        ) from error
    table = arrays(segmentation)
    masks = [segment.mask for segment in segmentation.segments]
    height, width = segmentation.label_map_HW.shape
    return supervision.Detections(
        xyxy=segmentation.boxes_xyxy,
        mask=np.array(masks, dtype=bool).reshape(-1, height, width),
        confidence=np.nan_to_num(table["scores"], nan=1.0),
        class_id=table["class_index"].astype(int),
        data={"class_name": table["names"], "segment_id": table["ids"]},
    )


def write_picture(path: Path, image: Image.Image) -> None:
    """Writes an image in the format of the file's ending, whole or not at all."""
    write_atomically(path, lambda part: image.save(part, quality=95))


def _write_npz(part: Path, content: Mapping[str, NDArray[Any]]) -> None:
    with part.open("wb") as file:  # numpy would add an ending to a name such as A.NPZ
        np.savez_compressed(file, **content)
