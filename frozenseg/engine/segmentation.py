"""What a model says about one image: segments with names, as pictures, label map and JSON.

Legend: H and W pixels of the image.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pycocotools import mask as coco_mask

from frozenseg.data.atomic import write_atomically
from frozenseg.visualization.overlay import SegmentStyle, overlay_label_map, overlay_masks
from frozenseg.visualization.regions import ids_of, nearest_resize
from frozenseg.visualization.sheet import side_by_side, to_picture_size
from frozenseg.vocab import Vocabulary

LARGEST_ID = 65535  # of a 16-bit PNG
FORMAT_VERSION = 1


@dataclass(frozen=True)
class Segment:
    """One segment.

    Attributes:
        id: its value in the label map, from 1.
        class_index: index into the vocabulary.
        score: 0..1, or None where the task gives none.
        area: pixels of its mask.
        box: (x, y, width, height) in pixels.
        rle: the mask in COCO's compressed run-length form, {"size": [H, W], "counts": text}.
    """

    id: int
    class_index: int
    name: str
    is_thing: bool
    score: float | None
    area: int
    box: tuple[int, int, int, int]
    rle: dict[str, Any]

    @property
    def mask(self) -> NDArray[np.bool_]:
        """The mask, bool (H, W)."""
        return coco_mask.decode(self.rle).astype(bool)

    def to_json(self) -> dict[str, Any]:
        """The segment as an object for JSON."""
        return {
            "id": self.id,
            "category_id": self.class_index,
            "category_name": self.name,
            "is_thing": self.is_thing,
            "score": None if self.score is None else round(self.score, 6),
            "area": self.area,
            "bbox": list(self.box),
            "segmentation": self.rle,
        }


@dataclass(frozen=True)
class Segmentation:
    """The segments of one image.

    Attributes:
        label_map_HW: int32, id of the segment of every pixel (the best instance where several
            overlap), 0 where there is none.
        segments: instances by falling score; panoptic and semantic segments by id.
        task: "panoptic", "semantic" or "instance".
    """

    label_map_HW: NDArray[np.int32]
    segments: tuple[Segment, ...]
    vocabulary: Vocabulary
    task: str

    @property
    def styles(self) -> dict[int, SegmentStyle]:
        """Name, the vocabulary's colour and score of every segment, by id."""
        colors = self.vocabulary.colors
        return {s.id: SegmentStyle(s.name, colors[s.class_index], s.score) for s in self.segments}

    def overlay(self, image_HW3: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """The segments drawn over their image (RGB uint8), or over a resized version of it."""
        styles, size = self.styles, (image_HW3.shape[0], image_HW3.shape[1])
        if self.task != "instance":
            return overlay_label_map(image_HW3, nearest_resize(self.label_map_HW, size), styles)
        bottom_first = self.segments[::-1]
        masks = (nearest_resize(segment.mask, size) for segment in bottom_first)
        return overlay_masks(image_HW3, masks, [styles[segment.id] for segment in bottom_first])

    def sheet(self, image_HW3: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Image and prediction side by side with a legend, the largest segments first."""
        styles = self.styles
        by_area = sorted(self.segments, key=lambda segment: -segment.area)
        shown_HW3 = to_picture_size(image_HW3)
        pictures = [("image", shown_HW3), (f"{self.task} prediction", self.overlay(shown_HW3))]
        return side_by_side(pictures, [styles[segment.id] for segment in by_area])

    def to_json(self) -> dict[str, Any]:
        """Size, words and segments as an object for JSON."""
        height, width = self.label_map_HW.shape
        return {
            "format_version": FORMAT_VERSION,
            "task": self.task,
            "image_size": {"height": height, "width": width},
            "vocabulary": [
                {"name": each.name, "synonyms": list(each.synonyms), "is_thing": thing}
                for each, thing in zip(
                    self.vocabulary.classes, self.vocabulary.thing_mask, strict=True
                )
            ],
            "segments": [segment.to_json() for segment in self.segments],
        }

    def save(
        self, folder: Path, name: str, image_HW3: NDArray[np.uint8], about: Mapping[str, Any]
    ) -> dict[str, Path]:
        """Writes NAME_overlay.png, NAME_sheet.png, NAME_labels.png and, last, NAME.json.

        The label map is a 16-bit grey PNG of segment ids. Each file is complete or not there.
        Args:
            about: further entries of the JSON object, put first (image, model, weights, ...).
        Returns: the paths by kind ("overlay", "sheet", "labels", "json").
        """
        folder.mkdir(parents=True, exist_ok=True)
        paths = {kind: folder / f"{name}_{kind}.png" for kind in ("overlay", "sheet", "labels")} | {
            "json": folder / f"{name}.json"
        }
        pictures: dict[str, NDArray[Any]] = {
            "overlay": self.overlay(image_HW3),
            "sheet": self.sheet(image_HW3),
            "labels": self.label_map_HW.astype(np.uint16),
        }
        for kind, array in pictures.items():
            write_atomically(paths[kind], _png_writer(array))
        content = {**about, "label_map": paths["labels"].name, **self.to_json()}
        text = json.dumps(content, ensure_ascii=False, indent=1) + "\n"
        write_atomically(paths["json"], lambda part: part.write_text(text, encoding="utf-8"))
        return paths


def _png_writer(array: NDArray[np.generic]) -> Callable[[Path], object]:
    return lambda part: Image.fromarray(array).save(part, format="PNG")


def from_label_map(
    label_map_HW: NDArray[np.integer],
    classes: Mapping[int, int],
    vocabulary: Vocabulary,
    task: str,
    scores: Mapping[int, float | None] | None = None,
) -> Segmentation:
    """A segmentation from a map of ids.

    Args:
        classes: class index of every id in the map except 0; ids without pixels are left out.
        scores: score of an id, where there is one.
    """
    check_ids(label_map_HW)
    segments = []
    for number in ids_of(label_map_HW):
        if number not in classes:
            raise ValueError(f"the label map has the id {number}, which no segment explains")
        mask_HW, score = label_map_HW == number, (scores or {}).get(number)
        segments.append(make_segment(number, mask_HW, classes[number], score, vocabulary))
    return Segmentation(label_map_HW.astype(np.int32), tuple(segments), vocabulary, task)


def from_masks(
    detections: Iterable[tuple[NDArray[np.bool_], int, float]],
    size: tuple[int, int],
    vocabulary: Vocabulary,
) -> Segmentation:
    """An instance segmentation from masks that may overlap; the best score owns a pixel.

    Args:
        detections: (mask (H, W), class index, score), by falling score; taken one at a time. Empty
            masks are left out; the others get the ids 1, 2, ...
        size: (H, W), for the case of no mask.
    """
    label_map_HW = np.zeros(size, dtype=np.int32)
    segments: list[Segment] = []
    for mask_HW, class_index, score in detections:
        if mask_HW.any():
            number = len(segments) + 1
            label_map_HW[mask_HW & (label_map_HW == 0)] = number
            segments.append(make_segment(number, mask_HW, class_index, score, vocabulary))
    check_ids(label_map_HW)
    return Segmentation(label_map_HW, tuple(segments), vocabulary, "instance")


def make_segment(
    number: int,
    mask_HW: NDArray[np.bool_],
    class_index: int,
    score: float | None,
    vocabulary: Vocabulary,
) -> Segment:
    """The segment of a mask that is not empty."""
    rle = coco_mask.encode(np.asfortranarray(mask_HW, dtype=np.uint8))
    box = tuple(int(value) for value in coco_mask.toBbox(rle))
    return Segment(
        id=number,
        class_index=class_index,
        name=vocabulary.names[class_index],
        is_thing=vocabulary.thing_mask[class_index],
        score=score,
        area=int(coco_mask.area(rle)),
        box=(box[0], box[1], box[2], box[3]),
        rle={"size": [int(side) for side in rle["size"]], "counts": rle["counts"].decode("ascii")},
    )


def check_ids(label_map_HW: NDArray[np.integer]) -> None:
    """Raises: ValueError for ids that a 16-bit label map cannot hold."""
    if label_map_HW.size and (label_map_HW.min() < 0 or label_map_HW.max() > LARGEST_ID):
        raise ValueError(
            f"segment ids must be 0..{LARGEST_ID} to fit a 16-bit label map, got "
            f"{label_map_HW.min()}..{label_map_HW.max()}: number the segments anew"
        )
