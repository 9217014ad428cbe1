"""Segments of a job as small pictures: their surroundings in the image, with their outline."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from frozenseg.labelling.inputs import Store, pixels_of
from frozenseg.labelling.parts import Manifest, member_of
from frozenseg.visualization.contact_sheet import TILE, Tile
from frozenseg.visualization.overlay import SegmentStyle, overlay_masks
from frozenseg.visualization.segment_labels import caption

_MARGIN = 0.3  # of a segment's larger side, shown around it
_COLOR = (255, 60, 60)


def tile(output: Path, manifest: Manifest, row: dict[str, Any], *first: str) -> Tile:
    """A segment's surroundings with its outline, grey where the image is gone; its lines.

    Args: first: lines before those with class, score and name of the image.
    """
    lines = (*first, caption(row["class_name"], row["score"]), row["path"].rpartition("/")[2])
    try:
        member = member_of(output, manifest, row["image_id"])
        image_HW3 = pixels_of(member, Store(manifest.input))
        if image_HW3.shape[:2] != (row["height"], row["width"]):
            raise ValueError(f"{row['path']}: is another image now")
    except (OSError, ValueError):
        return Tile(None, (*lines, "(the image is gone)"))
    return Tile(cutout(image_HW3, row), lines)


def cutout(image_HW3: NDArray[np.uint8], row: dict[str, Any]) -> NDArray[np.uint8]:
    """A segment's surroundings with its outline, at the size of a tile."""
    import cv2

    counts = {"size": [row["height"], row["width"]], "counts": row["rle"]}
    mask_HW = coco_mask.decode(counts)
    left, top, width, height = row["box"]
    margin = round(_MARGIN * max(width, height)) + 4
    here = np.s_[
        max(0, top - margin) : top + height + margin, max(0, left - margin) : left + width + margin
    ]
    part_HW3, part_HW = image_HW3[here], mask_HW[here]
    scale = TILE / max(part_HW.shape)
    size = (max(1, round(part_HW.shape[1] * scale)), max(1, round(part_HW.shape[0] * scale)))
    smooth = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST
    shown_HW3 = np.asarray(cv2.resize(part_HW3, size, interpolation=smooth), np.uint8)
    shown_HW = cv2.resize(part_HW, size, interpolation=cv2.INTER_NEAREST).astype(bool)
    style = SegmentStyle("", _COLOR)
    return overlay_masks(shown_HW3, [shown_HW], [style], opacity=0.2, labels=False)
