"""Semantic IoU from a confusion matrix, in both conventions that are in use.

Legend: C classes, H and W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm
from numpy.typing import NDArray
from torch import Tensor

from frozenseg.data.image_mask_pairs import read_semantic_labels
from frozenseg.data.reading import (
    check_same_size,
    ids_of_rgb,
    read_panoptic_png,
    semantic_of_panoptic,
)
from frozenseg.evaluation.averages import Groups, group_means, per_class

# Which classes the mean IoU averages over.
CONVENTIONS = ("ground_truth", "ground_truth_or_predicted")


def confusion_matrix(
    truth: NDArray[Any], predicted: NDArray[Any], num_classes: int
) -> NDArray[Any]:
    """Pixel counts (C, C + 1) int64, rows the truth, whose pixels outside 0..C-1 are left out.

    The last column counts what was predicted to be no class (negative values, as BACKGROUND).
    """
    valid = (truth >= 0) & (truth < num_classes)
    columns = np.where(predicted[valid] < 0, num_classes, predicted[valid])
    pairs = truth[valid].astype(np.int64) * (num_classes + 1) + columns
    counts = np.bincount(pairs, minlength=num_classes * (num_classes + 1))
    return counts.reshape(num_classes, num_classes + 1)


def semantic_scores(confusion: NDArray[Any], groups: Groups) -> dict[str, Any]:
    """IoU and accuracy in percent of a `confusion_matrix` (C, C + 1).

    mIoU averages over the classes of the ground truth ("ground_truth": detectron2 main and most
    papers) or also over those that were only predicted, with IoU 0 ("ground_truth_or_predicted":
    detectron2 v0.6). fwIoU (weighted by ground-truth frequency) and pixel accuracy are the same
    in both.
    """
    correct = np.diag(confusion).astype(np.float64)
    in_truth, in_prediction = confusion.sum(1), confusion.sum(0)[: len(correct)]
    iou = correct / np.maximum(in_truth + in_prediction - correct, 1)
    scores: dict[str, Any] = {}
    for convention, counted in zip(
        CONVENTIONS, (in_truth > 0, in_truth + in_prediction > 0), strict=True
    ):
        scores[convention] = group_means({"mIoU": iou}, counted, groups)
    pixels = max(int(in_truth.sum()), 1)
    scores["fwIoU"] = 100 * float((iou * in_truth).sum() / pixels)
    scores["pixel_accuracy"] = 100 * float(correct.sum() / pixels)
    accuracy = correct / np.maximum(in_truth, 1)
    scores["mean_accuracy"] = group_means({"mACC": accuracy}, in_truth > 0, groups)["all"]["mACC"]
    return scores


def predicted_labels(output: Mapping[str, Any]) -> NDArray[Any]:
    """Class indices (H, W) of an output: its `semantic_labels`, or the best of `sem_seg` (C, H, W).

    The first is what our models give in evaluations (see `engine.evaluate.settings_for`).
    """
    labels = output.get("semantic_labels")
    chosen: Tensor = output["sem_seg"].argmax(0) if labels is None else labels
    return chosen.cpu().numpy()


class SemanticEvaluator(DatasetEvaluator):
    """Scores the labels of every image against label maps or panoptic ground truth."""

    def __init__(self, class_names: tuple[str, ...], groups: Groups, ignore_label: int) -> None:
        self.class_names = class_names
        self.groups = groups
        self.ignore_label = ignore_label
        self.reset()

    def reset(self) -> None:
        """Forgets all images."""
        classes = len(self.class_names)
        self.confusion = np.zeros((classes, classes + 1), dtype=np.int64)

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        """Adds images. Raises: ValueError naming a label file that does not fit."""
        classes = len(self.class_names)
        for record, output in zip(inputs, outputs, strict=True):
            predicted = predicted_labels(output)
            truth, source = self._truth(record)
            check_same_size(source, truth.shape, record["file_name"], predicted.shape)
            self.confusion += confusion_matrix(truth, predicted, classes)

    def _truth(self, record: dict[str, Any]) -> tuple[NDArray[Any], str]:
        """The labels (H, W) of an image, -1 where they are not scored, and their file."""
        source = record.get("sem_seg_file_name") or record["pan_seg_file_name"]
        if "sem_seg_file_name" in record:
            labels = read_semantic_labels(record, self.ignore_label)
        else:
            ids = ids_of_rgb(read_panoptic_png(source))
            labels = semantic_of_panoptic(ids, record["segments_info"], -1)
        if labels.max(initial=-1) >= len(self.class_names):
            raise ValueError(
                f"{source}: has label {labels.max()}, but the vocabulary has "
                f"{len(self.class_names)} classes and {self.ignore_label} means ignored: the file "
                "belongs to another set of classes; prepare the dataset again"
            )
        return labels, source

    def evaluate(self) -> dict[str, Any] | None:
        """{"semantic": scores}, on the main process."""
        gathered = comm.gather(self.confusion)
        if not comm.is_main_process():
            return None
        confusion = np.sum(gathered, axis=0)
        scores = semantic_scores(confusion, self.groups)
        correct = np.diag(confusion)
        in_truth = confusion.sum(1)
        in_prediction = confusion.sum(0)[: len(correct)]
        iou = correct / np.maximum(in_truth + in_prediction - correct, 1)
        scores["per_class"] = per_class({"IoU": iou}, in_truth > 0, self.class_names)
        return {"semantic": scores}
