"""How many ground-truth regions the masks find, and how many of those they name rightly.

Legend: C classes, Q masks, R ground-truth regions, N = H * W pixels.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from frozenseg.data.panoptic_pixels import compare_segments
from frozenseg.data.reading import check_same_size, ids_of_rgb, read_panoptic_png
from frozenseg.evaluation.averages import CountingEvaluator, Groups, group_means, per_class

THRESHOLDS = {"recall50": 0.5, "recall75": 0.75, "recall90": 0.9}
COUNTS = ("regions", *THRESHOLDS, "right")
# Fields of an output: the masks of all queries, and SAM's. Then what is scored: either, and both.
FIELDS = ("query_masks", "sam_proposals")
RESULTS = ("regions", "regions_sam", "regions_with_sam")


def region_ious(masks_QN: NDArray[Any], regions_RN: NDArray[Any]) -> NDArray[Any]:
    """Intersection over union (R, Q) of bool masks; 0 where both are empty."""
    masks, regions = masks_QN.astype(np.float32), regions_RN.astype(np.float32)
    overlap = regions @ masks.T
    union = regions.sum(1)[:, None] + masks.sum(1)[None] - overlap
    return np.divide(overlap, np.maximum(union, 1))


def count_image(
    ious_RQ: NDArray[Any], classes_Q: NDArray[Any], truth_R: NDArray[Any], num_classes: int
) -> NDArray[Any]:
    """Per class (C, 5): regions, those found at each IoU of `THRESHOLDS`, those named rightly.

    A region is found if any mask's IoU with it is above the threshold, whatever its class. It
    is named rightly if the mask with the largest IoU, above 0.5, has its class.
    """
    counts = np.zeros((num_classes, len(COUNTS)))
    if not ious_RQ.size:
        np.add.at(counts[:, 0], truth_R, 1)
        return counts
    best_R, which_R = ious_RQ.max(1), ious_RQ.argmax(1)
    columns = [np.ones_like(best_R), *(best_R > limit for limit in THRESHOLDS.values())]
    columns.append((best_R > THRESHOLDS["recall50"]) & (classes_Q[which_R] == truth_R))
    for column, values in enumerate(columns):
        np.add.at(counts[:, column], truth_R, values)
    return counts


class RegionEvaluator(CountingEvaluator):
    """Scores `query_masks` (pred_masks, pred_classes of all queries) on panoptic ground truth.

    Where outputs also have `sam_proposals` (the same of SAM's masks), these are scored alone and
    together with the queries; of equal IoUs the query names a region. Every IoU is computed once.

    Recall and class accuracy are pooled over the regions of a group of classes (not a mean of
    per-class values); crowd regions are left out.
    Source: FrozenSeg, arXiv:2409.03525, section 4 (recall of mask proposals).
    """

    columns = len(RESULTS) * len(COUNTS)

    def reset(self) -> None:
        """Forgets all images."""
        super().reset()
        self._with_sam: bool | None = None

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        """Adds images. Raises: ValueError naming a ground-truth file that does not fit, or an
        image that has SAM's proposals where others have none, or the other way round.
        """
        for record, output in zip(inputs, outputs, strict=True):
            self._check_sam(record["file_name"], "sam_proposals" in output)
            truth = record["pan_seg_file_name"]
            ids = ids_of_rgb(read_panoptic_png(truth))
            there = compare_segments(ids, record["segments_info"]).pixels
            segments = [s for s in record["segments_info"] if not s["iscrowd"] and s["id"] in there]
            regions = np.stack([ids == s["id"] for s in segments]) if segments else ids[:0, None]
            regions = regions.reshape(len(segments), ids.size)
            sources = []
            for found in (output[field].to("cpu") for field in FIELDS if field in output):
                check_same_size(truth, ids.shape, record["file_name"], found.image_size)
                ious_RQ = region_ious(found.pred_masks.flatten(1).numpy(), regions)
                sources.append((ious_RQ, found.pred_classes.numpy()))
            truth_R = np.array([s["category_id"] for s in segments], dtype=np.int64)
            self._count(sources, truth_R)

    def _count(
        self, sources: list[tuple[NDArray[Any], NDArray[Any]]], truth_R: NDArray[Any]
    ) -> None:
        """Adds the counts of (IoUs (R, Q), classes (Q,)) of each source, and of all together."""
        if len(sources) > 1:
            ious, classes = zip(*sources, strict=True)
            sources = [*sources, (np.concatenate(ious, axis=1), np.concatenate(classes))]
        for index, (ious_RQ, classes_Q) in enumerate(sources):
            counts = count_image(ious_RQ, classes_Q, truth_R, len(self.class_names))
            self.counts[:, index * len(COUNTS) : (index + 1) * len(COUNTS)] += counts

    def scores(self, counts: NDArray[Any]) -> dict[str, Any]:
        """Recall and accuracy by group: {"regions": ...}, and with SAM's proposals "regions_sam"
        (these alone), "regions_with_sam" (queries and these).
        """
        parts = dict(zip(RESULTS, np.split(counts, len(RESULTS), axis=1), strict=True))
        regions, with_sam = (int(parts[name][:, 0].sum()) for name in RESULTS[:2])
        if with_sam not in (0, regions):
            raise ValueError(
                f"{with_sam} of {regions} regions were scored with proposals of SAM: all processes "
                "must give them, or none"
            )
        return {
            result: region_scores(part, self.groups, self.class_names)
            for result, part in parts.items()
            if with_sam or result == "regions"
        }

    def _check_sam(self, image: str, with_sam: bool) -> None:
        if self._with_sam is None:
            self._with_sam = with_sam
        if self._with_sam != with_sam:
            has, others = ("has", "do not") if with_sam else ("has no", "do")
            raise ValueError(
                f"{image} {has} proposals of SAM, the images before it {others}: recall needs them "
                "of all images or of none; complete the export (tools/export_sam_masks.py)"
            )


def region_scores(counts: NDArray[Any], groups: Groups, names: tuple[str, ...]) -> dict[str, Any]:
    """Recall at each IoU and accuracy among the found regions, by group and class, in percent."""
    pooled = {group: _scores(counts[members].sum(0)) for group, members in groups.items()}
    means = group_means({}, counts[:, 0] > 0, groups)
    rows = {name: np.array([_scores(row)[name] for row in counts]) for name in _scores(counts[0])}
    return {
        **{group: {**pooled[group], **means[group]} for group in groups},
        "per_class": per_class(
            {name: values / 100 for name, values in rows.items()}, counts[:, 0] > 0, names
        ),
    }


def _scores(count: NDArray[Any]) -> dict[str, float]:
    """Percent from one row of counts; NaN where nothing could be counted."""
    regions, found, right = count[0], count[1], count[-1]
    scores = {
        name: 100 * value / regions if regions else float("nan")
        for name, value in zip(THRESHOLDS, count[1:-1], strict=True)
    }
    return {**scores, "accuracy": 100 * right / found if found else float("nan")}
