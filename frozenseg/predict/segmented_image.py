"""The segments of an image with their names: as objects, for JSON, drawn over the image.

Legend: H and W pixels of the image.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from frozenseg.data.coco_writing import encode_mask
from frozenseg.errors import explained_imports
from frozenseg.resize import nearest_resize
from frozenseg.visualization.overlay import SegmentStyle, overlay_label_map, overlay_masks
from frozenseg.visualization.sheet import side_by_side, to_picture_size
from frozenseg.vocab import Vocabulary

FORMAT_VERSION = 2  # 1 had class indices, from 0, as category ids


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
    rle: dict[str, Any] = dataclasses.field(hash=False)

    @property
    def mask(self) -> NDArray[np.bool_]:
        """The mask, bool (H, W)."""
        mask_HW: NDArray[np.bool_] = coco_mask.decode(self.rle).astype(bool)
        return mask_HW

    def to_json(self, category_id: int | None = None) -> dict[str, Any]:
        """The segment as an object for JSON.

        Args: category_id: of `Vocabulary.category_ids`; None: class index + 1.
        """
        return {
            "id": self.id,
            "category_id": self.class_index + 1 if category_id is None else category_id,
            "category_name": self.name,
            "is_thing": self.is_thing,
            "score": None if self.score is None else round(self.score, 6),
            "area": self.area,
            "bbox": list(self.box),
            "segmentation": self.rle,
        }


def make_segment(
    number: int,
    mask_HW: NDArray[np.bool_],
    class_index: int,
    score: float | None,
    vocabulary: Vocabulary,
) -> Segment:
    """The segment of a mask that is not empty."""
    area, box, rle = encode_mask(mask_HW)
    name, is_thing = vocabulary.names[class_index], vocabulary.thing_mask[class_index]
    return Segment(number, class_index, name, is_thing, score, area, box, rle)


@dataclass(frozen=True, eq=False)
class SegmentedImage:
    """The segments of one image, and what can be drawn or said of them; `Segmentation` saves them.

    It is also the sequence of its segments (`len`, index, iteration; false where there are none).
    Two of them are equal only if they are the same object, as arrays have no other equality.

    Attributes:
        label_map_HW: int32, id of the segment of every pixel (the best instance where several
            overlap), 0 where there is none.
        segments: instances by falling score; panoptic and semantic segments by id.
        task: "panoptic", "semantic" or "instance".
        image_HW3: the image itself, RGB uint8, where it is known.
        source: the path it was read from, "" where there is none.
    """

    label_map_HW: NDArray[np.int32]
    segments: tuple[Segment, ...]
    vocabulary: Vocabulary
    task: str
    image_HW3: NDArray[np.uint8] | None = dataclasses.field(default=None, repr=False)
    source: str = ""

    def __repr__(self) -> str:
        height, width = self.label_map_HW.shape
        names = ", ".join(segment.name for segment in self.segments[:8])
        more = ", ..." if len(self.segments) > 8 else ""
        return f"<{self.task} segmentation, {height} x {width}: {names or 'no segments'}{more}>"

    def __len__(self) -> int:
        return len(self.segments)

    def __iter__(self) -> Iterator[Segment]:
        return iter(self.segments)

    def __getitem__(self, index: int) -> Segment:
        return self.segments[index]

    @property
    def boxes_xyxy(self) -> NDArray[np.float32]:
        """The boxes (N, 4): left, top, right, bottom in pixels; right and bottom lie outside."""
        boxes_N4 = np.array([segment.box for segment in self.segments], np.float32).reshape(-1, 4)
        boxes_N4[:, 2:] += boxes_N4[:, :2]
        return boxes_N4

    @property
    def label_map(self) -> NDArray[np.int32]:
        """`label_map_HW`."""
        return self.label_map_HW

    @property
    def styles(self) -> dict[int, SegmentStyle]:
        """Name, the vocabulary's colour and score of every segment, by id."""
        colors = self.vocabulary.colors
        return {s.id: SegmentStyle(s.name, colors[s.class_index], s.score) for s in self.segments}

    @explained_imports()
    def overlay(self, image_HW3: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """The segments drawn over their image (RGB uint8), or over a resized version of it.

        Raises: ValueError if no image is given or known; ImportError without OpenCV, with what to
            install: an exported model's packages do not have it.
        """
        image_HW3 = self._image(image_HW3)
        styles, size = self.styles, (image_HW3.shape[0], image_HW3.shape[1])
        if self.task != "instance":
            return overlay_label_map(image_HW3, nearest_resize(self.label_map_HW, size), styles)
        bottom_first = self.segments[::-1]
        masks = (nearest_resize(segment.mask, size) for segment in bottom_first)
        return overlay_masks(image_HW3, masks, [styles[segment.id] for segment in bottom_first])

    @explained_imports()
    def sheet(self, image_HW3: NDArray[np.uint8] | None = None) -> NDArray[np.uint8]:
        """Image and prediction side by side with a legend, the largest segments first.

        Raises: ValueError if no image is given or known.
        """
        styles = self.styles
        by_area = sorted(self.segments, key=lambda segment: -segment.area)
        shown_HW3 = to_picture_size(self._image(image_HW3))
        pictures = [("image", shown_HW3), (f"{self.task} prediction", self.overlay(shown_HW3))]
        return side_by_side(pictures, [styles[segment.id] for segment in by_area])

    def to_json(self) -> dict[str, Any]:
        """Size, words and segments as an object for JSON."""
        height, width = self.label_map_HW.shape
        return {
            "format_version": FORMAT_VERSION,
            "task": self.task,
            "image_size": {"height": height, "width": width},
            "vocabulary": words_json(self.vocabulary),
            "segments": self.segments_json(),
        }

    def segments_json(self) -> list[dict[str, Any]]:
        """The segments as objects for JSON; the same `category_id` as in COCO exports."""
        ids = self.vocabulary.category_ids
        return [segment.to_json(ids[segment.class_index]) for segment in self.segments]

    def _image(self, image_HW3: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
        chosen = self.image_HW3 if image_HW3 is None else image_HW3
        if chosen is None:
            raise ValueError("this segmentation does not know its image: give it, RGB (H, W, 3)")
        return chosen


def words_json(vocabulary: Vocabulary) -> list[dict[str, Any]]:
    """The classes as objects for JSON; the same `category_id` as in COCO exports."""
    ids, things = vocabulary.category_ids, vocabulary.thing_mask
    return [
        {
            "category_id": number,
            "name": each.name,
            "synonyms": list(each.synonyms),
            "is_thing": thing,
        }
        for number, each, thing in zip(ids, vocabulary.classes, things, strict=True)
    ]
