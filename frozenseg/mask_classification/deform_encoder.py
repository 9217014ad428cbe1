"""The deformable transformer encoder over one or several feature levels.

Legend: B images, D channels, N tokens of all levels together, L levels, H and W cells.
Source: Deformable DETR, arXiv:2010.04159, section 4.1 (encoder).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frozenseg.layers.deform_attention import MultiScaleDeformableAttention
from frozenseg.layers.linear import feed_forward
from frozenseg.layers.position_encoding import sine_position_code


class DeformableEncoderLayer(nn.Module):
    """Post-norm deformable self-attention, then a two-layer perceptron with ReLU."""

    def __init__(self, attention: MultiScaleDeformableAttention, hidden_dim: int) -> None:
        super().__init__()
        self.self_attn = attention
        dim = attention.output_proj.out_features
        self.norm1 = nn.LayerNorm(dim)
        self.linear1 = nn.Linear(dim, hidden_dim)
        self.linear2 = nn.Linear(hidden_dim, dim)
        self.norm2 = nn.LayerNorm(dim)
        nn.init.xavier_uniform_(self.linear1.weight)
        nn.init.xavier_uniform_(self.linear2.weight)

    def forward(
        self,
        tokens_BND: Tensor,
        position_ND: Tensor,
        reference_BNL2: Tensor,
        level_shapes: Sequence[tuple[int, int]],
    ) -> Tensor:
        """(B, N, D) -> (B, N, D); the position goes to the queries only, not to the values."""
        query = tokens_BND + position_ND
        attended = self.self_attn(query, reference_BNL2, tokens_BND, level_shapes)
        tokens = self.norm1(tokens_BND + attended)
        return self.norm2(tokens + feed_forward(tokens, self.linear1, F.relu_, self.linear2))


class DeformableTransformer(nn.Module):
    """Encodes feature maps of several resolutions jointly: `level_embed`, `encoder.layers.{i}`."""

    def __init__(
        self,
        dim: int,
        *,
        num_levels: int,
        num_layers: int,
        num_heads: int = 8,
        num_points: int = 4,
        hidden_dim: int = 1024,
        attention: Callable[..., MultiScaleDeformableAttention] = MultiScaleDeformableAttention,
    ) -> None:
        """`attention`: called with (dim, num_levels, num_heads, num_points)."""
        super().__init__()
        self.level_embed = nn.Parameter(torch.empty(num_levels, dim).normal_())
        layers = (
            DeformableEncoderLayer(attention(dim, num_levels, num_heads, num_points), hidden_dim)
            for _ in range(num_layers)
        )
        self.encoder = nn.ModuleDict({"layers": nn.ModuleList(layers)})

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Feature maps (B, D, H_l, W_l) -> encoded maps of the same shapes, in the same order."""
        shapes = [(m.shape[-2], m.shape[-1]) for m in maps]
        device, dim = maps[0].device, maps[0].shape[1]
        tokens = torch.cat([m.flatten(2).transpose(1, 2) for m in maps], dim=1)
        position = torch.cat(
            [
                sine_position_code(shape, dim, device=device) + self.level_embed[level]
                for level, shape in enumerate(shapes)
            ]
        )
        reference = reference_points(shapes, device=device)
        reference_BNL2 = reference[None, :, None].expand(tokens.shape[0], -1, len(shapes), -1)
        for layer in self.encoder["layers"]:  # type: ignore[attr-defined]
            tokens = layer(tokens, position, reference_BNL2, shapes)
        per_level = tokens.split([h * w for h, w in shapes], dim=1)
        return [
            t.transpose(1, 2).unflatten(2, shape)
            for t, shape in zip(per_level, shapes, strict=True)
        ]


def reference_points(
    level_shapes: Sequence[tuple[int, int]], *, device: torch.device | str = "cpu"
) -> Tensor:
    """Pixel centres (N, 2) of all levels as (x, y) in (0, 1), row-major, levels in order."""
    points = []
    for height, width in level_shapes:
        y = (torch.arange(height, dtype=torch.float32, device=device) + 0.5) / height
        x = (torch.arange(width, dtype=torch.float32, device=device) + 0.5) / width
        grid_y, grid_x = torch.meshgrid(y, x, indexing="ij")
        points.append(torch.stack((grid_x, grid_y), dim=-1).flatten(0, 1))
    return torch.cat(points)
