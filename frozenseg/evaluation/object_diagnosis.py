"""Where AP is lost: the oracles of instance segmentation.

Legend: N predictions, R objects of the ground truth.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

import numpy as np
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from frozenseg.evaluation.averages import group_means
from frozenseg.evaluation.instance_ap import InstanceEvaluator
from frozenseg.evaluation.mask_ap import Annotations
from frozenseg.evaluation.segment_diagnosis import ORACLES


def oracle_predictions(
    truth: Annotations, predictions: Annotations
) -> tuple[Annotations, Annotations]:
    """COCO annotations of the objects under the model's names, and of its masks under true names.

    An object has the name and score of the prediction with the largest IoU (of equal ones the best
    score); a mask has the name of the object with the largest IoU. Neither is there if nothing
    overlaps it: such an object is missed, such a mask keeps its name. Crowds are left out.
    Of equal masks (the same query under several names) the one with the best score remains.
    """
    named, masked = [], []
    found_of, objects_of = _by_image(predictions), _by_image(truth)
    for image, found in found_of.items():
        found = sorted(found, key=lambda one: -one["score"])
        found = list({one["segmentation"]["counts"]: one for one in reversed(found)}.values())[::-1]
        objects = [one for one in objects_of.get(image, []) if not one.get("iscrowd")]
        if not objects:
            named += found
            continue
        iou_NR = _ious(found, objects)
        best_N, best_R = iou_NR.argmax(1), iou_NR.argmax(0)
        named += [
            {**one, "category_id": objects[which]["category_id"]} if row[which] > 0 else one
            for one, which, row in zip(found, best_N, iou_NR, strict=True)
        ]
        masked += [
            {**found[which], "segmentation": one["segmentation"]}
            for number, (one, which) in enumerate(zip(objects, best_R, strict=True))
            if iou_NR[which, number] > 0
        ]
    return masked, named


def _ious(found: Annotations, objects: Annotations) -> NDArray[np.float64]:
    rles = ([one["segmentation"] for one in each] for each in (found, objects))
    return np.asarray(coco_mask.iou(*rles, [0] * len(objects)))


def _by_image(annotations: Annotations) -> dict[Any, Annotations]:
    images: dict[Any, Annotations] = defaultdict(list)
    for one in annotations:
        images[one["image_id"]].append(one)
    return images


class ObjectDiagnosis(DatasetEvaluator):
    """The oracles of what an `InstanceEvaluator` is fed with; needs no outputs of its own."""

    def __init__(self, scored: InstanceEvaluator) -> None:
        self.scored = scored

    def evaluate(self) -> dict[str, Any] | None:
        """{"oracles": {"AP": group -> AP}}, on the main process.

        The evaluator's own scores are taken from it if it was asked for them before.
        """
        own = self.scored
        parts = comm.gather((own.images, own.truth, own.predictions))
        if not comm.is_main_process():
            return None
        images, truth, predictions = ([x for part in parts for x in part[i]] for i in range(3))
        masked, named = oracle_predictions(truth, predictions)

        def ap(found: Annotations) -> dict[str, float]:
            scores = own.measure(truth, found, images, len(own.class_names))["AP"]
            return _ap_of(group_means({"AP": scores}, ~np.isnan(scores), own.groups))

        real = ap(predictions) if own.means is None else _ap_of(own.means)
        scored = zip(ORACLES, (real, ap(masked), ap(named)), strict=True)
        return {"oracles": {"AP": dict(scored)}}


def _ap_of(means: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    return {group: float(row["AP"]) for group, row in means.items()}
