"""Which pixels the segments of ground truth and prediction share: all that PQ needs.

Everything about names and matches is then worked out on small tables, not on pixels.

Legend: T rows of the ground truth (row 0 is unlabelled), Q predicted segments, C classes, H and W
pixels.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

UNLABELLED = -1


@dataclass(frozen=True)
class SegmentTable:
    """The segments of one image.

    Attributes:
        pixels_TQ: shared pixels; every predicted pixel is in one row.
        area_T: pixels of the rows, also those that no prediction has.
        truth_T: class of each row, `UNLABELLED` for the first.
        crowd_T: rows of several segments together: neither found nor missed.
        predicted_Q, scores_Q: class and score; NaN where the model gives none.
    """

    pixels_TQ: NDArray[np.int64]
    area_T: NDArray[np.int64]
    truth_T: NDArray[np.int64]
    crowd_T: NDArray[np.bool_]
    predicted_Q: NDArray[np.int64]
    scores_Q: NDArray[np.float64]

    @cached_property
    def area_Q(self) -> NDArray[Any]:
        """Pixels of the predicted segments."""
        return self.pixels_TQ.sum(0)

    @cached_property
    def region_T(self) -> NDArray[np.bool_]:
        """Rows that can be found."""
        return (self.truth_T != UNLABELLED) & ~self.crowd_T

    @cached_property
    def iou_TQ(self) -> NDArray[np.float64]:
        """IoU as PQ has it, without unlabelled pixels; 0 in rows that cannot be found."""
        union = self.area_T[:, None] + self.area_Q - self.pixels_TQ - self.pixels_TQ[0]
        return np.where(self.region_T[:, None], self.pixels_TQ / np.maximum(union, 1), 0.0)

    @cached_property
    def found_T(self) -> NDArray[np.int64]:
        """The predicted segment that fits a region (IoU > 0.5: at most one), else -1."""
        return _where_fits(self.iou_TQ)

    @cached_property
    def region_Q(self) -> NDArray[np.int64]:
        """The row that a predicted segment fits, else -1."""
        return _where_fits(self.iou_TQ.T)

    @cached_property
    def ignored_Q(self) -> NDArray[np.bool_]:
        """Segments that are not wrong: mostly unlabelled pixels or a crowd of their class."""
        of_class = self.crowd_T[:, None] & (self.truth_T[:, None] == self.predicted_Q)
        last_Q = len(of_class) - 1 - of_class[::-1].argmax(0)  # panopticapi knows one crowd a class
        crowd_Q = np.take_along_axis(self.pixels_TQ * of_class, last_Q[None], 0)[0]
        return self.pixels_TQ[0] + crowd_Q > 0.5 * self.area_Q

    def named(self, names_Q: NDArray[np.int64], thing_C: NDArray[np.bool_]) -> SegmentTable:
        """The same segments under other names; stuff of one name becomes one segment."""
        key_Q = np.where(thing_C[names_Q], len(thing_C) + np.arange(len(names_Q)), names_Q)
        _, first, group_Q = np.unique(key_Q, return_index=True, return_inverse=True)
        pixels = np.zeros((len(self.area_T), len(first)), dtype=np.int64)
        np.add.at(pixels.T, group_Q, self.pixels_TQ.T)
        scores = np.full(len(first), np.nan)
        np.fmax.at(scores, group_Q, self.scores_Q)
        return replace(self, pixels_TQ=pixels, predicted_Q=names_Q[first], scores_Q=scores)

    def with_true_names(self, thing_C: NDArray[np.bool_]) -> SegmentTable:
        """The model's masks under the name of the region of largest IoU, if they touch any."""
        if not self.pixels_TQ.size:
            return self
        best = self.iou_TQ.max(0) > 0
        return self.named(
            np.where(best, self.truth_T[self.iou_TQ.argmax(0)], self.predicted_Q), thing_C
        )

    def with_true_masks(self, thing_C: NDArray[np.bool_]) -> SegmentTable:
        """The regions of the ground truth under the name of the mask with the largest IoU.

        A region that no mask touches stays without a name: it is missed.
        """
        if not self.pixels_TQ.size:
            return self
        rows = np.flatnonzero(self.iou_TQ.max(1) > 0)
        which = self.iou_TQ[rows].argmax(1)
        pixels = np.zeros((len(self.area_T), len(rows)), dtype=np.int64)
        pixels[rows, np.arange(len(rows))] = self.area_T[rows]
        own = replace(self, pixels_TQ=pixels, scores_Q=self.scores_Q[which])
        return own.named(self.predicted_Q[which], thing_C)


