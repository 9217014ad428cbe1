"""Set-prediction losses of training.

Legend: B images, Q queries, C classes (+1 for void), R matched masks of the batch, P points.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn

from frozenseg.layers.point_sampling import sample_labels, sample_points, uncertain_points
from frozenseg.mask_classification.decoder import DecoderOutput
from frozenseg.mask_classification.matcher import HungarianMatcher, Target
from frozenseg.structures import LossDivisor, MaskPrediction

Matches = list[tuple[Tensor, Tensor]]


class SetCriterion(nn.Module):
    """Cross entropy over all queries; BCE and dice of the matched ones on sampled points.

    The mask losses of a batch are divided by its number of masks (over all processes), its cross
    entropy by the summed class weights of its queries (of this process): `loss_divisors`.
    Source: Mask2Former, arXiv:2112.01527, section 3.3 and PointRend's point sampling.
    """

    empty_weight: Tensor
    class_weight: Tensor

    def __init__(
        self,
        matcher: HungarianMatcher,
        *,
        num_classes: int,
        num_queries: int,
        no_object_weight: float,
        loss_weights: Mapping[str, float],
        num_points: int,
        oversample_ratio: float,
        importance_ratio: float,
        class_weights: Sequence[float] | None = None,
    ) -> None:
        """
        Args:
            num_queries: Q, which the class weights of an image depend on.
            num_classes: C without void; void's cross entropy weighs `no_object_weight`.
            loss_weights: weight of `loss_ce`, `loss_mask` and `loss_dice`.
            num_points, oversample_ratio, importance_ratio: see `uncertain_points`.
            class_weights: weights (C,) of the classes in the cross entropy; None: all weigh 1.
        """
        super().__init__()
        self.matcher = matcher
        masks = LossDivisor(number_of_masks, over_processes=True, at_least=1)
        # Not a lambda: models are pickled.
        weights = LossDivisor(partial(self._summed_weight, queries=num_queries))
        self.loss_divisors = {"loss_ce": weights, "loss_mask": masks, "loss_dice": masks}
        self.loss_weights = dict(loss_weights)
        self.no_object_weight = no_object_weight
        self.num_points = num_points
        self.oversample_ratio = oversample_ratio
        self.importance_ratio = importance_ratio
        weight = torch.ones(num_classes + 1)
        weight[-1] = no_object_weight
        self.register_buffer("empty_weight", weight)
        # Not in checkpoints: they come with the config, like the weights of the losses.
        of_class = torch.tensor([*(class_weights or [1.0] * num_classes), 1.0])
        self.register_buffer("class_weight", of_class, persistent=False)

    def check_classes(self, expected: int) -> None:
        """Raises: ValueError if the class count is not the training vocabulary's."""
        classes = len(self.empty_weight) - 1
        if classes != expected:
            raise ValueError(
                f"MODEL.SEM_SEG_HEAD.NUM_CLASSES is {classes} but the training vocabulary "
                f"has {expected} classes: leave it out, or set it to {expected}"
            )

    def forward(
        self,
        output: DecoderOutput,
        targets: Sequence[Target],
        generator: torch.Generator | None = None,
    ) -> dict[str, Tensor]:
        """Weighted losses: `loss_ce`, `loss_mask`, `loss_dice` of the last layer, and with the
        suffix `_0`, `_1`, ... of the intermediate predictions.
        """
        return self.with_matches(output, targets, generator)[0]

    def with_matches(
        self,
        output: DecoderOutput,
        targets: Sequence[Target],
        generator: torch.Generator | None = None,
    ) -> tuple[dict[str, Tensor], Matches]:
        """`forward`'s losses, and the matches of the last prediction.

        Random points come from `generator` (the device's default one if None), in this order:
        for the last prediction, then for each intermediate one: matching, then loss points.
        """
        num_masks = _masks_per_rank(sum(len(t.classes_M) for t in targets), self.empty_weight)
        losses: dict[str, Tensor] = {}
        first: Matches = []
        suffixes = ["", *(f"_{index}" for index in range(len(output.auxiliary)))]
        for suffix, prediction in zip(suffixes, [output.final, *output.auxiliary], strict=True):
            matches = self.matcher(prediction, targets, generator)
            first = first or matches
            values = self._losses(prediction, targets, matches, num_masks, generator)
            for name, value in values.items():
                losses[name + suffix] = value * self.loss_weights[name]
        return losses, first

    def _losses(
        self,
        prediction: MaskPrediction,
        targets: Sequence[Target],
        matches: Matches,
        num_masks: Tensor,
        generator: torch.Generator | None,
    ) -> dict[str, Tensor]:
        """Unweighted losses of one prediction."""
        with torch.autocast(prediction.class_logits_BQC1.device.type, enabled=False):
            loss_mask, loss_dice = self._mask_losses(
                prediction.mask_logits_BQHW.float(), targets, matches, num_masks, generator
            )
            return {
                "loss_ce": self._class_loss(prediction.class_logits_BQC1.float(), targets, matches),
                "loss_mask": loss_mask,
                "loss_dice": loss_dice,
            }

    def _class_loss(
        self, logits_BQC: Tensor, targets: Sequence[Target], matches: Matches
    ) -> Tensor:
        """Cross entropy, divided by the summed class weights over batch x queries."""
        void = len(self.empty_weight) - 1
        classes_BQ = torch.full(
            logits_BQC.shape[:2], void, dtype=torch.int64, device=logits_BQC.device
        )
        for image, (target, (queries, masks)) in enumerate(zip(targets, matches, strict=True)):
            classes_BQ[image, queries] = target.classes_M[masks]
        weight_C = self.empty_weight * self.class_weight
        return F.cross_entropy(logits_BQC.transpose(1, 2), classes_BQ, weight_C)

    def _summed_weight(self, sample: Mapping[str, Any], queries: int) -> float:
        """Summed weights of an image's cross entropy: a query without a mask weighs void's.

        With more masks than queries those that are matched are taken to weigh the mean of all.
        """
        masks = number_of_masks(sample)
        total = float(self.class_weight.cpu()[sample["instances"].gt_classes].sum()) if masks else 0
        matched = min(masks, queries)
        return total * matched / max(masks, 1) + (queries - matched) * self.no_object_weight

    def _mask_losses(
        self,
        mask_logits_BQHW: Tensor,
        targets: Sequence[Target],
        matches: Matches,
        num_masks: Tensor,
        generator: torch.Generator | None,
    ) -> tuple[Tensor, Tensor]:
        """BCE and dice over the matched masks, images in order, queries ascending."""
        logits_RHW = torch.cat(
            [masks[queries] for masks, (queries, _) in zip(mask_logits_BQHW, matches, strict=True)]
        )
        if not len(logits_RHW):
            zero = logits_RHW.sum()
            return zero, zero
        points_RP2 = uncertain_points(
            logits_RHW,
            self.num_points,
            oversample_ratio=self.oversample_ratio,
            importance_ratio=self.importance_ratio,
            generator=generator,
        )
        with torch.no_grad():
            counts = [len(queries) for queries, _ in matches]
            labels_RP = torch.cat(
                [
                    sample_labels(target.masks_MHW, index, points)
                    for target, (_, index), points in zip(
                        targets, matches, points_RP2.split(counts), strict=True
                    )
                ]
            )
        logits_RP = sample_points(logits_RHW, points_RP2)
        bce_R = F.binary_cross_entropy_with_logits(logits_RP, labels_RP, reduction="none").mean(1)
        probability_RP = logits_RP.sigmoid()
        overlap_R = 2 * (probability_RP * labels_RP).sum(1)
        total_R = probability_RP.sum(1) + labels_RP.sum(1)
        dice_R = 1 - (overlap_R + 1) / (total_R + 1)
        return bce_R.sum() / num_masks, dice_R.sum() / num_masks


def number_of_masks(sample: Mapping[str, Any]) -> int:
    """Ground-truth masks of a training sample."""
    return len(sample.get("instances", ()))


def _masks_per_rank(count: int, like: Tensor) -> Tensor:
    """Ground-truth masks of the whole batch, averaged over ranks, at least 1."""
    total = torch.tensor(float(count), device=like.device)
    if dist.is_available() and dist.is_initialized():
        dist.all_reduce(total)
        total = total / dist.get_world_size()
    return total.clamp(min=1)
