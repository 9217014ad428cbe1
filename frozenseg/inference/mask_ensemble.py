"""FrozenSeg's mask ensemble: SAM's masks, named by CLIP, support classes unseen in training.

A proposal takes part where CLIP gives an unseen class more than `CONFIDENT`. It becomes one more
row of the mask probabilities that the task heads read strip by strip, so that a sum over queries
and proposals is still one matrix product, and no task looks at a mask twice.

Source: FrozenSeg, arXiv:2409.03525 (semantic segmentation; proposals as queries are ours).
Legend: Q queries, M proposals, N proposals that take part, R = Q + N rows, C classes,
C1 = C + 1 (void last), I, J, Y, X see strips.py, P pixels of a strip, K sampled cells.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor

from frozenseg.inference.instance import InstanceSegmentation, every_query
from frozenseg.resize import nearest_resize
from frozenseg.structures import ImageGeometry

# A proposal takes part if CLIP's probability of some unseen class is above.
CONFIDENT = 0.5


@dataclass(frozen=True)
class Proposals:
    """Masks of one image that no query made, with CLIP's class logits. There may be none (M = 0).

    Attributes:
        class_logits_MC1: logits or log-probabilities (M, C + 1), void last; softmax over all of
            them, then void is dropped.
        masks_MYX: bool, or float in [0, 1], (M, Y, X) of the whole image without padding; resized
            (nearest) where the size is not the output's.
        seen_C: bool (C,), True where a class was seen in training.
    """

    class_logits_MC1: Tensor
    masks_MYX: Tensor
    seen_C: Tensor

    def check(self, classes: int) -> None:
        """Raises: ValueError for shapes that do not fit each other or `classes` (without void)."""
        logits, masks, seen = self.class_logits_MC1, self.masks_MYX, self.seen_C
        if logits.dim() != 2 or masks.dim() != 3 or len(logits) != len(masks):
            raise ValueError(
                f"proposals: class logits {tuple(logits.shape)} and masks {tuple(masks.shape)}: "
                "expected (M, C + 1) and (M, Y, X), one row per proposal"
            )
        if logits.shape[1] != classes + 1 or seen.shape != (classes,) or seen.dtype != torch.bool:
            raise ValueError(
                f"proposals: class logits {tuple(logits.shape)}, seen_C {tuple(seen.shape)} of "
                f"{seen.dtype}: expected {classes} classes and void, and one bool per class"
            )
        if masks.dtype != torch.bool and not masks.is_floating_point():
            raise ValueError(
                f"proposals: masks of type {masks.dtype}: pass bool, or float in [0, 1]"
            )


@dataclass(frozen=True)
class ChosenProposals:
    """The N proposals that take part: what they are called, and their masks at output size.

    Attributes:
        class_probs_NC1: float32 (N, C + 1), void last, each row sums to 1.
        rows_N: the rows of `masks_MYX` that are meant; the other masks are not copied.
        masks_MYX: bool or float, contiguous, on the device of the task heads.
        unseen_C: bool (C,).
    """

    class_probs_NC1: Tensor
    rows_N: Tensor
    masks_MYX: Tensor
    unseen_C: Tensor

    def __len__(self) -> int:
        return len(self.rows_N)

    def select(self, keep_N: Tensor) -> ChosenProposals:
        """Some of them: a bool (N,) or indices."""
        return replace(
            self, class_probs_NC1=self.class_probs_NC1[keep_N], rows_N=self.rows_N[keep_N]
        )

    def write(self, pixels: slice, out_NP: Tensor) -> None:
        """Fills `out_NP` with the mask probabilities of some pixels of the flattened output."""
        if len(self):
            out_NP.copy_(self.masks_MYX.flatten(1)[:, pixels].index_select(0, self.rows_N))


def choose_proposals(
    proposals: Proposals | None, num_classes: int, size: tuple[int, int], device: torch.device
) -> ChosenProposals | None:
    """The proposals to which CLIP gives an unseen class with more than `CONFIDENT`.

    None where the mask ensemble is off; that differs from no proposals (see `semantic_weights`).

    Args:
        num_classes: C, without void.
        size: (H, W) of the output.
        device: where the task heads work.
    Raises: ValueError for shapes or types that do not fit.
    """
    if proposals is None:
        return None
    proposals.check(num_classes)
    probs_MC1 = proposals.class_logits_MC1.to(device).float().softmax(-1)
    unseen_C = ~proposals.seen_C.to(device)
    best_M = (probs_MC1[:, :-1] * unseen_C).amax(1)
    rows_N = (best_M > CONFIDENT).nonzero()[:, 0]
    masks, taken_N = proposals.masks_MYX, rows_N
    if tuple(masks.shape[1:]) != tuple(size):
        masks = nearest_resize(masks[rows_N.to(masks.device)], size)
        taken_N = torch.arange(len(rows_N), device=device)
    # Contiguous: strips are read from the flattened masks, which else would be copied every time.
    masks = masks.to(device).contiguous()
    return ChosenProposals(probs_MC1[rows_N], taken_N, masks, unseen_C)


def semantic_weights(
    class_probs_QC1: Tensor, proposals: ChosenProposals | None = None, alpha: float = 0.2
) -> Tensor:
    """Weight (C, R) of every row's mask probability in the score of every class.

    Seen classes: the queries' probabilities alone. Unseen classes: (1 - alpha) times them, and
    alpha times the proposals' (with none taking part the factor 1 - alpha stays, as released).
    Without `proposals` (None) all weights are the queries' probabilities.
    """
    weights_CQ = class_probs_QC1[:, :-1].t().contiguous()
    if proposals is None:
        return weights_CQ
    unseen_C1 = proposals.unseen_C[:, None]
    weights_CQ = torch.where(unseen_C1, (1.0 - alpha) * weights_CQ, weights_CQ)
    weights_CN = alpha * unseen_C1 * proposals.class_probs_NC1[:, :-1].t()
    return torch.cat([weights_CQ, weights_CN], 1)


class Candidates(NamedTuple):
    """What competes in panoptic and instance segmentation.

    Attributes:
        class_probs: one row per candidate, void last.
        rows: where each is in strips that hold all queries, then all proposals that take part.
        num_rows: how many rows R such strips have.
    """

    class_probs: Tensor
    rows: Tensor
    num_rows: int


def only_queries(class_probs_QC1: Tensor, proposals: ChosenProposals | None = None) -> Candidates:
    """The queries alone; `proposals` are in the strips, but only for the semantic task."""
    rows_Q = torch.arange(len(class_probs_QC1), device=class_probs_QC1.device)
    return Candidates(class_probs_QC1, rows_Q, len(rows_Q) + (len(proposals) if proposals else 0))


def add_as_queries(
    queries: Candidates,
    mask_logits_QIJ: Tensor,
    geometry: ImageGeometry,
    proposals: ChosenProposals,
    *,
    weight: float,
    max_iou: float,
) -> Candidates:
    """The queries, and behind them the proposals that none of them already stands for.

    A proposal is left out if a query whose best class is not void has nearly its mask (IoU above
    `max_iou`). The others have CLIP's probabilities times `weight`; their masks are hard, 1
    inside, so the weight decides against how confident a query they win a pixel. In two miniature
    worlds of 60 images, apart from `val`, with max_iou 0.5 the PQ of unseen classes was 71.3 and
    65.0 without proposals, 71.8 and 66.7 with weight 0.4, but 63.1 and 54.6 with 0.8: CLIP is
    nearly sure of fragments too, and these then cut up what a query has whole.
    """
    probs_QC1 = queries.class_probs
    named_Q = probs_QC1.argmax(1) != probs_QC1.shape[1] - 1
    covered_N = covered_by_queries(proposals, mask_logits_QIJ[named_Q], geometry, max_iou)
    added_A = (~covered_N).nonzero()[:, 0]
    return Candidates(
        torch.cat([probs_QC1, weight * proposals.class_probs_NC1[added_A]]),
        torch.cat([queries.rows, len(probs_QC1) + added_A]),
        queries.num_rows,
    )


def covered_by_queries(
    proposals: ChosenProposals, mask_logits_QIJ: Tensor, geometry: ImageGeometry, max_iou: float
) -> Tensor:
    """Whether a mask of a query (logit > 0) overlaps the proposal, IoU above `max_iou`: bool (N,).

    Compared on the cells of the mask logits that lie in the image, a proposal being sampled at
    their centres: a mask that falls between all centres is covered by none.
    """
    size = tuple(proposals.masks_MYX.shape[1:])
    cells = tuple(mask_logits_QIJ.shape[1:])
    device = mask_logits_QIJ.device
    ys, xs = (
        _sampled(cells[axis], geometry.padded[axis], geometry.image[axis], size[axis], device)
        for axis in (0, 1)
    )
    sampled = proposals.masks_MYX.index_select(1, ys).index_select(2, xs)
    found_NK = (sampled[proposals.rows_N] > 0.5).flatten(1).float()
    query_QK = (mask_logits_QIJ[:, : len(ys), : len(xs)] > 0).flatten(1).float()
    overlap_NQ = found_NK @ query_QK.t()
    union_NQ = found_NK.sum(1)[:, None] + query_QK.sum(1) - overlap_NQ
    return (overlap_NQ > max_iou * union_NQ).any(1)


def _sampled(cells: int, padded: int, image: int, output: int, device: torch.device) -> Tensor:
    """The output pixel at the centre of each of those cells that begin inside the image."""
    stride = padded / cells
    starts = torch.arange(cells, dtype=torch.float64) * stride
    centres = (starts[starts < image] + stride / 2) * (output / image)
    return centres.long().clamp_(max=output - 1).to(device)


def as_detections(proposals: Proposals, size: tuple[int, int]) -> InstanceSegmentation:
    """All proposals in order as bool masks of `size`, each with its best class but void.

    The scores are the classes' probabilities; all stay on the proposals' device.
    """
    masks = nearest_resize(proposals.masks_MYX, size)
    masks = masks if masks.dtype == torch.bool else masks > 0.5
    found = every_query(proposals.class_logits_MC1.float().softmax(-1))
    return InstanceSegmentation(found.scores, found.classes, masks)
