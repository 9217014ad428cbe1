"""Segments drawn over an image: transparent colours, outlines and labels.

Legend: H and W pixels of an image. Images are RGB uint8 (H, W, 3).
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frozenseg.visualization.segment_geometry import (
    Anchor,
    boundaries,
    crop,
    label_anchors,
    masks_of,
)
from frozenseg.visualization.segment_labels import PlacedLabel, draw_labels
from frozenseg.visualization.text import BLACK, RGB, WHITE, text_size

OUTLINE_OPACITY = 0.75
BRIGHT = 170  # mean value from which on a segment is outlined in black, not white
LABELS_PER_SEGMENT = 6  # at most, for a segment in several parts


@dataclass(frozen=True)
class SegmentStyle:
    """How a segment is shown: its name, colour and, where known, its score in 0..1."""

    name: str
    color: RGB
    score: float | None = None


def overlay_label_map(
    image_HW3: NDArray[np.uint8],
    label_map_HW: NDArray[np.integer[Any]],
    styles: Mapping[int, SegmentStyle],
    *,
    opacity: float = 0.5,
    labels: bool = True,
) -> NDArray[np.uint8]:
    """The image with every segment of a panoptic or semantic label map in its colour.

    Args:
        label_map_HW: id of the segment of every pixel; 0 and ids without a style stay unpainted.
        styles: name and colour for each id.
        opacity: of the colours, 0 (only outlines) to 1.
        labels: write the names into the segments, as far as there is room.
    Returns: a new image of the same size; pixels of no segment are unchanged, labels apart.
    Raises: ValueError if the image is not (H, W, 3) uint8 or the sizes differ.
    """
    check_image(image_HW3)
    _check_size(image_HW3, label_map_HW.shape, "label map")
    shown_HW = np.where(np.isin(label_map_HW, list(styles)), label_map_HW, 0)
    outline_HW = boundaries(shown_HW, _line_width(image_HW3))
    result_HW3 = image_HW3.copy()
    placed = []
    for number, (top, left), mask_HW in masks_of(shown_HW):
        style = styles[number]
        here = np.s_[top : top + mask_HW.shape[0], left : left + mask_HW.shape[1]]
        _paint(result_HW3[here], mask_HW, outline_HW[here] & mask_HW, style.color, opacity)
        if labels:
            anchors = label_anchors((top, left), mask_HW, most=LABELS_PER_SEGMENT)
            area = int(mask_HW.sum())
            placed += [_label(style, each, area) for each in _spread(anchors, shown_HW.shape)]
    draw_labels(result_HW3, placed)
    return result_HW3


def overlay_masks(
    image_HW3: NDArray[np.uint8],
    masks: Iterable[NDArray[np.bool_]],
    styles: Sequence[SegmentStyle],
    *,
    opacity: float = 0.5,
    labels: bool = True,
) -> NDArray[np.uint8]:
    """The image with masks that may overlap, later ones on top; otherwise as `overlay_label_map`.

    Args:
        masks: bool (H, W) each, taken one at a time; empty masks are left out.
        styles: one for each mask.
    Raises: ValueError like `overlay_label_map`, and if there are more or fewer masks than styles.
    """
    check_image(image_HW3)
    result_HW3 = image_HW3.copy()
    placed = []
    for mask_HW, style in zip(masks, styles, strict=True):
        _check_size(image_HW3, mask_HW.shape, "mask")
        found = crop(mask_HW)
        if found is None:
            continue
        (top, left), part_HW = found
        height, width = part_HW.shape
        region_HW3 = result_HW3[top : top + height, left : left + width]
        outline_HW = boundaries(np.pad(part_HW, 1).astype(np.uint8), _line_width(image_HW3))
        _paint(region_HW3, part_HW, outline_HW[1:-1, 1:-1], style.color, opacity)
        if labels:
            anchor = label_anchors((top, left), part_HW)[0]
            placed.append(_label(style, anchor, int(part_HW.sum())))
    draw_labels(result_HW3, placed)
    return result_HW3


def check_image(image_HW3: NDArray[np.uint8]) -> None:
    """Raises: ValueError unless the array is a non-empty RGB uint8 image (H, W, 3)."""
    if image_HW3.dtype != np.uint8 or image_HW3.ndim != 3 or image_HW3.shape[2] != 3:
        raise ValueError(
            f"an image must be RGB uint8 of shape (H, W, 3), got {image_HW3.dtype} "
            f"{tuple(image_HW3.shape)}: convert it first"
        )
    if not image_HW3.size:
        raise ValueError(f"an image must have pixels, got the shape {tuple(image_HW3.shape)}")


def _check_size(image_HW3: NDArray[np.uint8], shape: tuple[int, ...], what: str) -> None:
    if shape != image_HW3.shape[:2]:
        raise ValueError(
            f"the {what} is {shape} but the image is {image_HW3.shape[:2]}: resize one to the other"
        )


def _line_width(image_HW3: NDArray[np.uint8]) -> int:
    """Outlines of 1 pixel up to about 900 x 900, thicker above."""
    height, width = image_HW3.shape[:2]
    return max(1, round(math.sqrt(height * width) / 600))


def _paint(
    region_HW3: NDArray[np.uint8],
    mask_HW: NDArray[np.bool_],
    outline_HW: NDArray[np.bool_],
    color: RGB,
    opacity: float,
) -> None:
    """Colours a segment and its outline in place: white, or black where white would not be seen."""
    _blend(region_HW3, mask_HW, color, opacity)
    bright = region_HW3[mask_HW].mean() >= BRIGHT
    _blend(region_HW3, outline_HW, BLACK if bright else WHITE, OUTLINE_OPACITY)


def _blend(
    region_HW3: NDArray[np.uint8],
    mask_HW: NDArray[np.bool_],
    color: RGB,
    opacity: float,
) -> None:
    """Mixes the colour into the masked pixels, in place."""
    pixels = region_HW3[mask_HW].astype(np.float32)
    mixed = pixels + opacity * (np.asarray(color, dtype=np.float32) - pixels)
    region_HW3[mask_HW] = np.rint(mixed).astype(np.uint8)


def _spread(anchors: list[Anchor], size: tuple[int, ...]) -> list[Anchor]:
    """The first, and others with room for text that are far from all before them."""
    height, width = size
    far, room = 0.25 * (height * width) ** 0.5, text_size(height, width)
    kept = anchors[:1]
    for x, y, radius in anchors[1:]:
        if radius >= room and all(math.hypot(x - k.x, y - k.y) >= far for k in kept):
            kept.append(Anchor(x, y, radius))
    return kept


def _label(style: SegmentStyle, anchor: Anchor, area: int) -> PlacedLabel:
    x, y, radius = anchor
    return PlacedLabel(style.name, style.score, style.color, x, y, radius, area)
