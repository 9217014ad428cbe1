"""Sampling of mask logits and mask labels at random points.

Legend: R masks, P points per mask, H and W pixels. Points are (x, y) in [0, 1] x [0, 1].
Source: PointRend, arXiv:1912.08193, section 3.1.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor


def sample_points(logits_RHW: Tensor, points_RP2: Tensor) -> Tensor:
    """Values (R, P) of the maps at the points: bilinear, pixel centres at (i + 0.5) / size.

    Beyond the outermost pixel centres the map fades to zero (zero padding).
    """
    grid_RP12 = (2 * points_RP2 - 1)[:, :, None]
    sampled = F.grid_sample(logits_RHW[:, None], grid_RP12, align_corners=False)
    return sampled[:, 0, :, 0]


def sample_labels(masks_NHW: Tensor, index_R: Tensor, points_RP2: Tensor) -> Tensor:
    """Labels (R, P) in [0, 1] of the masks `masks_NHW[index_R]` (bool), sampled as above.

    Only the four pixels around each point are read, so full-size masks are never converted
    to floating point.
    """
    rows = masks_NHW.flatten(1)
    labels = torch.zeros((), dtype=points_RP2.dtype, device=points_RP2.device)
    for place, weight in _corners(points_RP2, masks_NHW.shape[-2], masks_NHW.shape[-1]):
        labels = labels + rows[index_R[:, None], place] * weight
    return labels


def sample_shared_labels(masks_NHW: Tensor, points_P2: Tensor) -> Tensor:
    """`sample_labels` (N, P) of all masks at the same points."""
    rows = masks_NHW.flatten(1)
    labels = torch.zeros((), dtype=points_P2.dtype, device=points_P2.device)
    for place, weight in _corners(points_P2, masks_NHW.shape[-2], masks_NHW.shape[-1]):
        labels = labels + rows.index_select(1, place) * weight
    return labels


def sample_shared_points(logits_NHW: Tensor, points_P2: Tensor) -> Tensor:
    """`sample_points` (N, P) of all maps at the same points: every pixel's N values lie together,
    so that each point reads four rows of memory (a third of the time on a CPU).
    """
    corners = _corners(points_P2, logits_NHW.shape[-2], logits_NHW.shape[-1])
    places, weights = (torch.stack(each, dim=1) for each in zip(*corners, strict=True))
    pixels = logits_NHW.flatten(1).T.contiguous()
    return F.embedding_bag(places, pixels, mode="sum", per_sample_weights=weights).T


def _corners(points: Tensor, height: int, width: int) -> Iterator[tuple[Tensor, Tensor]]:
    """Of the four pixels around every point (..., 2): index in the flat map, and weight (...)."""
    x = points[..., 0] * width - 0.5
    y = points[..., 1] * height - 0.5
    left, top = x.floor(), y.floor()
    for dx in (0, 1):
        for dy in (0, 1):
            column, row = left + dx, top + dy
            weight = (1 - (x - column).abs()) * (1 - (y - row).abs())
            inside = (column >= 0) & (column < width) & (row >= 0) & (row < height)
            place = row.clamp(0, height - 1).long() * width + column.clamp(0, width - 1).long()
            yield place, weight * inside


def uncertain_points(
    logits_RHW: Tensor,
    num_points: int,
    *,
    oversample_ratio: float,
    importance_ratio: float,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Points (R, P, 2), a share `importance_ratio` of them where the mask is most uncertain.

    `oversample_ratio * num_points` uniform points are drawn per mask, those with the smallest
    |logit| are kept, and uniform points fill up the rest. Carries no gradient.
    """
    num_masks = logits_RHW.shape[0]
    num_candidates = int(num_points * oversample_ratio)
    num_important = int(importance_ratio * num_points)

    def draw(count: int) -> Tensor:
        return torch.rand(num_masks, count, 2, device=logits_RHW.device, generator=generator)

    with torch.no_grad():
        candidates = draw(num_candidates)
        uncertainty = -sample_points(logits_RHW, candidates).abs()
        chosen = uncertainty.topk(num_important, dim=1).indices
        important = candidates.gather(1, chosen[..., None].expand(-1, -1, 2))
        return torch.cat((important, draw(num_points - num_important)), dim=1)
