"""Where PQ is lost: oracles, confusions, recall by size, calibration, boundaries, near misses.

Fed with the outputs that PQ is fed with. Every count is one of a class, so that memory is that of
C rows of `COLUMNS` numbers and of the confusions that occur.

Legend: C classes, T, R rows and regions of the ground truth, Q predicted segments.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from detectron2.utils import comm
from numpy.typing import NDArray

from frozenseg.data.reading import check_same_size, ids_of_rgb, read_panoptic_png
from frozenseg.evaluation.averages import CountingEvaluator, Groups
from frozenseg.evaluation.panoptic_quality import panoptic_scores
from frozenseg.evaluation.segment_table import (
    SegmentTable,
    boundary_distance,
    boundary_pixels,
    segment_table,
)
from frozenseg.evaluation.word_similarity import Similarity

ORACLES = ("real", "oracle_masks", "oracle_names")
# Regions up to this share of the image: COCO's 32 and 96 pixels squared, of 640 x 480.
SIZES = {"small": 32**2 / (640 * 480), "medium": 96**2 / (640 * 480), "large": 1.0}
BINS = 10
ERRORS = ("regions", "predicted", "missed", "misnamed", "invented", "inexact", "taken_for")
# Part of the counts -> its columns. "PQ" parts: true and false positives, false negatives, IoU.
PARTS = {
    **dict.fromkeys((*ORACLES, "boundary"), 4),
    "boundary_iou": 1,
    "errors": len(ERRORS),
    "recall": 3 * len(SIZES),  # by size: regions, found, named
    "calibration": 3 * BINS,  # by score: segments, sum of scores, right ones
}
MOST_CONFUSIONS = 100


def pq_counts(table: SegmentTable, classes: int, iou_TQ: NDArray[Any] | None = None) -> Any:
    """True and false positives, false negatives and summed IoU (C, 4), as panopticapi counts.

    Args: iou_TQ: what must be above 0.5 in addition, and is summed.
    """
    counts = np.zeros((classes, 4))
    right_T = _right(table)
    ious = table.iou_TQ[right_T, table.found_T[right_T]]
    if iou_TQ is not None:
        ious = iou_TQ[right_T, table.found_T[right_T]]
        right_T = right_T[ious > 0.5]
        ious = ious[ious > 0.5]
    hit_Q = np.zeros(len(table.predicted_Q), dtype=bool)
    hit_Q[table.found_T[right_T]] = True
    np.add.at(counts[:, 0], table.truth_T[right_T], 1)
    np.add.at(counts[:, 1], table.predicted_Q[~hit_Q & ~table.ignored_Q], 1)
    np.add.at(counts[:, 2], table.truth_T[table.region_T], 1)
    np.add.at(counts[:, 3], table.truth_T[right_T], ious)
    counts[:, 2] -= counts[:, 0]
    return counts


def open_pq_counts(table: SegmentTable, similarity_CC: NDArray[Any]) -> NDArray[Any]:
    """As `pq_counts`, but a region found under another name is found by the similarity of both.

    The remainder to 1 is a miss of its class and a false positive of the other one. Without
    similar words this is PQ. Source of the idea: Zhou et al., arXiv:2311.03352.
    """
    counts = np.zeros((len(similarity_CC), 4))
    rows = np.flatnonzero(table.found_T >= 0)
    fits_Q = table.found_T[rows]
    truth, named = table.truth_T[rows], table.predicted_Q[fits_Q]
    credit = np.where(truth == named, 1.0, similarity_CC[truth, named])
    wrong_Q = np.where(table.ignored_Q, 0.0, 1.0)
    wrong_Q[fits_Q] = np.where(table.ignored_Q[fits_Q], 0.0, 1.0 - credit)
    np.add.at(counts[:, 0], truth, credit)
    np.add.at(counts[:, 1], table.predicted_Q, wrong_Q)
    np.add.at(counts[:, 2], table.truth_T[table.region_T], 1)
    np.add.at(counts[:, 3], truth, credit * table.iou_TQ[rows, fits_Q])
    counts[:, 2] -= counts[:, 0]
    return counts


def error_counts(table: SegmentTable, classes: int) -> NDArray[Any]:
    """`ERRORS` of every class (C, 7): of false negatives and false positives what they are.

    missed + misnamed are PQ's false negatives, invented + inexact + taken_for its false positives.
    """
    found_T, region_T, region_Q = table.found_T, table.region_T, table.region_Q
    right_T, fits_Q = _right(table), region_Q >= 0
    wrong_Q = ~table.ignored_Q
    wrong_Q[found_T[right_T]] = False
    present_Q = np.isin(table.predicted_Q, table.truth_T)
    misnamed_T = region_T & (found_T >= 0)
    misnamed_T[right_T] = False
    chosen = (
        table.truth_T[region_T],
        table.predicted_Q,
        table.truth_T[region_T & (found_T < 0)],
        table.truth_T[misnamed_T],
        table.predicted_Q[wrong_Q & ~fits_Q & ~present_Q],
        table.predicted_Q[wrong_Q & ~fits_Q & present_Q],
        table.predicted_Q[wrong_Q & fits_Q],
    )
    return np.stack([np.bincount(each, minlength=classes) for each in chosen], 1).astype(float)


def recall_counts(table: SegmentTable, classes: int) -> NDArray[Any]:
    """Regions, found and rightly named ones of every class and size (C, 3 * sizes)."""
    share_T = table.area_T / max(1, table.area_T.sum())
    size_T = np.searchsorted(list(SIZES.values()), share_T)
    named_T = np.zeros_like(table.region_T)
    named_T[_right(table)] = True
    counts = np.zeros((classes, len(SIZES), 3))
    for column, chosen_T in enumerate((table.region_T, table.found_T >= 0, named_T)):
        np.add.at(counts[:, :, column], (table.truth_T[chosen_T], size_T[chosen_T]), 1)
    return counts.reshape(classes, -1)


def calibration_counts(table: SegmentTable, classes: int) -> NDArray[Any]:
    """Segments, sum of scores and right ones of every predicted class and bin (C, 3 * bins).

    Segments without a score, and those that PQ ignores, are left out.
    """
    right_Q = np.zeros(len(table.predicted_Q), dtype=bool)
    right_Q[table.found_T[_right(table)]] = True
    known_Q = np.isfinite(table.scores_Q) & (right_Q | ~table.ignored_Q)
    scores = table.scores_Q[known_Q]
    bins = (scores * BINS).astype(np.int64).clip(0, BINS - 1)
    counts = np.zeros((classes, BINS, 3))
    for column, values in enumerate((np.ones_like(scores), scores, right_Q[known_Q])):
        np.add.at(counts[:, :, column], (table.predicted_Q[known_Q], bins), values)
    return counts.reshape(classes, -1)


def boundary_iou(
    ids_HW: NDArray[Any],
    segments: Sequence[Mapping[str, Any]],
    predicted_HW: NDArray[Any],
    found: Sequence[Mapping[str, Any]],
) -> NDArray[np.float64]:
    """Boundary IoU (T, Q) of the segments; arguments as of `segment_table`, whose rows these are.

    Source: Cheng et al., Boundary IoU, arXiv:2103.16562, equation 1; without unlabelled pixels.
    """
    distance = boundary_distance(ids_HW.shape)
    truth_edge, own_edge = (boundary_pixels(each, distance) for each in (ids_HW, predicted_HW))
    truth, own, both = (
        segment_table(ids_HW, segments, predicted_HW, found, counted)
        for counted in (truth_edge, own_edge, truth_edge & own_edge)
    )
    own_Q = own.area_Q - own.pixels_TQ[0]
    union = truth.area_T[:, None] + own_Q - both.pixels_TQ
    return np.asarray(both.pixels_TQ / np.maximum(union, 1))


def _right(table: SegmentTable) -> NDArray[np.int64]:
    """Rows that are found under their own name."""
    rows = np.flatnonzero(table.found_T >= 0)
    return rows[table.predicted_Q[table.found_T[rows]] == table.truth_T[rows]]


class SegmentDiagnosis(CountingEvaluator):
    """Diagnoses `panoptic_seg` (map, segments_info) of every image."""

    def __init__(
        self,
        class_names: tuple[str, ...],
        groups: Groups,
        thing_C: Sequence[bool],
        cosine_CC: NDArray[Any] | None = None,
        similarities: Sequence[Similarity] = (),
    ) -> None:
        """
        Args:
            thing_C: which classes are things; segments of others with one name are one.
            cosine_CC: of the classes' words in the text tower, to be shown with confusions.
            similarities: of the classes' words, by which near misses count.
        """
        self.thing_C = np.asarray(thing_C, dtype=bool)
        self.cosine_CC = cosine_CC
        self.similarities = tuple(similarities)
        self.parts = PARTS | {each.source: 4 for each in similarities}
        self.columns = sum(self.parts.values())
        super().__init__(class_names, groups)

    def reset(self) -> None:
        """Forgets all images."""
        super().reset()
        self.confusions: Counter[tuple[int, int]] = Counter()

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        """Adds images. Raises: ValueError naming a ground-truth file that does not fit."""
        for record, output in zip(inputs, outputs, strict=True):
            panoptic, found = output["panoptic_seg"]
            source, predicted = record["pan_seg_file_name"], panoptic.cpu().numpy()
            ids = ids_of_rgb(read_panoptic_png(source))
            check_same_size(source, ids.shape, record["file_name"], predicted.shape)
            self.diagnose(ids, record["segments_info"], predicted, found)

    def diagnose(
        self,
        ids_HW: NDArray[Any],
        segments: Sequence[Mapping[str, Any]],
        predicted_HW: NDArray[Any],
        found: Sequence[Mapping[str, Any]],
    ) -> None:
        """Adds an image; arguments as of `segment_table`."""
        image = (ids_HW, segments, predicted_HW, found)
        table, classes = segment_table(*image), len(self.class_names)
        edges_TQ = boundary_iou(*image)
        edge_sums = np.zeros((classes, 1))
        right_T = _right(table)
        np.add.at(
            edge_sums[:, 0], table.truth_T[right_T], edges_TQ[right_T, table.found_T[right_T]]
        )
        parts = {
            "real": pq_counts(table, classes),
            "oracle_masks": pq_counts(table.with_true_masks(self.thing_C), classes),
            "oracle_names": pq_counts(table.with_true_names(self.thing_C), classes),
            "boundary": pq_counts(table, classes, np.minimum(table.iou_TQ, edges_TQ)),
            "boundary_iou": edge_sums,
            "errors": error_counts(table, classes),
            "recall": recall_counts(table, classes),
            "calibration": calibration_counts(table, classes),
            **{each.source: open_pq_counts(table, each.values_CC) for each in self.similarities},
        }
        self.counts += np.concatenate([parts[name] for name in self.parts], axis=1)
        rows = np.setdiff1d(np.flatnonzero(table.found_T >= 0), right_T)
        named = table.predicted_Q[table.found_T[rows]]
        self.confusions.update(zip(table.truth_T[rows].tolist(), named.tolist(), strict=True))

    def evaluate(self) -> dict[str, Any] | None:
        """The parts of a `Diagnosis`, on the main process."""
        scores = super().evaluate()
        gathered = comm.gather(self.confusions)
        if scores is None:
            return None
        total: Counter[tuple[int, int]] = sum(gathered, Counter())
        return {**scores, "confusions": confusion_rows(total, self.class_names, self.cosine_CC)}

    def scores(self, counts: NDArray[Any]) -> dict[str, Any]:
        """Those parts that are counted by class."""
        ends = np.cumsum(list(self.parts.values()))[:-1]
        part = dict(zip(self.parts, np.split(counts, ends, axis=1), strict=True))
        pq = {name: self._pq(part[name]) for name in (*ORACLES, "boundary")}
        matched, edges = part["real"][:, 0], part["boundary_iou"][:, 0]
        return {
            "oracles": {"PQ": {name: pq[name] for name in ORACLES}},
            "recall": {g: recall_rows(part["recall"][m].sum(0)) for g, m in self.groups.items()},
            "calibration": {
                group: calibration_row(part["calibration"][members].sum(0))
                for group, members in self.groups.items()
            },
            "boundary": {
                group: {
                    "boundary_IoU": _percent(edges[members].sum(), matched[members].sum()),
                    "boundary_PQ": pq["boundary"][group],
                }
                for group, members in self.groups.items()
            },
            "per_class": {
                name: {
                    **dict(zip(ERRORS, errors.astype(int).tolist(), strict=True)),
                    "boundary_IoU": _percent(edge, match),
                }
                for name, errors, edge, match in zip(
                    self.class_names, part["errors"], edges, matched, strict=True
                )
                if errors.any()
            },
            "open": {
                each.source: {"PQ": self._pq(part[each.source])} for each in self.similarities
            },
        }

    def _pq(self, counts: NDArray[Any]) -> dict[str, float]:
        """Group -> PQ."""
        scores = panoptic_scores(counts, self.groups, self.class_names)
        return {group: scores[group]["PQ"] for group in self.groups}


def confusion_rows(
    confusions: Mapping[tuple[int, int], int],
    names: Sequence[str],
    cosine_CC: NDArray[Any] | None = None,
) -> list[dict[str, Any]]:
    """The most frequent (truth, predicted) pairs, with the cosine of their words."""
    ordered = sorted(confusions.items(), key=lambda item: (-item[1], item[0]))[:MOST_CONFUSIONS]
    return [
        {
            "truth": names[truth],
            "predicted": names[predicted],
            "count": int(count),
            "cosine": None if cosine_CC is None else float(cosine_CC[truth, predicted]),
        }
        for (truth, predicted), count in ordered
    ]


def recall_rows(counts: NDArray[Any]) -> dict[str, dict[str, Any]]:
    """Size -> regions and percent found and named, of `recall_counts` summed over classes."""
    by_size = dict(zip(SIZES, counts.reshape(len(SIZES), 3), strict=True))
    by_size["all"] = counts.reshape(len(SIZES), 3).sum(0)
    return {
        size: {
            "regions": int(regions),
            "found": _percent(found, regions),
            "named": _percent(named, regions),
        }
        for size, (regions, found, named) in by_size.items()
    }


def calibration_row(counts: NDArray[Any]) -> dict[str, Any]:
    """Reliability and expected calibration error of `calibration_counts` summed over classes.

    Source: Guo et al., On Calibration of Modern Neural Networks, arXiv:1706.04599, section 2.
    """
    bins = counts.reshape(BINS, 3)
    gaps = np.abs(bins[:, 1] - bins[:, 2]).sum()
    rows = [
        {
            "low": index / BINS,
            "high": (index + 1) / BINS,
            "segments": int(segments),
            "confidence": _percent(scores, segments),
            "precision": _percent(right, segments),
        }
        for index, (segments, scores, right) in enumerate(bins)
    ]
    return {"ECE": _percent(gaps, bins[:, 0].sum()), "bins": rows}


def _percent(part: float, whole: float) -> float:
    """NaN of nothing."""
    return 100 * float(part) / float(whole) if whole else float("nan")
