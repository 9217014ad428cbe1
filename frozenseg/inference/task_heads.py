"""All tasks of one image in one pass over its masks.

Legend: Q queries, C classes, C1 = C + 1 (void last), I, J the mask logits' size.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from frozenseg.inference.instance import (
    InstanceHead,
    InstanceSegmentation,
    every_query,
    top_detections,
)
from frozenseg.inference.panoptic import PanopticHead, PanopticSegmentation, keep_queries
from frozenseg.inference.semantic import LabelMap, SemanticHead, semantic_segmentation
from frozenseg.inference.tiles import full_precision, sigmoid_strips
from frozenseg.structures import ImageGeometry


class StripHead(Protocol):
    """Takes strips of mask probabilities, then gives a result."""

    def add(self, pixels: slice, masks_QP: Tensor) -> None:
        """`masks_QP` are the probabilities of the pixels `pixels` of the flattened output."""

    def finish(self) -> Any:
        """The task's result, after the last strip."""


@dataclass(frozen=True)
class TaskSettings:
    """Which tasks to solve, and how.

    Attributes:
        semantic, panoptic, instance: the tasks.
        object_mask_threshold: panoptic: a query takes part if its score is above.
        overlap_threshold: panoptic: a segment must win this share of its own mask.
        detections_per_image: instance: (query, class) pairs chosen. With `panoptic` on, pairs
            of stuff classes are then dropped, as the released code does.
        semantic_at_padded_size: semantic: sum at the padded input's size, then crop and resize.
        semantic_argmax_only: semantic: only the best class and its score, no (C, H, W) tensor.
        proposals: every query's mask with its best class, for recall; costs Q masks of the output.
    """

    semantic: bool = True
    panoptic: bool = True
    instance: bool = True
    object_mask_threshold: float = 0.0
    overlap_threshold: float = 0.8
    detections_per_image: int = 100
    semantic_at_padded_size: bool = False
    semantic_argmax_only: bool = False
    proposals: bool = False


@dataclass(frozen=True)
class TaskOutputs:
    """Results of one image; None where a task is off.

    Attributes:
        sem_seg: float32 (C, H, W); None also when only the labels were asked for.
        semantic_labels: best class and score of every pixel, when only they were asked for.
        panoptic: label map and segments.
        instances: scores, classes and masks.
        proposals: the same of all queries in order, each with its best class but void.
    """

    sem_seg: Tensor | None = None
    semantic_labels: LabelMap | None = None
    panoptic: PanopticSegmentation | None = None
    instances: InstanceSegmentation | None = None
    proposals: InstanceSegmentation | None = None


def run_task_heads(
    class_logits_QC1: Tensor,
    mask_logits_QIJ: Tensor,
    geometry: ImageGeometry,
    thing_C: Tensor,
    settings: TaskSettings,
) -> TaskOutputs:
    """Solves every task that is on; the mask probabilities are computed once for all of them.

    Temporaries stay at a few strips of masks (megabytes), whatever the size of the output. See
    `semantic_segmentation`, `panoptic_segmentation`, `instance_segmentation` for the tasks.

    Args:
        class_logits_QC1: class logits or log-probabilities, void last (`ensemble_classes`).
        mask_logits_QIJ: mask logits at the padded input's size / stride.
        geometry: sizes of padded input, image and output.
        thing_C: bool (C,), True for thing classes.

    Raises: ValueError for shapes that do not fit.
    """
    _check(class_logits_QC1, mask_logits_QIJ, thing_C)
    argmax_only = settings.semantic_argmax_only
    semantic = "semantic_labels" if argmax_only else "sem_seg"
    sum_first = settings.semantic_at_padded_size and geometry.image != geometry.output
    with full_precision(mask_logits_QIJ.device):
        probs_QC1 = class_logits_QC1.float().softmax(-1)
        heads: dict[str, StripHead] = {}
        if settings.semantic and not sum_first:
            heads[semantic] = SemanticHead(probs_QC1, geometry.output, argmax_only=argmax_only)
        rows_R = _add_mask_heads(heads, probs_QC1, geometry.output, thing_C, settings)
        if heads:
            for pixels, masks_RP in sigmoid_strips(_rows(mask_logits_QIJ, rows_R), geometry):
                for head in heads.values():
                    head.add(pixels, masks_RP)
        results = {field: head.finish() for field, head in heads.items()}
        if settings.semantic and sum_first:
            results[semantic] = semantic_segmentation(
                probs_QC1, mask_logits_QIJ, geometry, at_padded_size=True, argmax_only=argmax_only
            )
    return TaskOutputs(**results)


def _add_mask_heads(
    heads: dict[str, StripHead],
    probs_QC1: Tensor,
    size: tuple[int, int],
    thing_C: Tensor,
    settings: TaskSettings,
) -> Tensor:
    """Adds the panoptic and instance heads; returns the queries that all heads need, ascending.

    The heads are told the places of their queries among these. A semantic head needs all.
    """
    kept = found = None
    needed_Q = torch.full((len(probs_QC1),), bool(heads), device=probs_QC1.device)
    if settings.panoptic:
        kept = keep_queries(probs_QC1, settings.object_mask_threshold)
        needed_Q[kept.queries] = True
    if settings.instance:
        # As released: without panoptic segmentation stuff classes remain.
        things = thing_C if settings.panoptic else None
        found = top_detections(probs_QC1, settings.detections_per_image, things)
        needed_Q[found.queries] = True
    if settings.proposals:
        needed_Q[:] = True
        heads["proposals"] = InstanceHead(every_query(probs_QC1), size)
    rows_R = needed_Q.nonzero()[:, 0]
    if kept is not None:
        kept = kept._replace(queries=torch.searchsorted(rows_R, kept.queries))
        heads["panoptic"] = PanopticHead(
            kept, len(rows_R), thing_C, size, overlap_threshold=settings.overlap_threshold
        )
    if found is not None:
        found = found._replace(queries=torch.searchsorted(rows_R, found.queries))
        heads["instances"] = InstanceHead(found, size)
    return rows_R


def _rows(values: Tensor, rows: Tensor) -> Tensor:
    """The given rows, without a copy when these are all (they ascend)."""
    return values if len(rows) == len(values) else values[rows]


def _check(class_logits: Tensor, mask_logits: Tensor, thing: Tensor) -> None:
    if class_logits.dim() != 2 or class_logits.shape[1] < 2 or mask_logits.dim() != 3:
        raise ValueError(
            f"class logits {tuple(class_logits.shape)} and mask logits {tuple(mask_logits.shape)}: "
            "expected (Q, C + 1) with at least one class, and (Q, h, w), of one image"
        )
    if len(class_logits) != len(mask_logits):
        raise ValueError(
            f"{len(class_logits)} rows of class logits but {len(mask_logits)} masks: "
            "both have one row per query"
        )
    if thing.shape != (class_logits.shape[1] - 1,):
        raise ValueError(
            f"thing_C has the shape {tuple(thing.shape)}: pass one bool for each of the "
            f"{class_logits.shape[1] - 1} classes (the last column of the logits is void)"
        )
