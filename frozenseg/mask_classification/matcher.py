"""Bipartite matching between predicted queries and ground-truth masks.

Legend: Q queries, C classes (+1 for void), M ground-truth masks, P points, H and W pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from frozenseg.layers.point_sampling import sample_shared_labels, sample_shared_points
from frozenseg.structures import MaskPrediction


@dataclass(frozen=True)
class Target:
    """Ground truth of one image.

    Attributes:
        classes_M: class indices, int64.
        masks_MHW: binary masks (bool), padded like the network input; a mask may be empty.
    """

    classes_M: Tensor
    masks_MHW: Tensor


class HungarianMatcher(nn.Module):
    """Assigns each ground-truth mask a different query at the least total cost.

    cost = class_weight * (-probability of the class) + mask_weight * BCE + dice_weight * dice,
    the mask terms on `num_points` random points shared by all masks of an image.
    Source: Mask2Former, arXiv:2112.01527, section 3.3; DETR, arXiv:2005.12872, section 3.1.
    """

    def __init__(
        self, *, class_weight: float, mask_weight: float, dice_weight: float, num_points: int
    ) -> None:
        super().__init__()
        self.class_weight = class_weight
        self.mask_weight = mask_weight
        self.dice_weight = dice_weight
        self.num_points = num_points

    @torch.no_grad()
    def forward(
        self,
        prediction: MaskPrediction,
        targets: Sequence[Target],
        generator: torch.Generator | None = None,
    ) -> list[tuple[Tensor, Tensor]]:
        """Per image the matched (query indices, target indices), queries ascending.

        Raises: FloatingPointError if a cost is not finite (the loss has diverged).
        """
        logits, masks = prediction.class_logits_BQC1, prediction.mask_logits_BQHW
        return [
            self._match_image(image_logits, image_masks, target, generator)
            for image_logits, image_masks, target in zip(logits, masks, targets, strict=True)
        ]

    def _match_image(
        self,
        class_logits_QC: Tensor,
        mask_logits_QHW: Tensor,
        target: Target,
        generator: torch.Generator | None,
    ) -> tuple[Tensor, Tensor]:
        device = class_logits_QC.device
        points = torch.rand(1, self.num_points, 2, device=device, generator=generator)
        with torch.autocast(device.type, enabled=False):
            logits_QP = sample_shared_points(mask_logits_QHW.float(), points[0])
            labels_MP = sample_shared_labels(target.masks_MHW, points[0])
            probability_QC = class_logits_QC.float().softmax(-1)
            cost_QM = (
                -self.class_weight * probability_QC[:, target.classes_M]
                + self.mask_weight * _pairwise_bce(logits_QP, labels_MP)
                + self.dice_weight * _pairwise_dice(logits_QP, labels_MP)
            )
        if not torch.isfinite(cost_QM).all():
            raise FloatingPointError(
                "the matching cost is not finite: the model's outputs have diverged"
            )
        rows, columns = linear_sum_assignment(cost_QM.cpu().numpy())
        return torch.as_tensor(rows, device=device), torch.as_tensor(columns, device=device)


def _pairwise_bce(logits_QP: Tensor, labels_MP: Tensor) -> Tensor:
    """Binary cross entropy (Q, M) of every pair, mean over points."""
    # y softplus(-x) + (1 - y) softplus(x) = softplus(x) - x y
    of_query_Q1 = F.softplus(logits_QP).sum(-1, keepdim=True)
    return (of_query_Q1 - logits_QP @ labels_MP.T) / logits_QP.shape[1]


def _pairwise_dice(logits_QP: Tensor, labels_MP: Tensor) -> Tensor:
    """Dice loss (Q, M) of every pair, smoothed by 1 above and below."""
    probability = logits_QP.sigmoid()
    overlap = 2 * probability @ labels_MP.T
    total = probability.sum(-1)[:, None] + labels_MP.sum(-1)[None]
    return 1 - (overlap + 1) / (total + 1)
