"""From an exported model's classes and masks to results, by numpy: `frozenseg.inference` says how.

Legend: Q queries, C classes, C1 = C + 1 (void last), N chosen masks, I, J rows and columns of mask
logits, Y, X rows and columns of the result, P pixels of a strip.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frozenseg.inference.segment_ids import assign_ids, best_of_duplicates
from frozenseg.resize import axis_weights
from frozenseg.structures import ImageGeometry, TaskSettings

Floats = NDArray[np.float32]

STRIP_FLOATS = 1 << 21  # of all masks in a strip: 8 MB
_SATURATED = 1e4  # stands for infinity in mask logits


def solve_task(
    class_logits_QC1: Floats,
    mask_logits_QIJ: Floats,
    geometry: ImageGeometry,
    thing_C: NDArray[np.bool_],
    settings: TaskSettings,
) -> Mapping[str, Any]:
    """The results of the tasks that are on, under detectron2's keys, as `inference.solve_tasks`.

    Temporaries stay at a few strips of masks, whatever the size of the output.
    Args: as there; of proposals there are none.
    Returns: "panoptic_seg" (labels (Y, X), segments), "semantic_labels" (Y, X), "instances" with
        `scores`, `pred_classes` and `pred_masks` (N, Y, X).
    """
    probs_QC1 = softmax(class_logits_QC1.astype(np.float32))
    large = {"nan": -_SATURATED, "posinf": _SATURATED, "neginf": -_SATURATED}
    masks_QIJ = np.nan_to_num(mask_logits_QIJ.astype(np.float32), copy=False, **large)
    results: dict[str, Any] = {}
    if settings.panoptic:
        results["panoptic_seg"] = _panoptic(probs_QC1, masks_QIJ, geometry, thing_C, settings)
    if settings.semantic:
        results["semantic_labels"] = _semantic(probs_QC1[:, :-1], masks_QIJ, geometry, settings)
    if settings.instance:
        things_C = thing_C if settings.panoptic else np.ones_like(thing_C)
        limit = settings.detections_per_image
        results["instances"] = _instances(probs_QC1[:, :-1], masks_QIJ, geometry, things_C, limit)
    return results


def _panoptic(
    probs_QC1: Floats,
    masks_QIJ: Floats,
    geometry: ImageGeometry,
    thing_C: NDArray[np.bool_],
    settings: TaskSettings,
) -> tuple[NDArray[np.int32], list[dict[str, Any]]]:
    """See `inference.panoptic.PanopticAccumulator`."""
    classes_Q, scores_Q = probs_QC1.argmax(1), probs_QC1.max(1)
    kept_Q = (classes_Q != len(thing_C)) & (scores_Q > settings.object_mask_threshold)
    if settings.panoptic_max_iou < 1:
        kept_Q[kept_Q] = _stays(masks_QIJ[kept_Q], scores_Q[kept_Q], geometry, settings)
    classes_N, scores_N = classes_Q[kept_Q], scores_Q[kept_Q]
    count = len(classes_N)
    winner_YX = np.zeros(geometry.output, dtype=np.int32)
    area_N, won_N, painted_N = np.zeros((3, count), dtype=np.int64)
    for rows, masks_NP in _strips(masks_QIJ[kept_Q], geometry):
        area_N += (masks_NP >= 0.5).sum(1)
        best_P = (masks_NP * scores_N[:, None]).argmax(0)
        painted_P = (best_P + 1) * (masks_NP[best_P, np.arange(len(best_P))] >= 0.5)
        won_N += np.bincount(best_P, minlength=count)
        painted_N += np.bincount(painted_P, minlength=count + 1)[1:]
        winner_YX[rows] = painted_P.reshape(-1, geometry.output[1])
    columns = (classes_N, scores_N, area_N, won_N, painted_N)
    winners = zip(*(column.tolist() for column in columns), strict=True)
    ids, segments_info = assign_ids(winners, thing_C.tolist(), settings.overlap_threshold)
    return np.array(ids, dtype=np.int32)[winner_YX], segments_info


def _stays(
    masks_NIJ: Floats, scores_N: Floats, geometry: ImageGeometry, settings: TaskSettings
) -> NDArray[np.bool_]:
    """See `inference.panoptic.drop_duplicates`."""
    rows, columns = geometry.image_cells((masks_NIJ.shape[1], masks_NIJ.shape[2]))
    masks_NP = (masks_NIJ[:, rows, columns] > 0).reshape(len(scores_N), -1).astype(np.float32)
    return best_of_duplicates(masks_NP @ masks_NP.T, scores_N, settings.panoptic_max_iou)


def _semantic(
    probs_QC: Floats, masks_QIJ: Floats, geometry: ImageGeometry, settings: TaskSettings
) -> NDArray[np.int64]:
    """See `inference.semantic`: the class with the largest sum of probability times mask."""
    labels_YX = np.empty(geometry.output, dtype=np.int64)
    width = geometry.output[1]
    if not settings.semantic_at_padded_size or geometry.image == geometry.output:
        for rows, masks_QP in _strips(masks_QIJ, geometry):
            labels_YX[rows] = (masks_QP.T @ probs_QC).argmax(1).reshape(-1, width)
        return labels_YX
    to_image = _Resizer(masks_QIJ.shape[1:], replace(geometry, output=geometry.image))
    to_output = _Resizer(geometry.image, replace(geometry, padded=geometry.image))
    queries, classes = probs_QC.shape
    shrink = geometry.image[0] * geometry.image[1] / (geometry.output[0] * geometry.output[1])
    for rows in to_output.strips(max(classes, int(queries * shrink))):
        masks_QiX = _sigmoid(to_image(masks_QIJ, to_output.band(rows)))
        sums_CiX = np.tensordot(probs_QC, masks_QiX, (0, 0))
        labels_YX[rows] = to_output.resized(sums_CiX, rows).argmax(0)
    return labels_YX


def _instances(
    probs_QC: Floats,
    masks_QIJ: Floats,
    geometry: ImageGeometry,
    wanted_C: NDArray[np.bool_],
    limit: int,
) -> SimpleNamespace:
    """See `inference.instance`: the best (query, class) pairs, scored by class and mask."""
    best_K = np.argsort(-probs_QC, axis=None, kind="stable")[:limit]
    queries_K, classes_K = np.divmod(best_K, probs_QC.shape[1])
    queries_N, classes_N = queries_K[wanted_C[classes_K]], classes_K[wanted_C[classes_K]]
    rows_R, row_N = np.unique(queries_N, return_inverse=True)
    masks_NYX = np.empty((len(queries_N), *geometry.output), dtype=bool)
    area_N, inside_N = np.zeros((2, len(queries_N)))
    for rows, masks_RP in _strips(masks_QIJ[rows_R], geometry):
        masks_NP = masks_RP[row_N]
        positive_NP = masks_NP > 0.5
        masks_NYX[:, rows] = positive_NP.reshape(len(row_N), -1, geometry.output[1])
        area_N += positive_NP.sum(1)
        inside_N += (masks_NP * positive_NP).sum(1)
    quality_N = (inside_N / (area_N + 1e-6)).astype(np.float32)
    return SimpleNamespace(
        scores=probs_QC[queries_N, classes_N] * quality_N,
        pred_classes=classes_N,
        pred_masks=masks_NYX,
    )


def _strips(logits_NIJ: Floats, geometry: ImageGeometry) -> Iterator[tuple[slice, Floats]]:
    """Rows of the output and the probabilities (N, P) of their pixels; nothing without masks."""
    resizer = _Resizer(logits_NIJ.shape[1:], geometry)
    for rows in resizer.strips(len(logits_NIJ)) if len(logits_NIJ) else ():
        yield rows, _sigmoid(resizer(logits_NIJ, rows)).reshape(len(logits_NIJ), -1)


class _Resizer:
    """The way of masks to the output, bilinear, for some of its rows: `inference.strips`."""

    def __init__(self, source: tuple[int, ...], geometry: ImageGeometry) -> None:
        sides = zip(source, geometry.padded, geometry.image, geometry.output, strict=True)
        self._rows_YI, self._columns_XJ = (axis_weights(*s).astype(np.float32) for s in sides)

    def __call__(self, maps_NIJ: Floats, rows: slice) -> Floats:
        """The target rows (N, y, X) of whole maps."""
        return self.resized(maps_NIJ[:, self.band(rows)], rows)

    def band(self, rows: slice) -> slice:
        """The source rows that the target rows depend on."""
        (used,) = self._rows_YI[rows].any(0).nonzero()
        return slice(used[0], used[-1] + 1)

    def resized(self, band_NiJ: Floats, rows: slice) -> Floats:
        """The target rows (N, y, X) of the source rows `band(rows)`."""
        count, height, width = band_NiJ.shape
        wide = band_NiJ.reshape(count * height, width) @ self._columns_XJ.T
        weights_yi = self._rows_YI[rows, self.band(rows)]
        resized: Floats = weights_yi @ wide.reshape(count, height, -1)
        return resized

    def strips(self, channels: int) -> Iterator[slice]:
        """Target rows, as many at a time as keep a strip of so many maps at a good size."""
        height, width = len(self._rows_YI), len(self._columns_XJ)
        step = max(1, STRIP_FLOATS // (channels * width))
        return (slice(top, min(top + step, height)) for top in range(0, height, step))


def softmax(logits: Floats) -> Floats:
    """Along the last axis."""
    powers = np.exp(logits - logits.max(-1, keepdims=True))
    probs: Floats = powers / powers.sum(-1, keepdims=True)
    return probs


def _sigmoid(logits: Floats) -> Floats:
    """In place, without overflow: exp(-x) of the smallest logit here, -1e4, would be infinite."""
    np.negative(logits, out=logits)
    np.exp(np.minimum(logits, 80, out=logits), out=logits)
    np.add(logits, 1, out=logits)
    return np.reciprocal(logits, out=logits)
