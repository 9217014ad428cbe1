"""One segment of an image: its name, score, area, box and mask.

Legend: H and W pixels of the image.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from frozenseg.vocab import Vocabulary


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
