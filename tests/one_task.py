"""One task of one image from class probabilities (Q, C + 1), by the accumulators alone."""

from __future__ import annotations

import torch
from torch import Tensor

from frozenseg.inference.instance import InstanceAccumulator, InstanceSegmentation, top_detections
from frozenseg.inference.mask_ensemble import semantic_weights
from frozenseg.inference.panoptic import PanopticAccumulator, PanopticSegmentation, keep_queries
from frozenseg.inference.semantic import LabelMap, SemanticAccumulator, sum_at_padded_size
from frozenseg.inference.strips import full_precision, sigmoid_strips
from frozenseg.structures import ImageGeometry


def semantic_segmentation(
    class_probs_QC1: Tensor,
    mask_logits_QIJ: Tensor,
    geometry: ImageGeometry,
    *,
    at_padded_size: bool = False,
    argmax_only: bool = False,
) -> Tensor | LabelMap:
    with full_precision(mask_logits_QIJ.device):
        weights_CR = semantic_weights(class_probs_QC1.float())
        tally = SemanticAccumulator(weights_CR, geometry.output, argmax_only=argmax_only)
        if at_padded_size and geometry.image != geometry.output:
            return sum_at_padded_size(tally, mask_logits_QIJ, geometry)
        for pixels, masks_QP in sigmoid_strips(mask_logits_QIJ, geometry):
            tally.add(pixels, masks_QP)
        return tally.finish()


def panoptic_segmentation(
    class_probs_QC1: Tensor,
    mask_logits_QIJ: Tensor,
    geometry: ImageGeometry,
    thing_C: Tensor,
    *,
    object_mask_threshold: float = 0.0,
    overlap_threshold: float = 0.8,
) -> PanopticSegmentation:
    with full_precision(mask_logits_QIJ.device):
        kept = keep_queries(class_probs_QC1.float(), object_mask_threshold)
        logits_NIJ = mask_logits_QIJ[kept.queries]
        rows = torch.arange(len(logits_NIJ), device=logits_NIJ.device)
        tally = PanopticAccumulator(
            kept._replace(queries=rows),
            len(rows),
            thing_C,
            geometry.output,
            overlap_threshold=overlap_threshold,
        )
        for pixels, masks_NP in sigmoid_strips(logits_NIJ, geometry):
            tally.add(pixels, masks_NP)
        return tally.finish()


def instance_segmentation(
    class_probs_QC1: Tensor,
    mask_logits_QIJ: Tensor,
    geometry: ImageGeometry,
    *,
    thing_C: Tensor | None = None,
    detections_per_image: int = 100,
) -> InstanceSegmentation:
    with full_precision(mask_logits_QIJ.device):
        found = top_detections(class_probs_QC1.float(), detections_per_image, thing_C)
        queries_N, row_K = found.queries.unique(return_inverse=True)
        tally = InstanceAccumulator(found._replace(queries=row_K), geometry.output)
        for pixels, masks_NP in sigmoid_strips(mask_logits_QIJ[queries_N], geometry):
            tally.add(pixels, masks_NP)
        return tally.finish()
