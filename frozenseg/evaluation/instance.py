"""Mask AP by pycocotools (not detectron2's compiled variant), with the scores of every class.

The ground truth are the thing segments of the panoptic annotation, crowds included.
Legend: C classes, N instances, H and W pixels.
"""

from __future__ import annotations

import contextlib
import io
from typing import Any

import numpy as np
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm

from frozenseg.data.coco_panoptic import ids_of_rgb, read_panoptic_png
from frozenseg.evaluation.averages import Groups, group_means, per_class

IOU_50, IOU_75 = 0, 5  # positions in COCO's thresholds 0.50, 0.55, ... 0.95
AREAS = {"AP": 0, "AP50": 0, "AP75": 0, "AP_small": 1, "AP_medium": 2, "AP_large": 3}
MAX_DETECTIONS = 2  # position of 100 in COCO's (1, 10, 100)


def mask_ap(
    truth: list[dict[str, Any]],
    predictions: list[dict[str, Any]],
    images: list[dict[str, int]],
    classes: int,
) -> dict[str, np.ndarray]:
    """AP of every class in 0..1, NaN where the ground truth has none of its instances.

    Args:
        truth, predictions: COCO annotations (image_id, category_id, segmentation as RLE; area and
            iscrowd, or score); ids are added here.
        images: id, height and width of every image.
    Returns: score name -> (C,).
    """
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "info": {},
            "images": images,
            "annotations": [{"id": i, **one} for i, one in enumerate(truth, start=1)],
            "categories": [{"id": index} for index in range(classes)],
        }
        coco.createIndex()
        nothing = {name: np.full(classes, np.nan) for name in AREAS}
        if not truth:
            return nothing
        evaluation = COCOeval(coco, coco.loadRes(predictions) if predictions else COCO(), "segm")
        evaluation.params.imgIds = [image["id"] for image in images]
        evaluation.params.catIds = list(range(classes))
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"]  # IoU thresholds, recalls, classes, areas, detections
    return {name: _mean(_select(precision, name, area)) for name, area in AREAS.items()}


def _select(precision: np.ndarray, name: str, area: int) -> np.ndarray:
    thresholds = {"AP50": [IOU_50], "AP75": [IOU_75]}.get(name, slice(None))
    return precision[thresholds, :, :, area, MAX_DETECTIONS]


def _mean(precision: np.ndarray) -> np.ndarray:
    """Mean over thresholds and recalls of (T, R, C); NaN for classes marked -1 (no truth)."""
    valid = precision > -1
    total = np.where(valid, precision, 0).sum((0, 1))
    return np.where(valid.any((0, 1)), total / np.maximum(valid.sum((0, 1)), 1), np.nan)


class InstanceEvaluator(DatasetEvaluator):
    """Scores `instances` (pred_masks, scores, pred_classes) of every image."""

    def __init__(self, class_names: tuple[str, ...], groups: Groups) -> None:
        """`groups` as from `class_groups(..., stuff=False)`: only things are scored."""
        self.class_names = class_names
        self.groups = groups
        self.reset()

    def reset(self) -> None:
        """Forgets all images."""
        self.images: list[dict[str, int]] = []
        self.truth: list[dict[str, Any]] = []
        self.predictions: list[dict[str, Any]] = []

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        """Adds images."""
        for record, output in zip(inputs, outputs, strict=True):
            image = record["image_id"]
            ids = ids_of_rgb(read_panoptic_png(record["pan_seg_file_name"]))
            self.images.append({"id": image, "height": ids.shape[0], "width": ids.shape[1]})
            for segment in record["segments_info"]:
                if segment["isthing"]:
                    mask = ids == segment["id"]
                    self.truth.append(
                        {
                            "image_id": image,
                            "category_id": segment["category_id"],
                            "iscrowd": segment["iscrowd"],
                            "area": int(mask.sum()),
                            "segmentation": _encode(mask),
                        }
                    )
            instances = output["instances"].to("cpu")
            masks = instances.pred_masks.numpy().astype(bool)
            for mask, score, label in zip(
                masks, instances.scores.tolist(), instances.pred_classes.tolist(), strict=True
            ):
                found = {"image_id": image, "category_id": label, "score": score}
                self.predictions.append({**found, "segmentation": _encode(mask)})

    def evaluate(self) -> dict[str, Any] | None:
        """{"instance": scores}, on the main process."""
        parts = comm.gather((self.images, self.truth, self.predictions))
        if not comm.is_main_process():
            return None
        images, truth, predictions = ([x for part in parts for x in part[i]] for i in range(3))
        scores = mask_ap(truth, predictions, images, len(self.class_names))
        counted = ~np.isnan(scores["AP"])
        means = group_means({"AP": scores["AP"]}, counted, self.groups)
        for name, values in scores.items():
            for group, row in group_means({name: values}, ~np.isnan(values), self.groups).items():
                means[group][name] = row[name]
        shown = {"AP": scores["AP"], "AP50": scores["AP50"]}
        return {"instance": {**means, "per_class": per_class(shown, counted, self.class_names)}}


def _encode(mask: np.ndarray) -> dict[str, Any]:
    from pycocotools import mask as coco_mask

    return coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
