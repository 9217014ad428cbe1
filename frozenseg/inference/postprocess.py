"""All tasks of one image in one pass over its masks.

Legend: Q queries, N proposals, R = Q + N rows of the strips, C classes, C1 = C + 1 (void last),
I, J the mask logits' size.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from frozenseg.inference.instance import (
    Detections,
    InstanceAccumulator,
    InstanceSegmentation,
    every_query,
    top_detections,
)
from frozenseg.inference.mask_ensemble import (
    Candidates,
    ChosenProposals,
    Proposals,
    add_as_queries,
    as_detections,
    choose_proposals,
    only_queries,
    semantic_weights,
)
from frozenseg.inference.panoptic import (
    PanopticAccumulator,
    PanopticSegmentation,
    drop_duplicates,
    keep_queries,
)
from frozenseg.inference.semantic import LabelMap, SemanticAccumulator, sum_at_padded_size
from frozenseg.inference.strips import full_precision, sigmoid_strips
from frozenseg.structures import ImageGeometry, TaskSettings


class StripAccumulator(Protocol):
    """Takes strips of mask probabilities, then gives a result."""

    def add(self, pixels: slice, masks_QP: Tensor) -> None:
        """`masks_QP` are the probabilities of the pixels `pixels` of the flattened output."""

    def finish(self) -> Any:
        """The task's result, after the last strip."""


@dataclass(frozen=True)
class TaskOutputs:
    """Results of one image; None where a task is off.

    Attributes:
        sem_seg: float32 (C, H, W); None also when only the labels were asked for.
        semantic_labels: best class and score of every pixel, when only they were asked for.
        panoptic: label map and segments.
        instances: scores, classes and masks.
        query_masks: the same of all queries in order, each with its best class but void.
        sam_proposals: the same of all proposals given to `solve_tasks`, where `query_masks` is.
    """

    sem_seg: Tensor | None = None
    semantic_labels: LabelMap | None = None
    panoptic: PanopticSegmentation | None = None
    instances: InstanceSegmentation | None = None
    query_masks: InstanceSegmentation | None = None
    sam_proposals: InstanceSegmentation | None = None


def solve_tasks(
    class_logits_QC1: Tensor,
    mask_logits_QIJ: Tensor,
    geometry: ImageGeometry,
    thing_C: Tensor,
    settings: TaskSettings,
    proposals: Proposals | None = None,
    panoptic_logits_QC1: Tensor | None = None,
) -> TaskOutputs:
    """Solves every task that is on; the mask probabilities are computed once for all of them.

    Temporaries stay at a few strips of masks (megabytes), whatever the size of the output.
    The tasks: `SemanticAccumulator`, `PanopticAccumulator`, `InstanceAccumulator`.

    Args:
        class_logits_QC1: class logits or log-probabilities, void last (`ensemble_classes`).
        mask_logits_QIJ: mask logits at the padded input's size / stride.
        geometry: sizes of padded input, image and output.
        thing_C: bool (C,), True for thing classes.
        proposals: SAM's, for the mask ensemble (`mask_ensemble.py`); None: without it.
        panoptic_logits_QC1: the panoptic task's own class logits; None: those of all tasks.

    Raises: ValueError for shapes that do not fit.
    """
    _check(class_logits_QC1, mask_logits_QIJ, thing_C)
    size, argmax_only = geometry.output, settings.semantic_argmax_only
    sum_first = settings.semantic_at_padded_size and geometry.image != size
    with full_precision(mask_logits_QIJ.device):
        probs_QC1 = class_logits_QC1.float().softmax(-1)
        chosen = choose_proposals(proposals, len(thing_C), size, probs_QC1.device)
        accumulators: dict[str, StripAccumulator] = {}
        results: dict[str, Any] = {}
        if settings.semantic:
            field = "semantic_labels" if argmax_only else "sem_seg"
            weights_CR = semantic_weights(probs_QC1, chosen, settings.sam_alpha)
            scores = SemanticAccumulator(weights_CR, size, argmax_only=argmax_only)
            if sum_first:
                results[field] = sum_at_padded_size(scores, mask_logits_QIJ, geometry, chosen)
            else:
                accumulators[field] = scores
        candidates = _candidates(probs_QC1, mask_logits_QIJ, geometry, chosen, settings)
        kept = None
        if settings.panoptic:
            panoptic = candidates
            if panoptic_logits_QC1 is not None:
                own_QC1 = panoptic_logits_QC1.float().softmax(-1)
                panoptic = _candidates(own_QC1, mask_logits_QIJ, geometry, chosen, settings)
            kept = _panoptic_queries(panoptic, mask_logits_QIJ, geometry, settings)
        rows_R = _add_mask_accumulators(
            accumulators, probs_QC1, candidates, kept, size, thing_C, settings
        )
        if accumulators:
            for pixels, masks_RP in _strips(mask_logits_QIJ, geometry, chosen, rows_R):
                for accumulator in accumulators.values():
                    accumulator.add(pixels, masks_RP)
        results |= {field: each.finish() for field, each in accumulators.items()}
        if settings.query_masks and proposals is not None:
            results["sam_proposals"] = as_detections(proposals, size)
    return TaskOutputs(**results)


