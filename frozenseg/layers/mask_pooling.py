"""Averages of a feature map over predicted masks.

Legend: B images, Q queries, C channels, H and W cells of a map.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor


def resize_mask_logits(mask_logits_BQHW: Tensor, size: tuple[int, int]) -> Tensor:
    """Mask logits resized bilinearly (align_corners=False) to `size`; unchanged if equal."""
    if tuple(mask_logits_BQHW.shape[-2:]) == tuple(size):
        return mask_logits_BQHW
    if mask_logits_BQHW.numel() == 0:  # no masks: interpolate refuses them
        return mask_logits_BQHW.new_zeros((*mask_logits_BQHW.shape[:2], *size))
    return F.interpolate(mask_logits_BQHW, size=size, mode="bilinear", align_corners=False)


def has_positive(mask_logits_BQHW: Tensor) -> Tensor:
    """Whether each mask has a cell with a positive logit: bool (B, Q)."""
    return (mask_logits_BQHW > 0).flatten(2).any(-1)


def pool_by_masks(features_BCHW: Tensor, mask_logits_BQHW: Tensor) -> Tensor:
    """Mean of the features over {mask logit > 0}: (B, Q, C).

    The masks are resized to the map where sizes differ and carry no gradient. A mask without a
    positive cell gives zeros.
    Source: FC-CLIP, arXiv:2308.02487, section 3.3 (mask pooling).
    """
    size = (features_BCHW.shape[-2], features_BCHW.shape[-1])
    with torch.no_grad():
        mask_BQN = (resize_mask_logits(mask_logits_BQHW.detach(), size) > 0).flatten(2)
        mask_BQN = mask_BQN.to(features_BCHW.dtype)
        # Not `+ 1e-8`, which is the same: ONNX optimizers take it for + 0, and 0 / 0 is NaN.
        weight_BQN = mask_BQN / mask_BQN.sum(-1, keepdim=True).clamp(min=1)
    return torch.einsum("bqn,bcn->bqc", weight_BQN, features_BCHW.flatten(2))
