"""Multi-scale deformable sampling without a compiled op.

Shapes: B images, N queries, M tokens of all levels together, A heads, D channels of a head,
L levels, P points per level, 2 = (x, y), K = A*L*P samples of a query; in the gather G = N*A
groups of S = L*P samples, T rows of the table. Level shapes are (height, width).
Source: Deformable DETR, arXiv:2010.04159, section 4.1 and appendix A.3.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

LevelShapes = Sequence[tuple[int, int]]
Sampler = Callable[[Tensor, LevelShapes, Tensor, Tensor], Tensor]

GATHER_QUERIES = 2048
"""Queries gathered at a time: the temporaries stay in the cache."""
EXACT_FLOAT32 = 2**24
"""Whole numbers below it are exact in float32."""


def ms_deform_sample(
    value_BMAD: Tensor,
    level_shapes: LevelShapes,
    locations_BNALP2: Tensor,
    weights_BNALP: Tensor,
    *,
    backend: str | None = None,
) -> Tensor:
    """Weighted sum of bilinear samples of every level, per query and head.

    Args: values of the levels' tokens, row-major, one level after the other; locations in [0, 1] of
        each level ((0, 0) the outer corner of its first cell: align_corners=False), outside of it
        are zeros; weights; `backend` a key of `BACKENDS`, or none for the fastest that applies.
    Returns: (B, N, A*D), differentiable in value, locations and weights.
    Raises: ValueError if the level shapes do not fit the tensors.
    """
    tokens = sum(height * width for height, width in level_shapes)
    if value_BMAD.shape[1] != tokens or locations_BNALP2.shape[3] != len(level_shapes):
        raise ValueError(
            f"level shapes {list(level_shapes)} ({tokens} tokens) do not fit {value_BMAD.shape[1]} "
            f"tokens and locations for {locations_BNALP2.shape[3]} levels: pass each map's size"
        )
    name = backend or _fastest_backend(value_BMAD, level_shapes)
    return BACKENDS[name](value_BMAD, level_shapes, locations_BNALP2, weights_BNALP)


def _fastest_backend(value_BMAD: Tensor, level_shapes: LevelShapes) -> str:
    if torch.compiler.is_compiling():  # torch.export, too: the other one depends on the sizes
        return "grid_sample"
    on_cpu = value_BMAD.device.type == "cpu" and value_BMAD.dtype in (torch.float32, torch.float64)
    fits = _canvas_cells(level_shapes) * value_BMAD.shape[2] < EXACT_FLOAT32
    return "weighted_gather" if on_cpu and fits else "grid_sample"


def sample_by_grid(
    value_BMAD: Tensor, level_shapes: LevelShapes, locations_BNALP2: Tensor, weights_BNALP: Tensor
) -> Tensor:
    """`ms_deform_sample` with one `grid_sample` per level: for any device, and the reference."""
    B, _, A, D = value_BMAD.shape
    N, P = locations_BNALP2.shape[1], locations_BNALP2.shape[4]
    grid_LBANP2 = (2 * locations_BNALP2 - 1).permute(3, 0, 2, 1, 4, 5)
    weights_LBANP = weights_BNALP.permute(3, 0, 2, 1, 4)
    levels = value_BMAD.split([height * width for height, width in level_shapes], dim=1)
    total: Tensor | None = None
    for level, (shape, tokens_BMAD) in enumerate(zip(level_shapes, levels, strict=True)):
        maps = tokens_BMAD.permute(0, 2, 3, 1).reshape(B * A, D, *shape)
        grid = grid_LBANP2[level].reshape(B * A, N, P, 2)
        samples = F.grid_sample(maps, grid, padding_mode="zeros", align_corners=False)
        part = (samples * weights_LBANP[level].reshape(B * A, 1, N, P)).sum(-1)
        total = part if total is None else total + part
    assert total is not None
    return total.view(B, A, D, N).permute(0, 3, 1, 2).reshape(B, N, A * D)


def sample_by_gather(
    value_BMAD: Tensor, level_shapes: LevelShapes, locations_BNALP2: Tensor, weights_BNALP: Tensor
) -> Tensor:
    """`ms_deform_sample` as weighted sums of table rows (`embedding_bag`): fast on the CPU."""
    B, _, A, D = value_BMAD.shape
    canvas = _Canvas.of(level_shapes, A, locations_BNALP2)
    parts = []
    for image, value_MAD in enumerate(value_BMAD):
        table_TD = canvas.table(value_MAD)
        locations = locations_BNALP2[image].split(GATHER_QUERIES)
        weights = weights_BNALP[image].split(GATHER_QUERIES)
        parts += [canvas.sample(table_TD, *chunk) for chunk in zip(locations, weights, strict=True)]
    return torch.cat(parts).view(B, -1, A * D)


BACKENDS: dict[str, Sampler] = {
    "grid_sample": sample_by_grid,
    "weighted_gather": sample_by_gather,
}


def _canvas_cells(level_shapes: LevelShapes) -> int:
    """Rows of the canvas (1 above and 1 below each level, and 3 spare) times their length."""
    stride = max(width for _, width in level_shapes) + 2
    return (sum(height + 2 for height, _ in level_shapes) + 3) * stride


@dataclass(frozen=True)
class _Canvas:
    """All levels below each other on one map with zero borders, as a table of (cell, head) rows.

    A sample is clamped to the zeros around its level, so that no corner needs a test of its own,
    and the four corners of any sample of any level lie at the same four distances in the table.
    Two zeros lie between neighbours: at the end of each row, and two rows between levels.
    """

    heads: int
    stride: int
    cells: int
    cell_of_token_M: Tensor
    width_K: Tensor
    height_K: Tensor
    origin_K: Tensor  # table row of cell (0, 0) of the sample's level, for its head

    @classmethod
    def of(cls, level_shapes: LevelShapes, heads: int, locations_BNALP2: Tensor) -> _Canvas:
        points, device = locations_BNALP2.shape[4], locations_BNALP2.device
        stride = max(width for _, width in level_shapes) + 2
        cells_of_levels, origins, row = [], [], 2
        for height, width in level_shapes:
            origins.append(row * stride + 2)
            y_h = torch.arange(height, device=device).unsqueeze(1) * stride
            cells_of_levels.append((y_h + torch.arange(width, device=device)).add_(origins[-1]))
            row += height + 2

        def per_sample(per_level: list[int]) -> Tensor:
            levels = torch.tensor(per_level, dtype=locations_BNALP2.dtype, device=device)
            return levels.repeat_interleave(points).repeat(heads)

        head_K = torch.arange(heads, device=device).repeat_interleave(points * len(level_shapes))
        return cls(
            heads=heads,
            stride=stride,
            cells=_canvas_cells(level_shapes),
            cell_of_token_M=torch.cat([cells.flatten() for cells in cells_of_levels]),
            width_K=per_sample([width for _, width in level_shapes]),
            height_K=per_sample([height for height, _ in level_shapes]),
            origin_K=per_sample([origin * heads for origin in origins]) + head_K,
        )

    def table(self, value_MAD: Tensor) -> Tensor:
        """The canvas of one image, (cells * heads, D)."""
        canvas = value_MAD.new_zeros(self.cells, value_MAD[0].numel())
        filled = canvas.index_copy_(0, self.cell_of_token_M, value_MAD.flatten(1))
        return filled.view(-1, value_MAD.shape[-1])

    def sample(self, table_TD: Tensor, locations_NALP2: Tensor, weights_NALP: Tensor) -> Tensor:
        """Weighted sums of the samples of some queries, (N, A*D)."""
        locations_NK2, weights_NK = locations_NALP2.flatten(1, 3), weights_NALP.flatten(1)
        left_NK, x_NK = _cell_and_fraction(locations_NK2[..., 0], self.width_K)
        top_NK, y_NK = _cell_and_fraction(locations_NK2[..., 1], self.height_K)
        row_length = self.stride * self.heads
        rows_NK = torch.add(self.origin_K, top_NK, alpha=row_length)
        rows_NK = rows_NK.add_(left_NK, alpha=self.heads).int().clamp_(min=0)  # NaN: any row
        lower_NK = weights_NK * y_NK
        upper_NK = weights_NK - lower_NK
        lower_right_NK = lower_NK * x_NK
        upper_right_NK = upper_NK * x_NK
        corners = {
            0: upper_NK - upper_right_NK,
            self.heads: upper_right_NK,
            row_length: lower_NK - lower_right_NK,
            row_length + self.heads: lower_right_NK,
        }
        rows_GS = rows_NK.view(rows_NK.shape[0] * self.heads, -1)
        weights = [weights_NK.view_as(rows_GS) for weights_NK in corners.values()]
        return _gather_sum(table_TD, rows_GS, list(corners), weights).view(rows_NK.shape[0], -1)


def _cell_and_fraction(location_NK: Tensor, size_K: Tensor) -> tuple[Tensor, Tensor]:
    """Cell before a location on one axis (-2 ... size, whole numbers) and the way to the next."""
    position_NK = torch.addcmul(location_NK.new_tensor(-0.5), location_NK, size_K)
    position_NK = position_NK.clamp(position_NK.new_tensor(-2.0), size_K)
    cell_NK = position_NK.detach().floor()
    return cell_NK, position_NK - cell_NK


def _gather_sum(
    table_TD: Tensor, rows_GS: Tensor, offsets: Sequence[int], weights: Sequence[Tensor]
) -> Tensor:
    """Sum over offsets and samples of weight * table[row + offset]: (G, D)."""
    frozen_TD = table_TD.detach()
    out_GD: Tensor | None = None
    for offset, weights_GS in zip(offsets, weights, strict=True):
        part_GD = F.embedding_bag(
            rows_GS, frozen_TD[offset:], per_sample_weights=weights_GS, mode="sum"
        )
        out_GD = part_GD if out_GD is None else out_GD.add_(part_GD)
    assert out_GD is not None
    if table_TD.requires_grad and torch.is_grad_enabled():
        return _TableGradient.apply(out_GD, table_TD, rows_GS, tuple(offsets), *weights)
    return out_GD


class _TableGradient(torch.autograd.Function):
    """Gives the result of `_gather_sum` its gradient in the table.

    `embedding_bag`'s own takes three times as long: here the samples are sorted by row once for
    all offsets, and the gradient of a row is again a weighted sum of rows.
    """

    @staticmethod
    def forward(
        ctx: Any,
        out_GD: Tensor,
        table_TD: Tensor,
        rows_GS: Tensor,
        offsets: Sequence[int],
        *weights: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(rows_GS, *weights)
        ctx.offsets, ctx.table_rows = offsets, table_TD.shape[0]
        return out_GD.view_as(out_GD)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad_GD: Tensor) -> tuple[Tensor | None, ...]:
        rows_GS, *weights = ctx.saved_tensors
        bags = ctx.table_rows - max(ctx.offsets)
        sorted_rows, order = rows_GS.flatten().sort()
        starts = F.pad(sorted_rows.bincount(minlength=bags).cumsum(0), (1, 0))
        group = order.div(rows_GS.shape[1], rounding_mode="floor")
        grad_TD = grad_GD.new_zeros(ctx.table_rows, grad_GD.shape[1])
        for offset, weights_GS in zip(ctx.offsets, weights, strict=True):
            grad_TD[offset : offset + bags] += F.embedding_bag(
                group,
                grad_GD,
                starts,
                mode="sum",
                per_sample_weights=weights_GS.flatten()[order],
                include_last_offset=True,
            )
        return grad_GD, grad_TD, None, None, *(None for _ in weights)
