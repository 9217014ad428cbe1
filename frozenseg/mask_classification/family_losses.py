"""Losses of FC-CLIP's descendants: Mask-Adapter, MAFT+, OVRCOAT. None of them is weighted.

Where a reference computes something that looks unintended, `released=True` does as it did.
Like `SetCriterion`, a caller switches autocast off around them.

Legend: B images, Q queries, N slots, C classes (void not counted), M ground-truth masks of an
image, V channels, K channels of CLIP's joint space, H, W pixels, h, w cells.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from frozenseg.layers.mask_pooling import resize_mask_logits
from frozenseg.mask_classification.adapter_masks import EMPTY_SLOT
from frozenseg.mask_classification.matcher import Target
from frozenseg.resize import axis_weights

_PYRAMID = (1, 2, 4)  # bins of the compensation loss along an axis


def slot_class_loss(logits_BNC: Tensor, classes_BN: Tensor) -> Tensor:
    """Mean cross entropy over all slots of the batch that hold a mask; 0 if there is none.

    Source: Mask-Adapter, arXiv:2412.04533, section 3.3.
    """
    total = F.cross_entropy(
        logits_BNC.flatten(0, 1).float(),
        classes_BN.flatten(),
        ignore_index=EMPTY_SLOT,
        reduction="sum",
    )
    return total / (classes_BN != EMPTY_SLOT).sum().clamp(min=1)


def mask_consistency_loss(
    predicted_BPK: Tensor,
    paired_BPK: Tensor,
    classes_BP: Tensor,
    *,
    detach: bool = True,
    released: bool = False,
) -> Tensor:
    """1 - cosine of the embeddings of predicted masks and of their ground truth, mean over pairs.

    Args:
        classes_BP: `EMPTY_SLOT` where there is no pair; without any pair the loss is 0.
        detach: no gradient reaches `paired_BPK` (FC-CLIP's adapter; MAFT+'s lets it through).
        released: the mean is taken over the empty slots too, whose embeddings are compared alike.
    Source: Mask-Adapter, arXiv:2412.04533, section 3.3 (mask consistency).
    """
    paired_BPK = paired_BPK.detach() if detach else paired_BPK
    distance_BP = 1 - F.cosine_similarity(predicted_BPK.float(), paired_BPK.float(), dim=-1)
    if released:
        return distance_BP.mean()
    pair_BP = classes_BP != EMPTY_SLOT
    return (distance_BP * pair_BP).sum() / pair_BP.sum().clamp(min=1)


def ranking_loss(
    clip_logits_BQC: Tensor, mask_logits_BQhw: Tensor, targets: Sequence[Target]
) -> Tensor:
    """CLIP's probability of a segment's class should order the queries as their overlap with it.

    For every ground-truth mask the soft IoU with each query is scaled to [0, 1] over the queries;
    smooth L1 of CLIP's probability of its class from that, mean over all masks and queries; 0
    without any mask. No gradient reaches the masks.

    Args: clip_logits_BQC: without void.
    Source: MAFT+, arXiv:2408.00744, section 3.2 (mask-aware loss).
    """
    probability_BQC = clip_logits_BQC.float().softmax(-1)
    found, wanted = [], []
    for probability_QC, logits_Qhw, target in zip(
        probability_BQC, mask_logits_BQhw.detach(), targets, strict=True
    ):
        found.append(probability_QC.T[target.classes_M])
        iou_MQ = _soft_iou(target.masks_MHW, logits_Qhw.float().sigmoid())
        low, high = iou_MQ.amin(1, keepdim=True), iou_MQ.amax(1, keepdim=True)
        wanted.append((iou_MQ - low) / (high - low + 1e-8))
    loss_RQ = F.smooth_l1_loss(torch.cat(found), torch.cat(wanted), reduction="none")
    return loss_RQ.sum() / max(1, loss_RQ.numel())


def _soft_iou(masks_MHW: Tensor, probability_Qhw: Tensor) -> Tensor:
    """IoU (M, Q) of masks and probabilities that are resized bilinearly to their size.

    The resize is linear, so its transpose brings the masks to the size of the probabilities: sums
    over pixels become sums over cells.
    """
    (height, width), (h, w) = masks_MHW.shape[-2:], probability_Qhw.shape[-2:]
    rows_Hh, columns_Ww = (
        torch.from_numpy(axis_weights(source, target, target, target)).to(probability_Qhw)
        for source, target in ((h, height), (w, width))
    )
    masks = masks_MHW.to(probability_Qhw.dtype)
    shares_Mhw = rows_Hh.T @ masks @ columns_Ww
    area_hw = rows_Hh.sum(0)[:, None] * columns_Ww.sum(0)
    shared_MQ = shares_Mhw.flatten(1) @ probability_Qhw.flatten(1).T
    total_MQ = masks.sum((1, 2))[:, None] + (probability_Qhw * area_hw).sum((1, 2))
    return shared_MQ / (total_MQ - shared_MQ + 1e-7)


def compensation_loss(
    student_BVhw: Tensor, teacher_BVhw: Tensor, *, released: bool = False
) -> Tensor:
    """Smooth L1 between strip sums of two maps, pooled to 1, 2 and 4 bins along an axis.

    Negative values count as 0, and maps that are not square are stretched to the longer side. No
    gradient reaches the teacher.

    Args: released: bins of the stretched map are sized by the width that it had before, so a map
        higher than wide gives more and smaller bins, and the rest is cut off.
    Raises: ValueError for maps with fewer than 4 cells on the side that sizes the bins.
    Source: MAFT+, arXiv:2408.00744, section 3.2 (representation compensation).
    """
    height, width = student_BVhw.shape[-2:]
    side = max(height, width)
    of_bins = width if released else side
    if of_bins < _PYRAMID[-1]:
        raise ValueError(
            f"the compensation loss needs maps of at least {_PYRAMID[-1]} cells, got "
            f"{height}x{width}: train with larger images"
        )
    sums = []
    for maps in (student_BVhw, teacher_BVhw.detach()):
        square = resize_mask_logits(maps.float().relu(), (side, side))
        pooled = [F.avg_pool2d(square, of_bins // bins) for bins in _PYRAMID]
        sums.append(torch.cat([p.sum(axis).flatten() for p in pooled for axis in (-1, -2)]))
    return F.smooth_l1_loss(sums[0], sums[1])


def gram_loss(student_BVhw: Tensor, teacher_BVhw: Tensor) -> Tensor:
    """Mean squared difference of the cosines (B, V, V) between a map's channels.

    No gradient reaches the teacher. Source: OVRCOAT's code (distillation of channel relations).
    """
    student, teacher = (
        F.normalize(maps.float().flatten(2), dim=-1)
        for maps in (student_BVhw, teacher_BVhw.detach())
    )
    return F.mse_loss(student @ student.transpose(1, 2), teacher @ teacher.transpose(1, 2))


def clip_class_loss(
    clip_logits_BQC: Tensor,
    targets: Sequence[Target],
    matches: Sequence[tuple[Tensor, Tensor]],
    *,
    released: bool = False,
) -> Tensor:
    """Cross entropy of CLIP's classes of the matched queries, mean over them; 0 without any.

    Args:
        clip_logits_BQC: without void.
        matches: per image (query indices, target indices), as the matcher gives them.
        released: the probabilities are taken for logits, so the value hardly leaves log C.
    Source: OVRCOAT's code (`loss_oov_ce`).
    """
    logits = torch.cat(
        [logits[queries] for logits, (queries, _) in zip(clip_logits_BQC, matches, strict=True)]
    ).float()
    classes = torch.cat(
        [target.classes_M[masks] for target, (_, masks) in zip(targets, matches, strict=True)]
    )
    logits = logits.softmax(-1) if released else logits
    return F.cross_entropy(logits, classes, reduction="sum") / max(1, len(classes))
