"""The masks that Mask-Adapter is trained with: ground truth first, then predicted ones among it.

Legend: B images, N slots (masks of an image, or nothing), M ground-truth masks of an image,
Q queries, P pairs, H, W pixels, h, w cells of the mask logits (stride 4).
Source: Mask-Adapter, arXiv:2412.04533, section 3.3 (ground-truth warm-up, mixed-mask training).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from frozenseg.layers.mask_pooling import resize_mask_logits
from frozenseg.mask_classification.matcher import Target

EMPTY_SLOT = -1
"""Class of a slot without a mask."""

_EPSILON = 1e-6  # in the denominator of the IoU


@dataclass(frozen=True)
class AdapterMasks:
    """As many masks for every image of a batch.

    Attributes:
        masks_BNHW: in [0, 1].
        classes_BN: int64; `EMPTY_SLOT` where there is no mask.
    """

    masks_BNHW: Tensor
    classes_BN: Tensor


@dataclass(frozen=True)
class MixedMasks:
    """How the slots of mixed-mask training are filled.

    In this order: ground-truth masks, predicted masks, the ground truth that each was paired with.

    Attributes:
        num_ground_truth, num_predicted: slots of the first group, and of each of the other two.
        iou_threshold: a prediction may be paired with ground truth of a greater IoU.
        pairing_threshold: probability from which a pixel counts as predicted for that IoU.
        mask_threshold: probability above which it belongs to the mask that the adapter is given.
    """

    num_ground_truth: int = 16
    num_predicted: int = 8
    iou_threshold: float = 0.7
    pairing_threshold: float = 0.4
    mask_threshold: float = 0.5

    @property
    def predicted(self) -> slice:
        """Slots of the predicted masks."""
        return slice(self.num_ground_truth, self.num_ground_truth + self.num_predicted)

    @property
    def paired(self) -> slice:
        """Slots of their ground truth, in the same order."""
        return slice(self.predicted.stop, self.predicted.stop + self.num_predicted)


def ground_truth_masks(
    targets: Sequence[Target], slots: int, generator: torch.Generator | None = None
) -> AdapterMasks:
    """The ground truth of every image in `slots` slots: masks (B, N, H, W) bool.

    Empty masks are left out. Of more masks than slots a random subset is taken, in the order
    drawn; `generator` is the CPU's.
    """
    masks, classes = [], []
    for target in targets:
        kept = _without_empty(target)
        if len(kept.classes_M) > slots:
            kept = _select(kept, torch.randperm(len(kept.classes_M), generator=generator)[:slots])
        masks.append(_fill(kept.masks_MHW, slots))
        classes.append(_fill(kept.classes_M, slots, EMPTY_SLOT))
    return AdapterMasks(torch.stack(masks), torch.stack(classes))


@torch.no_grad()
def mixed_masks(
    targets: Sequence[Target],
    mask_logits_BQhw: Tensor,
    settings: MixedMasks,
    generator: torch.Generator | None = None,
) -> AdapterMasks:
    """Ground truth, predictions and their ground truth: masks (B, N, H, W) float32 in [0, 1].

    The second and third group come from stride 4, so their edges are blurred. Random numbers are
    drawn on the CPU in this order: the subsets of the ground truth of all images; then image by
    image one prediction for each target, and the subset of the pairs.
    """
    first = ground_truth_masks(targets, settings.num_ground_truth, generator)
    size = (first.masks_BNHW.shape[-2], first.masks_BNHW.shape[-1])
    masks, classes = [], []
    for target, logits_Qhw in zip(targets, mask_logits_BQhw, strict=True):
        predicted_Phw, paired_Phw, classes_P = paired_masks(
            target, logits_Qhw.float(), settings, generator
        )
        blurred = torch.cat(((predicted_Phw > settings.mask_threshold).float(), paired_Phw))
        masks.append(resize_mask_logits(blurred[None], size)[0])
        classes.append(torch.cat((classes_P, classes_P)))
    return AdapterMasks(
        torch.cat((first.masks_BNHW, torch.stack(masks)), dim=1),
        torch.cat((first.classes_BN, torch.stack(classes)), dim=1),
    )


def paired_masks(
    target: Target,
    logits_Qhw: Tensor,
    settings: MixedMasks,
    generator: torch.Generator | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Predictions that fit the ground truth of one image, and what each of them fits.

    Returns:
        probabilities (P, h, w) of the predictions, 0.5 everywhere in empty slots; their ground
        truth (P, h, w) in [0, 1], resized to that size; classes (P,), `EMPTY_SLOT` in empty slots.
    """
    target = _without_empty(target)
    size = (logits_Qhw.shape[-2], logits_Qhw.shape[-1])
    truth_Mhw = resize_mask_logits(target.masks_MHW.float()[None], size)[0]
    probability_Qhw = logits_Qhw.sigmoid()
    fits_MQ = (
        _iou(truth_Mhw > 0.5, probability_Qhw >= settings.pairing_threshold)
        > settings.iou_threshold
    )
    pairs = []
    for index, fits_Q in enumerate(fits_MQ.cpu()):
        queries = fits_Q.nonzero()[:, 0]
        if len(queries):
            drawn = torch.randint(0, len(queries), (1,), generator=generator)
            pairs.append((index, int(queries[drawn])))
    if len(pairs) > settings.num_predicted:
        subset = torch.randperm(len(pairs), generator=generator)[: settings.num_predicted]
        pairs = [pairs[i] for i in subset.tolist()]
    indices, queries = torch.tensor(pairs, dtype=torch.int64).view(-1, 2).T.to(logits_Qhw.device)
    return (
        _fill(probability_Qhw[queries], settings.num_predicted, 0.5),
        _fill(truth_Mhw[indices], settings.num_predicted),
        _fill(target.classes_M[indices], settings.num_predicted, EMPTY_SLOT),
    )


def _iou(first_MHW: Tensor, second_QHW: Tensor) -> Tensor:
    """IoU (M, Q) of boolean masks."""
    first, second = first_MHW.flatten(1).float(), second_QHW.flatten(1).float()
    shared = first @ second.T
    return shared / (first.sum(1)[:, None] + second.sum(1) - shared + _EPSILON)


def _without_empty(target: Target) -> Target:
    return _select(target, target.masks_MHW.flatten(1).any(1).nonzero()[:, 0])


def _select(target: Target, index: Tensor) -> Target:
    index = index.to(target.classes_M.device)
    return Target(target.classes_M[index], target.masks_MHW[index])


def _fill(values: Tensor, slots: int, value: float = 0.0) -> Tensor:
    """`values` (P, ...) with rows of `value` below, up to `slots` rows."""
    missing = values.new_full((slots - len(values), *values.shape[1:]), value)
    return torch.cat((values, missing))