def _candidates(
    probs_QC1: Tensor,
    mask_logits_QIJ: Tensor,
    geometry: ImageGeometry,
    chosen: ChosenProposals | None,
    settings: TaskSettings,
) -> Candidates:
    """What competes in panoptic and instance segmentation."""
    queries = only_queries(probs_QC1, chosen)
    if chosen is None or not settings.proposals_as_queries:
        return queries
    return add_as_queries(
        queries,
        mask_logits_QIJ,
        geometry,
        chosen,
        weight=settings.proposal_weight,
        max_iou=settings.proposal_max_iou,
    )


def _panoptic_queries(
    candidates: Candidates,
    mask_logits_QIJ: Tensor,
    geometry: ImageGeometry,
    settings: TaskSettings,
) -> Detections:
    """The candidates that compete for the pixels of the panoptic map, with their rows."""
    kept = keep_queries(candidates.class_probs, settings.object_mask_threshold)
    kept = kept._replace(queries=candidates.rows[kept.queries])
    if settings.panoptic_max_iou < 1:
        kept = drop_duplicates(kept, mask_logits_QIJ, geometry, settings.panoptic_max_iou)
    return kept


def _add_mask_accumulators(
    accumulators: dict[str, StripAccumulator],
    probs_QC1: Tensor,
    candidates: Candidates,
    kept: Detections | None,
    size: tuple[int, int],
    thing_C: Tensor,
    settings: TaskSettings,
) -> Tensor:
    """Adds those of panoptic and instance segmentation; returns the rows that all need, ascending.

    Args:
        candidates: of instance segmentation.
        kept: the queries of the panoptic map; None: that task is off.
    They are told the places of their rows among these. A semantic accumulator needs all rows.
    """
    found = None
    needed_R = torch.full((candidates.num_rows,), bool(accumulators), device=probs_QC1.device)
    if kept is not None:
        needed_R[kept.queries] = True
    if settings.instance:
        # As released: without panoptic segmentation stuff classes remain.
        things = thing_C if settings.panoptic else None
        found = top_detections(candidates.class_probs, settings.detections_per_image, things)
        found = found._replace(queries=candidates.rows[found.queries])
        needed_R[found.queries] = True
    if settings.query_masks:
        needed_R[: len(probs_QC1)] = True
        accumulators["query_masks"] = InstanceAccumulator(every_query(probs_QC1), size)
    rows_R = needed_R.nonzero()[:, 0]
    if kept is not None:
        kept = kept._replace(queries=torch.searchsorted(rows_R, kept.queries))
        accumulators["panoptic"] = PanopticAccumulator(
            kept, len(rows_R), thing_C, size, overlap_threshold=settings.overlap_threshold
        )
    if found is not None:
        found = found._replace(queries=torch.searchsorted(rows_R, found.queries))
        accumulators["instances"] = InstanceAccumulator(found, size)
    return rows_R


def _strips(
    mask_logits_QIJ: Tensor, geometry: ImageGeometry, chosen: ChosenProposals | None, rows_R: Tensor
) -> Iterator[tuple[slice, Tensor]]:
    """Strips of the rows `rows_R` of all queries, then all proposals that take part."""
    queries = len(mask_logits_QIJ)
    if chosen is None:
        return sigmoid_strips(_rows(mask_logits_QIJ, rows_R), geometry)
    is_query_R = rows_R < queries
    chosen = chosen.select(rows_R[~is_query_R] - queries)
    return sigmoid_strips(_rows(mask_logits_QIJ, rows_R[is_query_R]), geometry, chosen)


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
