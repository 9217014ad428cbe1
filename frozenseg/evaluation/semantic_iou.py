"""Semantic IoU from a confusion matrix, in both conventions that are in use.

Legend: C classes, H and W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from frozenseg.data.image_mask_pairs import read_semantic_truth
from frozenseg.data.reading import check_same_size
from frozenseg.evaluation.averages import CountingEvaluator, Groups, group_means, per_class


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


def semantic_scores(
    confusion: NDArray[Any], groups: Groups, names: Sequence[str]
) -> dict[str, Any]:
    """IoU and accuracy in percent of a `confusion_matrix` (C, C + 1), also of every class.

    mIoU averages over the classes of the ground truth ("ground_truth": detectron2 main and most
    papers) or also over those that were only predicted, with IoU 0 ("ground_truth_or_predicted":
    detectron2 v0.6). fwIoU (weighted by ground-truth frequency) and pixel accuracy are the same
    in both. NaN stands for what nothing was scored of.
    """
    correct = np.diag(confusion)
    in_truth, in_prediction = confusion.sum(1), confusion.sum(0)[: len(correct)]
    iou = correct / np.maximum(in_truth + in_prediction - correct, 1)
    pixels = in_truth.sum() or np.nan
    accuracy = {"mACC": correct / np.maximum(in_truth, 1)}
    return {
        "ground_truth": group_means({"mIoU": iou}, in_truth > 0, groups),
        "ground_truth_or_predicted": group_means(
            {"mIoU": iou}, in_truth + in_prediction > 0, groups
        ),
        "fwIoU": 100 * float((iou * in_truth).sum() / pixels),
        "pixel_accuracy": 100 * float(correct.sum() / pixels),
        "mean_accuracy": group_means(accuracy, in_truth > 0, groups)["all"]["mACC"],
        "per_class": per_class({"IoU": iou}, in_truth > 0, names),
    }


def predicted_labels(output: Mapping[str, Any]) -> NDArray[Any]:
    """Class indices (H, W) of an output: its `semantic_labels`, or the best of `sem_seg` (C, H, W).

    The first is what our models give in evaluations (see `engine.evaluate.settings_for`).
    """
    labels = output.get("semantic_labels")
    chosen: Tensor = output["sem_seg"].argmax(0) if labels is None else labels
    return chosen.cpu().numpy()


class SemanticEvaluator(CountingEvaluator):
    """Scores the labels of every image against label maps or panoptic ground truth."""

    kind = "semantic"

    def __init__(self, class_names: tuple[str, ...], groups: Groups, ignore_label: int) -> None:
        self.columns = len(class_names) + 1
        self.ignore_label = ignore_label
        super().__init__(class_names, groups)

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        """Adds images. Raises: ValueError naming a label file that does not fit."""
        for record, output in zip(inputs, outputs, strict=True):
            predicted = predicted_labels(output)
            truth, source = self._truth(record)
            check_same_size(source, truth.shape, record["file_name"], predicted.shape)
            self.add_image(record, confusion_matrix(truth, predicted, len(self.class_names)))

    def _truth(self, record: dict[str, Any]) -> tuple[NDArray[Any], str]:
        """The labels (H, W) of an image, -1 where they are not scored, and their file."""
        labels, source = read_semantic_truth(record, self.ignore_label)
        if labels.max(initial=-1) >= len(self.class_names):
            raise ValueError(
                f"{source}: has label {labels.max()}, but the vocabulary has "
                f"{len(self.class_names)} classes and {self.ignore_label} means ignored: the file "
                "belongs to another set of classes; prepare the dataset again"
            )
        return labels, source

    def image_rows(self, counts: NDArray[Any]) -> NDArray[Any]:
        """Pixels (C, 3) of every class: right ones, its own ones, predicted ones."""
        return np.stack([np.diag(counts), counts.sum(1), counts.sum(0)[:-1]], axis=1)

    def scores(self, counts: NDArray[Any]) -> dict[str, Any]:
        """{"semantic": scores}."""
        return {"semantic": semantic_scores(counts, self.groups, self.class_names)}
