"""Panoptic segmentation from classified masks.

Legend: Q queries, C classes, C1 = C + 1 (void last), N kept queries, P pixels of a strip.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor

from frozenseg.inference.argmax import column_argmax
from frozenseg.inference.instance import Detections
from frozenseg.inference.segment_ids import assign_ids, best_of_duplicates
from frozenseg.inference.strips import Scratch
from frozenseg.structures import ImageGeometry

CELLS_AT_ONCE = 1 << 14


class PanopticSegmentation(NamedTuple):
    """Attributes:
    labels: int32 (H, W); 0 = unassigned, otherwise a segment's id.
    segments_info: one dict per segment: id (from 1, in query order), isthing, category_id, score
        (the query's probability of the class; of stuff made of several queries the best).
    """

    labels: Tensor
    segments_info: list[dict[str, Any]]


def keep_queries(class_probs_QC1: Tensor, threshold: float) -> Detections:
    """Queries whose best class is not void and has a probability above `threshold`, in order."""
    scores_Q, classes_Q = class_probs_QC1.max(-1)
    kept_Q = (classes_Q != class_probs_QC1.shape[-1] - 1) & (scores_Q > threshold)
    return Detections(kept_Q.nonzero()[:, 0], classes_Q[kept_Q], scores_Q[kept_Q])


def drop_duplicates(
    kept: Detections, mask_logits_QIJ: Tensor, geometry: ImageGeometry, max_iou: float
) -> Detections:
    """Without queries whose mask is nearly that of a better one (`best_of_duplicates`).

    Two queries on one region divide its pixels, so that neither keeps enough of its mask and the
    region gets no segment. Not in the papers. Rows of other masks than the queries' stay.
    """
    is_query_N = kept.queries < len(mask_logits_QIJ)
    rows, columns = geometry.image_cells((mask_logits_QIJ.shape[1], mask_logits_QIJ.shape[2]))
    masks_NP = (mask_logits_QIJ[kept.queries[is_query_N], rows, columns] > 0).flatten(1)
    both_NN = torch.zeros(len(masks_NP), len(masks_NP), device=masks_NP.device)
    for part_NP in masks_NP.split(CELLS_AT_ONCE, dim=1):
        both_NN += part_NP.float() @ part_NP.float().T
    scores_N = kept.scores[is_query_N].cpu().numpy()
    stays = torch.from_numpy(best_of_duplicates(both_NN.cpu().numpy(), scores_N, max_iou))
    stays_N = torch.ones_like(is_query_N)
    stays_N[is_query_N] = stays.to(stays_N.device)
    return Detections(*(values_N[stays_N] for values_N in kept))


class PanopticAccumulator:
    """Collects strips of mask probabilities and paints the panoptic map at the end.

    Every pixel goes to the query with the largest class score * mask probability. A query becomes a
    segment if the pixels it won are at least `overlap_threshold` of its own positive mask; the
    segment is what it won inside that mask. Stuff segments of one class share one id.
    Source: Mask2Former, arXiv:2112.01527; MaskFormer, arXiv:2107.06278, section 3.4.

    Args:
        kept: the queries that compete; `kept.queries` are rows of the strips.
        num_rows: number of rows of a strip.
        thing_C: bool (C,), True for thing classes.
        size: (H, W) of the output.
        overlap_threshold: a segment must keep at least this share of its own mask.
    """

    def __init__(
        self,
        kept: Detections,
        num_rows: int,
        thing_C: Tensor,
        size: tuple[int, int],
        *,
        overlap_threshold: float,
    ) -> None:
        device = kept.queries.device
        self._kept, self._is_thing, self._size = kept, thing_C.tolist(), size
        self._overlap_threshold = overlap_threshold
        self._all_kept = len(kept.queries) == num_rows
        self._chosen, self._scratch = Scratch(device), Scratch(device)
        # 0 where no mask is positive, else one more than the winning query's place in `kept`.
        self._winner = torch.zeros(size[0] * size[1], dtype=torch.int32, device=device)
        self._area_N, self._won_N, self._painted_N = torch.zeros(
            3, len(kept.queries), dtype=torch.int64, device=device
        )

    def add(self, pixels: slice, masks_QP: Tensor) -> None:
        """Takes the mask probabilities of some pixels of the flattened output."""
        count = len(self._kept.queries)
        if not count:
            return
        masks_NP = masks_QP
        if not self._all_kept:
            masks_NP = self._chosen.take(count, masks_QP.shape[1])
            torch.index_select(masks_QP, 0, self._kept.queries, out=masks_NP)
        scratch = self._scratch.take(*masks_NP.shape)
        self._area_N += torch.ge(masks_NP, 0.5, out=scratch).sum(1).long()
        _, best_P = column_argmax(torch.mul(masks_NP, self._kept.scores[:, None], out=scratch))
        positive_P = masks_NP.gather(0, best_P[None])[0] >= 0.5
        self._won_N += best_P.bincount(minlength=count)
        painted_P = (best_P + 1) * positive_P
        self._painted_N += painted_P.bincount(minlength=count + 1)[1:]
        self._winner[pixels] = painted_P.int()

    def finish(self) -> PanopticSegmentation:
        """Gives ids to the segments that keep enough of their mask."""
        kept = self._kept
        columns = (kept.classes, kept.scores, self._area_N, self._won_N, self._painted_N)
        winners = zip(*(column.tolist() for column in columns), strict=True)
        id_of_winner, segments_info = assign_ids(winners, self._is_thing, self._overlap_threshold)
        table = torch.tensor(id_of_winner, dtype=torch.int32, device=self._winner.device)
        labels = table.index_select(0, self._winner).view(self._size)
        return PanopticSegmentation(labels, segments_info)