def _where_fits(iou: NDArray[np.float64]) -> NDArray[np.int64]:
    """Per row the column above 0.5, else -1."""
    if not iou.shape[1]:
        return np.full(len(iou), -1)
    return np.where(iou.max(1) > 0.5, iou.argmax(1), -1)


def segment_table(
    ids_HW: NDArray[Any],
    segments: Sequence[Mapping[str, Any]],
    predicted_HW: NDArray[Any],
    found: Sequence[Mapping[str, Any]],
    counted_HW: NDArray[np.bool_] | None = None,
) -> SegmentTable:
    """The table of an image.

    Args:
        ids_HW: segment ids of the ground truth; those that `segments` lacks are unlabelled.
        segments: id, category_id (class index) and iscrowd of each; without a pixel it has no row.
        predicted_HW, found: segment ids and id, category_id and score of each of the prediction.
        counted_HW: only these pixels count (the others' segments keep their rows).
    """
    truth_HW = positions(ids_HW, [segment["id"] for segment in segments])
    columns_HW = positions(predicted_HW, [segment["id"] for segment in found])
    there_T = np.bincount(truth_HW.ravel(), minlength=len(segments) + 1) > 0
    there_T[0] = True
    if counted_HW is not None:
        truth_HW, columns_HW = truth_HW[counted_HW], columns_HW[counted_HW]
    width = len(found) + 1
    pairs = np.bincount((truth_HW * width + columns_HW).ravel(), minlength=len(there_T) * width)
    pixels = pairs.reshape(-1, width)[there_T]
    return SegmentTable(
        pixels[:, 1:],
        pixels.sum(1),
        np.array([UNLABELLED, *(s["category_id"] for s in segments)], dtype=np.int64)[there_T],
        np.array([False, *(bool(s.get("iscrowd")) for s in segments)])[there_T],
        np.array([s["category_id"] for s in found], dtype=np.int64),
        np.array([s.get("score", np.nan) for s in found], dtype=np.float64),
    )


def positions(ids_HW: NDArray[Any], listed: Sequence[int]) -> NDArray[np.int64]:
    """Of each pixel 1 + the place of its id in `listed`, 0 if it is not there."""
    if not listed:
        return np.zeros(ids_HW.shape, dtype=np.int64)
    order = np.argsort(listed)
    ascending = np.asarray(listed, dtype=np.int64)[order]
    place = np.searchsorted(ascending, ids_HW).clip(max=len(listed) - 1)
    return np.where(ascending[place] == ids_HW, order[place] + 1, 0)


def boundary_pixels(ids_HW: NDArray[Any], distance: int) -> NDArray[np.bool_]:
    """Pixels with another id, or the image's edge, within a square of `distance` pixels around.

    Of every segment these are what Boundary IoU counts: the mask less its erosion, all masks at
    once. Source: Cheng et al., Boundary IoU, arXiv:2103.16562, section 4.
    """
    import cv2

    values, index = np.unique(ids_HW, return_inverse=True)
    kind = np.uint16 if len(values) < 2**16 - 1 else np.float32  # those that OpenCV filters
    index = np.pad(index.reshape(ids_HW.shape) + 1, distance).astype(kind)
    square = np.ones((2 * distance + 1, 2 * distance + 1), dtype=np.uint8)
    edge = cv2.erode(index, square) != cv2.dilate(index, square)
    return np.asarray(edge[distance:-distance, distance:-distance])


def boundary_distance(size: tuple[int, ...], ratio: float = 0.02) -> int:
    """Boundary IoU's distance in pixels: 2 % of the image's diagonal, at least 1."""
    return max(1, round(ratio * math.hypot(*size[:2])))
