"""Multi-scale deformable attention.

Shapes: B images, N queries, M tokens of all levels together, D channels, A heads, L levels,
P points per level, 2 = (x, y). Level shapes are (height, width).
Source: Deformable DETR, arXiv:2010.04159, section 4.1 and appendix A.3.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from frozenseg.layers.deform_sampling import LevelShapes, Sampler, ms_deform_sample


class MultiScaleDeformableAttention(nn.Module):
    """Each query attends to a few points near its reference point on every level.

    The steps stand apart so that a variant replaces one of them: `project` (query -> offsets,
    weights), `sampling_locations`, `plan` (the two together), and `sample` (any function with the
    arguments of `ms_deform_sample`). Computes in the dtype of its parameters; where autocast must
    not lower the precision, the caller disables it.
    """

    def __init__(
        self,
        dim: int,
        num_levels: int,
        num_heads: int,
        num_points: int,
        *,
        sample: Sampler = ms_deform_sample,
    ) -> None:
        """Raises: ValueError if the channels do not divide among the heads."""
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"dim {dim} is not divisible by num_heads {num_heads}: change one")
        self.num_levels, self.num_heads, self.num_points = num_levels, num_heads, num_points
        samples = num_heads * num_levels * num_points
        self.sampling_offsets = nn.Linear(dim, samples * 2)
        self.attention_weights = nn.Linear(dim, samples)
        self.value_proj = nn.Linear(dim, dim)
        self.output_proj = nn.Linear(dim, dim)
        self.sample = sample
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Head a looks in direction 2*pi*a/A, point p at p cells; all samples weigh the same."""
        for layer in (self.sampling_offsets, self.attention_weights):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        for layer in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
        angle_A = torch.arange(self.num_heads) * (2 * math.pi / self.num_heads)
        direction_A2 = torch.stack([angle_A.cos(), angle_A.sin()], dim=-1)
        direction_A2 = direction_A2 / direction_A2.abs().amax(dim=-1, keepdim=True)
        step_P = torch.arange(1, self.num_points + 1)
        offsets_AP2 = direction_A2[:, None] * step_P[:, None]
        offsets_ALP2 = offsets_AP2[:, None].expand(-1, self.num_levels, -1, -1)
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(offsets_ALP2.reshape(-1))

    def forward(
        self,
        query_BND: Tensor,
        reference_points_BNL2: Tensor,
        value_BMD: Tensor,
        level_shapes: LevelShapes,
    ) -> Tensor:
        """Attended values, (B, N, D).

        Args: queries; reference points in [0, 1] of each level; tokens of the levels, row-major,
            one level after the other, in the order of `level_shapes`.
        Raises: ValueError if the levels are not those that the module was built for.
        """
        locations, weights = self.plan(query_BND, reference_points_BNL2, level_shapes)
        value_BMD = self.value_proj(value_BMD)
        value_BMAD = value_BMD.unflatten(-1, (self.num_heads, -1))
        out_BND = self.sample(value_BMAD, level_shapes, locations, weights)
        return self.output_proj(out_BND)

    def plan(
        self, query_BND: Tensor, reference_points_BNL2: Tensor, level_shapes: LevelShapes
    ) -> tuple[Tensor, Tensor]:
        """Where to sample and with which weights: (B, N, A, L, P, 2), (B, N, A, L, P)."""
        if len(level_shapes) != self.num_levels:
            raise ValueError(
                f"attention built for {self.num_levels} levels was given {len(level_shapes)}: "
                "build it with num_levels equal to the number of feature maps"
            )
        offsets_BNALP2, weights_BNALP = self.project(query_BND)
        return sampling_locations(
            reference_points_BNL2, offsets_BNALP2, level_shapes
        ), weights_BNALP

    def project(self, query_BND: Tensor) -> tuple[Tensor, Tensor]:
        """Offsets in cells, (B, N, A, L, P, 2); weights, (B, N, A, L, P), sum 1 over (L, P)."""
        shape = (self.num_heads, self.num_levels, self.num_points)
        offsets, logits = (
            layer(query_BND) for layer in (self.sampling_offsets, self.attention_weights)
        )
        weights_BNAS = softmax_of_few(logits.unflatten(-1, (self.num_heads, -1)))
        return offsets.unflatten(-1, (*shape, 2)), weights_BNAS.unflatten(-1, shape[1:])


def sampling_locations(
    reference_points_BNL2: Tensor, offsets_BNALP2: Tensor, level_shapes: LevelShapes
) -> Tensor:
    """Reference points plus offsets / (width, height) of the level: (B, N, A, L, P, 2).

    One reference point or one level shape serves all levels of the offsets.
    """
    L, P = offsets_BNALP2.shape[3:5]
    sides = [side for height, width in level_shapes for side in (width, height)]
    # Not `new_tensor`: to torch.export its numbers are constants.
    size_L2 = torch.stack([offsets_BNALP2.new_full((), side) for side in sides]).view(-1, 2)
    # (L, P, 2) as one axis: element-wise kernels are slow over a broadcast inner axis of 2
    size_X = size_L2.expand(L, 2).repeat_interleave(P, dim=0).flatten()
    points_BNL2 = reference_points_BNL2.expand(-1, -1, L, -1)
    points_BN1X = points_BNL2.repeat_interleave(P, dim=2).flatten(2).unsqueeze(2)
    locations_BNAX = torch.addcdiv(points_BN1X, offsets_BNALP2.flatten(3), size_X)
    return locations_BNAX.view(offsets_BNALP2.shape)


def softmax_of_few(logits: Tensor) -> Tensor:
    """`logits.softmax(-1)` of about 12 values; PyTorch's own takes 6 times as long on the CPU."""
    if logits.device.type != "cpu" or torch.compiler.is_compiling():
        return logits.softmax(-1)
    exponentials = (logits - logits.detach().amax(-1, keepdim=True)).exp()
    return exponentials / exponentials.sum(-1, keepdim=True)
