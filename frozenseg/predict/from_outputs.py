"""From a model's outputs for one image to a segmentation with names.

Legend: H and W pixels, C classes, N instances.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frozenseg.predict.segmentation import Segmentation, from_label_map, from_masks
from frozenseg.resize import nearest_resize
from frozenseg.vocab import Vocabulary


def segmentation_of(
    outputs: Mapping[str, Any],
    task: str,
    image_HW3: NDArray[np.uint8],
    vocabulary: Vocabulary,
    score_threshold: float,
) -> Segmentation:
    """The segmentation at the image's size; instances below the threshold are left out.

    Args: outputs: of the model, under detectron2's keys, at the image's size or smaller; tensors of
        any device or arrays.
    """
    size = (image_HW3.shape[0], image_HW3.shape[1])
    if task == "panoptic":
        label_map_HW, segments_info = outputs["panoptic_seg"]
        found = _panoptic(label_map_HW, segments_info, size, vocabulary)
    elif task == "semantic":
        labels = outputs.get("semantic_labels")
        labels_HW = outputs["sem_seg"].argmax(0) if labels is None else labels
        found = _semantic(labels_HW, size, vocabulary)
    else:
        found = _instances(outputs["instances"], size, vocabulary, score_threshold)
    return dataclasses.replace(found, image_HW3=image_HW3)


def _panoptic(
    label_map_HW: Any,
    segments_info: list[dict[str, Any]],
    size: tuple[int, int],
    vocabulary: Vocabulary,
) -> Segmentation:
    classes = {info["id"]: int(info["category_id"]) for info in segments_info}
    scores = {info["id"]: info.get("score") for info in segments_info}
    full_HW = nearest_resize(_array(label_map_HW).astype(np.int32), size)
    return from_label_map(full_HW, classes, vocabulary, "panoptic", scores)


def _semantic(labels_HW: Any, size: tuple[int, int], vocabulary: Vocabulary) -> Segmentation:
    """Ids are class index + 1: every pixel has a class."""
    label_map_HW = _array(labels_HW).astype(np.int32) + 1
    classes = {index + 1: index for index in range(len(vocabulary))}
    return from_label_map(nearest_resize(label_map_HW, size), classes, vocabulary, "semantic")


def _instances(
    instances: Any, size: tuple[int, int], vocabulary: Vocabulary, threshold: float
) -> Segmentation:
    """Instances of things with at least the threshold's score."""
    scores_N, classes_N = _array(instances.scores), _array(instances.pred_classes)
    kept_N = (scores_N >= threshold) & np.array(vocabulary.thing_mask)[classes_N]
    best_first = [i for i in np.argsort(-scores_N, kind="stable").tolist() if kept_N[i]]
    detections = (
        (
            nearest_resize(_array(instances.pred_masks[i]).astype(bool), size),
            int(classes_N[i]),
            float(scores_N[i]),
        )
        for i in best_first
    )
    return from_masks(detections, size, vocabulary)


def _array(values: Any) -> NDArray[Any]:
    """An array of a tensor of any device, or of an array; nothing is copied on the CPU."""
    return np.asarray(values.cpu() if hasattr(values, "cpu") else values)
