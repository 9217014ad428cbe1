"""What a model makes of words that are not there: further words, and one word at a time.

Legend: C classes, W words of the pool, Q predicted segments.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm
from numpy.typing import NDArray

from frozenseg.data.image_mask_pairs import read_semantic_truth
from frozenseg.data.reading import ids_of_rgb, read_panoptic_png
from frozenseg.evaluation.averages import CountingEvaluator, Groups, group_means
from frozenseg.evaluation.label_diagnosis import label_counts
from frozenseg.evaluation.panoptic_quality import panoptic_scores
from frozenseg.evaluation.per_image import pixel_iou
from frozenseg.evaluation.segment_diagnosis import pq_counts
from frozenseg.evaluation.segment_table import SegmentTable, segment_table
from frozenseg.evaluation.semantic_iou import predicted_labels

DISTANCES = ("near", "far")
LIMITS = np.arange(0.5, 1.0, 0.05)  # IoUs of pmF1


def absent_pool(names: Sequence[Sequence[str]], pool: Sequence[str]) -> list[str]:
    """The words of the pool that share none of their parts with a name of a class, in order.

    "polar bear" may be in an image where "bear" is asked for, and the other way round: both
    would be right.

    Args: names: of every class all of its names.
    """
    taken = {part for synonyms in names for name in synonyms for part in _parts(name)}
    kept = {word.strip().lower(): word.strip() for word in pool}
    return [word for key, word in kept.items() if key and not taken & _parts(key)]


def _parts(name: str) -> set[str]:
    """Lower-case words of a name, without a plural s."""
    letters = "".join(c if c.isalnum() else " " for c in name.lower())
    return {part.removesuffix("s") for part in letters.split()} - {"of", "the", "a", "and", "other"}


def draw_words(closest_W: NDArray[Any], number: int, distance: str, seed: int) -> list[int]:
    """`number` indices of the pool, in random order: the first n are the draw of n words.

    Args:
        closest_W: cosine of each word with the nearest name of a class.
        distance: "near" draws from the nearer half of the pool, "far" from the other one; of more
            words than that, from all that are needed.
    """
    order = np.argsort(-closest_W if distance == "near" else closest_W, kind="stable")
    half = order[: -(-len(order) // 2)]
    generator = np.random.default_rng(seed)
    drawn = [*generator.permutation(half), *order[len(half) :]]
    return [int(index) for index in drawn[:number]]


class WordScores(CountingEvaluator):
    """PQ and mIoU with some set of words, and what goes to words that an image does not hold.

    The vocabulary may have words behind the classes: nothing of them is in the ground truth.
    `totals` has one row: images, false segments, those of further words, their pixels, all pixels.
    """

    columns, totals = 7, 1

    def __init__(self, class_names: tuple[str, ...], groups: Groups, ignore_label: int) -> None:
        super().__init__(class_names, groups)
        self.ignore_label = ignore_label
        self.kinds: set[str] = set()

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        """Adds images."""
        classes = len(self.class_names)
        for record, output in zip(inputs, outputs, strict=True):
            row = self.counts[classes]
            row[0] += 1
            if "panoptic_seg" in output and "pan_seg_file_name" in record:
                self.kinds.add("PQ")
                table = panoptic_table(record, output)
                added_Q = table.predicted_Q >= classes
                false_Q = ~np.isin(table.predicted_Q, table.truth_T) & ~table.ignored_Q
                row[1:3] += false_Q.sum(), (false_Q & added_Q).sum()
                row[3:5] += table.area_Q[added_Q].sum(), table.area_T.sum()
                width = max(classes, int(table.predicted_Q.max(initial=0)) + 1)
                self.counts[:classes, :4] += pq_counts(table, width)[:classes]
            labels = predicted_labels(output) if _has_labels(output) else None
            if labels is not None:
                self.kinds.add("mIoU")
                truth, _ = read_semantic_truth(record, self.ignore_label)
                known = np.where(labels < classes, labels, -1)
                self.counts[:classes, 4:] += label_counts(truth, known, classes)
                if "PQ" not in self.kinds:
                    row[3:5] += (labels >= classes).sum(), labels.size

    def scores(self, counts: NDArray[Any]) -> dict[str, Any]:
        """PQ and mIoU over all classes and of every class, and `diagnosis.AbsentWords` of it."""
        (images, false, added, pixels, whole), by_class = counts[-1, :5], counts[:-1]
        panoptic = panoptic_scores(by_class[:, :4], self.groups, self.class_names)
        correct, truth, predicted = by_class[:, 4:].T
        iou = pixel_iou(correct, truth, predicted)
        occurs, nothing = truth > 0, float("nan")
        with_pq, with_iou = "PQ" in self.kinds, "mIoU" in self.kinds
        names = np.array(self.class_names, dtype=object)
        return {
            "images": int(images),
            "PQ": panoptic["all"]["PQ"] if with_pq else nothing,
            "mIoU": group_means({"m": iou}, occurs, self.groups)["all"]["m"]
            if with_iou
            else nothing,
            "per_class": {name: row["PQ"] for name, row in panoptic["per_class"].items()}
            if with_pq
            else dict(zip(names[occurs], (100 * iou[occurs]).tolist(), strict=True)),
            "false_segments": false / images if with_pq and images else nothing,
            "of_absent_words": added / images if with_pq and images else nothing,
            "absent_pixels": 100 * pixels / whole if whole else nothing,
        }


def _has_labels(output: Mapping[str, Any]) -> bool:
    return output.get("semantic_labels") is not None or output.get("sem_seg") is not None


def panoptic_table(record: Mapping[str, Any], output: Mapping[str, Any]) -> SegmentTable:
    """The table of an image with panoptic ground truth."""
    panoptic, found = output["panoptic_seg"]
    ids = ids_of_rgb(read_panoptic_png(record["pan_seg_file_name"]))
    return segment_table(ids, record["segments_info"], panoptic.cpu().numpy(), found)


class QueryScores(DatasetEvaluator):
    """One word at a time: is it there, and where? Fed by `add`.

    Source: SAM 3, arXiv:2511.16719: cgF1 is pmF1, the F1 of masks over the images that hold the
    word, pooled over them, mean over IoUs of 0.5 to 0.95, times Matthews' correlation of "it is
    there" over all images.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forgets all images."""
        self.answers: list[tuple[bool, bool, float]] = []
        self.counts = np.zeros((len(LIMITS), 3))

    def add(self, table: SegmentTable, label: int) -> None:
        """Adds an answer: `table`'s predicted segments are all taken for class `label`."""
        rows_T = table.region_T & (table.truth_T == label)
        ious = table.iou_TQ[rows_T]
        scores_Q = np.nan_to_num(table.scores_Q, nan=1.0)
        present = bool((table.truth_T == label).any())
        self.answers.append((present, bool(len(scores_Q)), float(scores_Q.max(initial=0.0))))
        if present:
            hits = np.array([(ious > limit).sum() for limit in LIMITS])  # one to one above 0.5
            wrong = (~table.ignored_Q).sum() - hits
            self.counts += np.stack([hits, wrong.clip(0), rows_T.sum() - hits], 1)

    def evaluate(self) -> dict[str, Any] | None:
        """`diagnosis.Queries`, on the main process."""
        parts = comm.gather((self.answers, self.counts))
        if not comm.is_main_process():
            return None
        answers = [answer for part in parts for answer in part[0]]
        if not answers:
            return None
        tp, fp, fn = np.sum([part[1] for part in parts], axis=0).T
        f1 = 100 * float(np.mean(2 * tp / np.maximum(2 * tp + fp + fn, 1)))
        present, said, scores = (np.array(column) for column in zip(*answers, strict=True))
        return {**presence_scores(present, said, scores), "pmF1": f1} | {
            "cgF1": f1 * matthews(present, said)
        }


def presence_scores(present: NDArray[Any], said: NDArray[Any], scores: NDArray[Any]) -> Any:
    """How well "it is there" (`said`, bool) and its scores tell the images that hold a word."""
    right = float((present & said).sum())
    above = scores[present][:, None] - scores[~present]
    return {
        "positive": int(present.sum()),
        "negative": int((~present).sum()),
        "precision": 100 * right / said.sum() if said.any() else float("nan"),
        "recall": 100 * right / present.sum() if present.any() else float("nan"),
        "presence_AUC": 100 * float(((above > 0) + (above == 0) / 2).mean())
        if above.size
        else float("nan"),
        "IL_MCC": 100 * matthews(present, said),
    }


def matthews(present: NDArray[Any], said: NDArray[Any]) -> float:
    """Matthews' correlation of two bool arrays in [-1, 1]; 0 where either is constant."""
    if present.all() or said.all() or not present.any() or not said.any():
        return 0.0
    return float(np.corrcoef(present, said)[0, 1])
