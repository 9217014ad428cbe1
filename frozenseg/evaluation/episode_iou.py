"""mIoU and foreground-background IoU of items that each ask for some classes of an image.

Legend: C classes, A classes that an item asks for, H and W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frozenseg.evaluation.averages import CountingEvaluator, per_class
from frozenseg.evaluation.semantic_iou import predicted_labels
from frozenseg.structures import IGNORED


def item_confusion(
    truth: NDArray[Any], predicted: NDArray[Any], asked: Sequence[int], num_classes: int
) -> NDArray[Any]:
    """Pixel counts (A + 1, A + 1) int64 of an item, rows the truth, its last class the background.

    Background is all that is not asked for, other classes included; IGNORED pixels are left out.
    Args: truth, predicted: labels (H, W), class indices or values of `structures`.
    """
    column_of = np.full(num_classes + 1, len(asked), dtype=np.int64)
    column_of[list(asked)] = np.arange(len(asked))
    scored = truth != IGNORED
    rows, columns = (
        column_of[np.where((labels >= 0) & (labels < num_classes), labels, num_classes)]
        for labels in (truth[scored], predicted[scored])
    )
    side = len(asked) + 1
    return np.bincount(rows * side + columns, minlength=side**2).reshape(side, side)


class EpisodeEvaluator(CountingEvaluator):
    """Scores `semantic_labels` (H, W) of every item on its `labels` (H, W) and `asked`.

    Intersections and unions of a class are summed over the items that ask for it; mIoU is the mean
    over the classes asked for at least once. A class none of whose scored pixels is true or
    predicted has no IoU and does not take part. FB-IoU is the mean of the IoU of foreground (any
    class asked for, whichever) and of background, both summed over all items.
    Source: Fusioner, arXiv:2210.15138, and few-shot segmentation before it.
    """

    kind = "episodes"
    columns = 3  # intersection, union, items
    totals = 2  # foreground, background

    def __init__(self, class_names: tuple[str, ...]) -> None:
        super().__init__(class_names, {})

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        """Adds items. Raises: ValueError naming an image whose output does not fit."""
        for item, output in zip(inputs, outputs, strict=True):
            truth, predicted = item["labels"].numpy(), predicted_labels(output)
            name, asked = item["file_name"], list(item["asked"])
            _check(name, asked, truth.shape, predicted.shape)
            counts = item_confusion(truth, predicted, asked, len(self.class_names))
            right, total = np.diag(counts), counts.sum()
            union = counts.sum(0) + counts.sum(1) - right
            foreground = counts[:-1, :-1].sum()
            of_item = np.zeros_like(self.counts)
            of_item[[*asked, -2, -1]] = [
                *([right[i], union[i], 1] for i in range(len(asked))),
                [foreground, total - right[-1], 1],
                [right[-1], total - foreground, 1],
            ]
            self.add_image(item, of_item)

    def scores(self, counts: NDArray[Any]) -> dict[str, Any]:
        """{"episodes": scores}."""
        return {"episodes": episode_scores(counts, self.class_names)}


def episode_scores(counts: NDArray[Any], class_names: Sequence[str]) -> dict[str, Any]:
    """The scores in percent from summed counts, NaN where there is nothing to score.

    Args: counts: (C + 2, 3): intersection, union and number of items of every class that they ask
        for, of the foreground and of the background.
    Returns: mIoU, FB_IoU, foreground_IoU, background_IoU, items, classes (that mIoU averages
        over) and per_class {name: {"IoU": percent, "items": number}}.
    """
    intersection, union, items = counts[:-2].T
    counted = union > 0
    iou = intersection / np.maximum(union, 1)
    foreground, background = (
        100 * float(part / whole) if whole else float("nan") for part, whole, _ in counts[-2:]
    )
    classes: dict[str, dict[str, Any]] = per_class({"IoU": iou}, counted, class_names)
    for index in np.flatnonzero(counted):
        classes[class_names[index]]["items"] = int(items[index])
    return {
        "mIoU": 100 * float(iou[counted].mean()) if counted.any() else float("nan"),
        "FB_IoU": (foreground + background) / 2,
        "foreground_IoU": foreground,
        "background_IoU": background,
        "items": int(counts[-1, 2]),
        "classes": int(counted.sum()),
        "per_class": classes,
    }


def _check(name: str, asked: list[int], truth: tuple[int, ...], predicted: tuple[int, ...]) -> None:
    if truth != predicted:
        raise ValueError(
            f"{name}: the model's labels have shape {predicted}, the ground truth has {truth}: the "
            "output must have the height and width that the mapper gives"
        )
    if not asked or len(set(asked)) < len(asked):
        raise ValueError(f"{name}: asks for the classes {asked}: at least one, each once")
