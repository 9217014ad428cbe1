"""Where mIoU is lost: oracles on connected regions of label maps, and near misses in words.

Legend: C classes, H and W pixels, P pairs of labels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from detectron2.utils import comm
from numpy.typing import NDArray

from frozenseg.data.image_mask_pairs import read_semantic_truth
from frozenseg.data.reading import check_same_size
from frozenseg.evaluation.averages import CountingEvaluator, Groups, group_means
from frozenseg.evaluation.per_image import pixel_iou
from frozenseg.evaluation.segment_diagnosis import ORACLES, confusion_rows
from frozenseg.evaluation.semantic_iou import predicted_labels
from frozenseg.evaluation.word_similarity import Similarity

COUNTS = ("correct", "truth", "predicted")


def connected_regions(labels_HW: NDArray[Any]) -> NDArray[np.int64]:
    """A number for every connected region (4 neighbours) of one label; negative labels are 0."""
    import cv2

    regions = np.zeros(labels_HW.shape, dtype=np.int64)
    last = 0
    for label in np.unique(labels_HW[labels_HW >= 0]).tolist():
        mask = labels_HW == label
        rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
        box = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
        number, numbered = cv2.connectedComponents(mask[box].astype(np.uint8), connectivity=4)
        regions[box] += np.where(numbered > 0, numbered + last, 0)
        last += number - 1
    return regions


def renamed_regions(labels_HW: NDArray[Any], names_HW: NDArray[Any]) -> NDArray[Any]:
    """The regions of a label map, each under the name that most of its pixels have in another.

    Pixels without a name (negative) do not count; a region of such pixels alone has none: -1.
    """
    regions = connected_regions(labels_HW)
    known = (regions > 0) & (names_HW >= 0)
    width = int(names_HW.max(initial=0)) + 1
    pairs, pixels = np.unique(regions[known] * width + names_HW[known], return_counts=True)
    order = np.argsort(pixels, kind="stable")  # the largest one is written last
    name_of = np.full(int(regions.max(initial=0)) + 1, -1, dtype=np.int64)
    name_of[pairs[order] // width] = pairs[order] % width
    return np.where(regions > 0, name_of[regions], -1)


def label_counts(truth_HW: NDArray[Any], labels_HW: NDArray[Any], classes: int) -> NDArray[Any]:
    """`COUNTS` in pixels of every class (C, 3), of pixels that have a true label."""
    valid = truth_HW >= 0
    truth, labels = truth_HW[valid], labels_HW[valid]
    chosen = (truth[truth == labels], truth, labels[labels >= 0])
    return np.stack([np.bincount(each, minlength=classes) for each in chosen], 1).astype(float)


def open_counts(
    pairs_P2: NDArray[np.int64], pixels_P: NDArray[Any], similarity_CC: NDArray[Any]
) -> NDArray[Any]:
    """`COUNTS` (C, 3) in which a pixel of class c under the name d is correct by their similarity.

    A union is then truth + predicted - correct, where predicted is what c wins plus the
    remainder that other classes lose to it. Without similar words this is plain mIoU.
    Source of the idea: Zhou et al., arXiv:2311.03352.

    Args: pairs_P2: true and predicted labels, the latter negative for none.
    """
    classes = len(similarity_CC)
    truth, labels = pairs_P2.T
    named = labels >= 0
    credit = np.where(
        truth == labels, 1.0, np.where(named, similarity_CC[truth, labels.clip(0)], 0)
    )
    counts = np.zeros((classes, len(COUNTS)))
    np.add.at(counts[:, 0], truth, credit * pixels_P)
    np.add.at(counts[:, 1], truth, pixels_P)
    np.add.at(counts[:, 2], truth, credit * pixels_P)
    np.add.at(counts[:, 2], labels[named], ((1.0 - credit) * pixels_P)[named])
    return counts


class LabelDiagnosis(CountingEvaluator):
    """Diagnoses the labels of every image."""

    columns = len(ORACLES) * len(COUNTS)

    def __init__(
        self,
        class_names: tuple[str, ...],
        groups: Groups,
        ignore_label: int,
        cosine_CC: NDArray[Any] | None = None,
        similarities: Sequence[Similarity] = (),
        *,
        with_confusions: bool = False,
    ) -> None:
        """
        Args:
            cosine_CC, similarities: as of `SegmentDiagnosis`.
            with_confusions: also gives confusions, in pixels: where there are no segments.
        """
        self.ignore_label, self.cosine_CC = ignore_label, cosine_CC
        self.similarities = tuple(similarities)
        self.with_confusions = with_confusions
        super().__init__(class_names, groups)

    def reset(self) -> None:
        """Forgets all images."""
        super().reset()
        self.pairs: Counter[tuple[int, int]] = Counter()

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        """Adds images. Raises: ValueError naming a label file that does not fit."""
        for record, output in zip(inputs, outputs, strict=True):
            predicted = predicted_labels(output)
            truth, source = read_semantic_truth(record, self.ignore_label)
            check_same_size(source, truth.shape, record["file_name"], predicted.shape)
            self.diagnose(truth, predicted)

    def diagnose(self, truth_HW: NDArray[Any], labels_HW: NDArray[Any]) -> None:
        """Adds an image; negative labels are none."""
        classes = len(self.class_names)
        labels = np.where(truth_HW >= 0, labels_HW, -1)  # what is not scored joins no regions
        maps = (labels, renamed_regions(truth_HW, labels), renamed_regions(labels, truth_HW))
        self.counts += np.concatenate([label_counts(truth_HW, m, classes) for m in maps], axis=1)
        valid = truth_HW >= 0
        codes = truth_HW[valid].astype(np.int64) * (classes + 1) + labels[valid].clip(-1) + 1
        for code, pixels in zip(*np.unique(codes, return_counts=True), strict=True):
            self.pairs[int(code) // (classes + 1), int(code) % (classes + 1) - 1] += int(pixels)

    def evaluate(self) -> dict[str, Any] | None:
        """The parts of a `Diagnosis`, on the main process."""
        scores = super().evaluate()
        gathered = comm.gather(self.pairs)
        if scores is None:
            return None
        pairs: Counter[tuple[int, int]] = sum(gathered, Counter())
        if self.with_confusions:
            wrong = {pair: n for pair, n in pairs.items() if pair[0] != pair[1] >= 0}
            scores["confusions"] = confusion_rows(wrong, self.class_names, self.cosine_CC)
        scores["open"] = {}
        if pairs:
            seen = np.array(list(pairs)), np.array(list(pairs.values()))
            scores["open"] = {
                each.source: {"mIoU": self._miou(open_counts(*seen, each.values_CC))}
                for each in self.similarities
            }
        return scores

    def scores(self, counts: NDArray[Any]) -> dict[str, Any]:
        """The oracles."""
        parts = zip(ORACLES, np.split(counts, len(ORACLES), axis=1), strict=True)
        return {"oracles": {"mIoU": {name: self._miou(part) for name, part in parts}}}

    def _miou(self, counts: NDArray[Any]) -> Mapping[str, float]:
        """Group -> mIoU over the classes of the ground truth."""
        correct, truth, predicted = counts.T
        means = group_means({"mIoU": pixel_iou(correct, truth, predicted)}, truth > 0, self.groups)
        return {group: row["mIoU"] for group, row in means.items()}
