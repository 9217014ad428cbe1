"""Average precision of masks by pycocotools (not detectron2's compiled variant), per class.

Also LVIS': the same matching, over the images where a class was looked for.
Legend: C classes, T IoU thresholds, R recalls.
"""

from __future__ import annotations

import contextlib
import io
from collections import defaultdict
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

# Score -> positions in COCO's thresholds 0.50, 0.55, ... 0.95 and in its ranges of areas.
SCORES = {
    "AP": (slice(None), 0),
    "AP50": (slice(0, 1), 0),
    "AP75": (slice(5, 6), 0),
    "AP_small": (slice(None), 1),
    "AP_medium": (slice(None), 2),
    "AP_large": (slice(None), 3),
}
MOST_DETECTIONS = 100  # of an image and class, COCO's limit
LVIS_MOST_DETECTIONS = 300  # of an image, LVIS' limit

Annotations = list[dict[str, Any]]


def mask_ap(
    truth: Annotations,
    predictions: Annotations,
    images: list[dict[str, Any]],
    classes: int,
    *,
    most: int = MOST_DETECTIONS,
    open_images: Collection[Any] = (),
) -> dict[str, NDArray[Any]]:
    """AP of every class in 0..1, NaN where the ground truth has none of its instances.

    Args:
        truth, predictions: COCO annotations (image_id, category_id, segmentation as RLE; area and
            iscrowd, or score); ids are added to copies.
        images: id, height and width of every image.
        most: detections of an image and class that are scored, the best ones.
        open_images: where not all objects are annotated: what matches none is not wrong there.
    Returns: score name -> (C,).
    """
    if not truth:
        return {name: np.full(classes, np.nan) for name in SCORES}
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "info": {},
            "images": images,
            "annotations": [{"id": i, **one} for i, one in enumerate(truth, start=1)],
            "categories": [{"id": index} for index in range(classes)],
        }
        coco.createIndex()
        found = coco.loadRes([dict(one) for one in predictions]) if predictions else COCO()
        evaluation = _OpenEvaluation(coco, found, open_images)
        evaluation.params.imgIds = [image["id"] for image in images]
        evaluation.params.catIds = list(range(classes))
        evaluation.params.maxDets = [most]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"]  # (T, R, C, areas, detections)
    return {
        name: _mean(precision[chosen, :, :, area, 0]) for name, (chosen, area) in SCORES.items()
    }


class _OpenEvaluation(COCOeval):
    """COCO's matching; in open images a detection that matches nothing is ignored."""

    def __init__(self, truth: COCO, found: COCO, open_images: Collection[Any]) -> None:
        super().__init__(truth, found, "segm")
        self.open_images = frozenset(open_images)

    def evaluateImg(self, imgId: Any, catId: int, aRng: list[float], maxDet: int) -> Any:
        result = super().evaluateImg(imgId, catId, aRng, maxDet)
        if result is not None and imgId in self.open_images:
            result["dtIgnore"] = np.logical_or(result["dtIgnore"], result["dtMatches"] == 0)
        return result


def federated_ap(
    truth: Annotations, predictions: Annotations, images: list[dict[str, Any]], classes: int
) -> dict[str, NDArray[Any]]:
    """LVIS' AP: a class is scored on the images that were searched for it.

    Args:
        images: id, height and width; `judged`: the classes whose presence or absence is known,
            `open`: those of which not all objects are annotated.
    Source: Gupta et al., LVIS, arXiv:1908.03195, section 2; the rules are those of the LVIS API
        (version 0.5.3), without its limit of 300 detections (see `InstanceEvaluator`).
    """
    judged: dict[int, list[dict[str, Any]]] = defaultdict(list)
    for image in images:
        for label in image["judged"]:
            judged[label].append(image)
    truth_of, found_of = _by_class(truth), _by_class(predictions)
    scores = {name: np.full(classes, np.nan) for name in SCORES}
    for label in truth_of:
        ids = {image["id"] for image in judged[label]}
        result = mask_ap(
            truth_of[label],
            [one for one in found_of[label] if one["image_id"] in ids],
            judged[label],
            1,
            most=LVIS_MOST_DETECTIONS,
            open_images=[image["id"] for image in judged[label] if label in image["open"]],
        )
        for name, values in result.items():
            scores[name][label] = values[0]
    return scores


def _by_class(annotations: Annotations) -> Mapping[int, Annotations]:
    """Annotations of each class, as those of class 0."""
    groups: dict[int, Annotations] = defaultdict(list)
    for one in annotations:
        groups[one["category_id"]].append({**one, "category_id": 0})
    return groups


def _mean(precision: NDArray[Any]) -> NDArray[Any]:
    """Mean over thresholds and recalls of (T, R, C); NaN for classes marked -1 (no truth)."""
    valid = precision > -1
    total = np.where(valid, precision, 0).sum((0, 1))
    return np.where(valid.any((0, 1)), total / np.maximum(valid.sum((0, 1)), 1), np.nan)
