"""How well the miniature SAM cuts out things: from one click, and without any.

Legend: N things, M masks, H and W pixels.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from segment_anything import SamAutomaticMaskGenerator, SamPredictor

from frozenseg.data.miniature.classes import CLASSES
from frozenseg.data.miniature.scenes import MiniatureScene, draw_scene
from frozenseg.encoders.sam.model import load_sam
from tools.miniature.clip_evaluation import percent
from tools.miniature.sam_training import SAM_CONFIG

# Of the automatic generator; the figures in the report hold for these.
AUTOMATIC = {
    "points_per_side": 16,
    "pred_iou_thresh": 0.4,
    "stability_score_thresh": 0.5,
    "stability_score_offset": 0.5,
    "box_nms_thresh": 0.7,
}
FOUND_IOU = 0.5


def evaluate_sam(
    weights: Path, *, seed: int, scenes: int, automatic_scenes: int = 60
) -> dict[str, Any]:
    """Mean IoU in per cent of one-click masks of things; share of things that are found.

    "center": the click lies farthest from the edge of the thing; "random": anywhere in it.
    "single" is the decoder's single answer, "scored" the one of the other three with the best
    predicted IoU, "best" the best of these by the ground truth.
    """
    sam = load_sam(str(SAM_CONFIG), str(weights))
    drawn = [draw_scene(seed, i) for i in range(scenes)]
    figures: dict[str, Any] = {"one_click": one_click(SamPredictor(sam), drawn, seed)}
    generator = SamAutomaticMaskGenerator(sam, **AUTOMATIC)
    figures["automatic"] = automatic(generator, drawn[:automatic_scenes])
    return figures


def one_click(predictor: SamPredictor, drawn: list[MiniatureScene], seed: int) -> dict[str, float]:
    generator = np.random.default_rng(seed)
    ious: dict[str, list[float]] = {}
    for scene in drawn:
        predictor.set_image(scene.image)
        for segment in scene.segments:
            mask = scene.ids == segment["id"]
            row = CLASSES[segment["category"]]
            for place, point in _clicks(mask, generator).items():
                answers = _answers(predictor, point, mask)
                kind = "" if row.is_thing else "_stuff"
                for name, iou in answers.items():
                    ious.setdefault(f"{place}_{name}{kind}", []).append(iou)
                if row.is_thing and not row.seen:
                    ious.setdefault(f"{place}_single_unseen", []).append(answers["single"])
    return {name: percent(values) for name, values in sorted(ious.items())}


def _clicks(mask: np.ndarray, generator: np.random.Generator) -> dict[str, tuple[int, int]]:
    """Points x, y in the mask."""
    padded = np.pad(mask.astype(np.uint8), 1)
    depth = cv2.distanceTransform(padded, cv2.DIST_L2, 5)[1:-1, 1:-1]
    center = int(depth.argmax())
    anywhere = int(generator.choice(np.flatnonzero(mask)))
    width = mask.shape[1]
    return {
        "center": (center % width, center // width),
        "random": (anywhere % width, anywhere // width),
    }


def _answers(
    predictor: SamPredictor, point: tuple[int, int], truth: np.ndarray
) -> dict[str, float]:
    points, labels = np.array([point], np.float32), np.ones(1)
    single, _, _ = predictor.predict(points, labels, multimask_output=False)
    several, scores, _ = predictor.predict(points, labels, multimask_output=True)
    ious = [_iou(mask, truth) for mask in several]
    return {
        "single": _iou(single[0], truth),
        "scored": ious[int(np.argmax(scores))],
        "best": max(ious),
    }


def automatic(
    generator: SamAutomaticMaskGenerator, drawn: list[MiniatureScene]
) -> dict[str, float]:
    """Per cent of the things that a mask covers at IoU 0.5, masks and seconds per picture."""
    found, count, seconds = [], 0, 0.0
    for scene in drawn:
        start = time.perf_counter()
        masks = [row["segmentation"] for row in generator.generate(scene.image)]
        seconds += time.perf_counter() - start
        count += len(masks)
        for segment in scene.segments:
            if segment["isthing"]:
                truth = scene.ids == segment["id"]
                found.append(any(_iou(mask, truth) >= FOUND_IOU for mask in masks))
    return {
        "things_found": percent(found),
        "masks_per_picture": round(count / len(drawn), 1),
        "seconds_per_picture": round(seconds / len(drawn), 2),
    }


def _iou(mask: np.ndarray, truth: np.ndarray) -> float:
    union = np.count_nonzero(mask | truth)
    return np.count_nonzero(mask & truth) / union if union else 1.0
