"""Instance segmentation from classified masks.

Legend: Q queries, C classes, K detections, P pixels of a strip.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from frozenseg.inference.strips import Scratch


class InstanceSegmentation(NamedTuple):
    """K detections: scores float32 (K,), classes int64 (K,), masks bool (K, H, W)."""

    scores: Tensor
    classes: Tensor
    masks: Tensor


class Detections(NamedTuple):
    """The chosen (query, class) pairs and their scores: each (K,)."""

    queries: Tensor
    classes: Tensor
    scores: Tensor


def top_detections(
    class_probs_QC1: Tensor, limit: int, thing_C: Tensor | None = None
) -> Detections:
    """The `limit` best (query, class) pairs over all classes but void, best first; then only things
    remain.

    Args:
        class_probs_QC1: class probabilities (Q, C + 1), void last.
        thing_C: bool (C,); pairs of other classes are dropped *after* the choice. None keeps all.
    """
    probs_QC = class_probs_QC1[:, :-1]
    scores_K, index_K = probs_QC.flatten().topk(min(limit, probs_QC.numel()))
    classes = max(1, probs_QC.shape[1])
    found = Detections(index_K // classes, index_K % classes, scores_K)
    if thing_C is None:
        return found
    thing_K = thing_C.to(index_K.device)[found.classes]
    return Detections(*(values_K[thing_K] for values_K in found))


def every_query(class_probs_QC1: Tensor) -> Detections:
    """All queries in order, each with its best class but void."""
    scores_Q, classes_Q = class_probs_QC1[:, :-1].max(1)
    queries_Q = torch.arange(len(scores_Q), device=scores_Q.device)
    return Detections(queries_Q, classes_Q, scores_Q)


class InstanceAccumulator:
    """Collects strips of mask probabilities; only chosen queries get a mask.

    Args:
        detections: what was chosen; `detections.queries` are rows of the strips.
        size: (H, W) of the output.
    """

    def __init__(self, detections: Detections, size: tuple[int, int]) -> None:
        device, count = detections.queries.device, len(detections.queries)
        self._detections, self._size = detections, size
        self._masks = torch.empty(count, size[0] * size[1], dtype=torch.bool, device=device)
        accurate = torch.float32 if device.type == "mps" else torch.float64  # Apple's has no other
        self._area_K, self._inside_K = torch.zeros(2, count, dtype=accurate, device=device)
        self._chosen, self._positive = Scratch(device), Scratch(device)

    def add(self, pixels: slice, masks_QP: Tensor) -> None:
        """Takes the mask probabilities of some pixels of the flattened output."""
        queries_K = self._detections.queries
        if not len(queries_K):
            return
        shape = len(queries_K), masks_QP.shape[1]
        chosen_KP = self._chosen.take(*shape)
        torch.index_select(masks_QP, 0, queries_K, out=chosen_KP)
        positive_KP = torch.gt(chosen_KP, 0.5, out=self._positive.take(*shape))
        self._masks[:, pixels] = positive_KP
        self._area_K += positive_KP.sum(1)
        self._inside_K += chosen_KP.mul_(positive_KP).sum(1)

    def finish(self) -> InstanceSegmentation:
        """Class score times the mean mask probability inside the mask."""
        quality_K = (self._inside_K / (self._area_K + 1e-6)).float()
        scores_K = self._detections.scores * quality_K
        masks = self._masks.view(-1, *self._size)
        return InstanceSegmentation(scores_K, self._detections.classes, masks)
