"""SAM's features in the decoder: the branch that encodes them and the two injectors.

Legend: B images, Q queries, D channels, N tokens of a map, H, W cells of a CLIP level, h, w cells
of SAM's map, A heads and P points of a deformable attention.
Source: FrozenSeg, arXiv:2409.03525, section 3.2 (query injector and feature injector).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from frozenseg.layers.attention import CrossAttentionLayer
from frozenseg.layers.deform_attention import MultiScaleDeformableAttention, sampling_locations
from frozenseg.layers.deform_sampling import LevelShapes
from frozenseg.layers.mask_pooling import pool_by_masks, resize_mask_logits
from frozenseg.layers.position_encoding import sine_position_code
from frozenseg.mask_classification.deform_encoder import DeformableTransformer

RELEASED_LEVELS = 3  # the released branch was built for three levels and is fed one
# Mode of MODEL.SAM_BRANCH (own): SAM's map joins CLIP's in the pixel decoder instead of the feature
# injector. As published, SAM does not reach the per-pixel embedding, of which the masks are made.
PIXEL_DECODER = "pixel_decoder"
NO_LAYER = -1  # of SAM_FEATURE_FUSE_LAYER and SAM_QUERY_FUSE_LAYER: this injector is off


@dataclass(frozen=True)
class SamFeatures:
    """What the decoder sees of SAM.

    Attributes:
        neck_BDhw: output of SAM's image encoder.
        encoded_BDhw: the branch's map at half that resolution; None where nothing reads it.
    """

    neck_BDhw: Tensor
    encoded_BDhw: Tensor | None


@dataclass(frozen=True)
class SamInjection:
    """Where SAM enters the transformer decoder: layers i with i mod 3 equal to these; None: off.

    Attributes:
        feature_layer: the level's tokens first attend to the tokens of the SAM branch.
        query_layer: the queries gain SAM's features pooled under their masks.
        keep_positions: the keys of such tokens have their position codes, as those of other layers;
            as published, they have none.
    """

    feature_layer: int | None = 0
    query_layer: int | None = 2
    keep_positions: bool = False


def injection_from(
    feature_layer: int,
    query_layer: int,
    sam_channels: int = 0,
    mask_dim: int = 0,
    *,
    keep_positions: bool = False,
) -> SamInjection | None:
    """From the config's numbers; None where both injectors are off, which is FC-CLIP.

    Raises: ValueError for numbers other than -1, 0, 1, 2, and where the queries are to take in a
    map of SAM with another width than the per-pixel embedding, whose projection they share.
    """
    for key, layer in (("FEATURE", feature_layer), ("QUERY", query_layer)):
        if layer not in (NO_LAYER, 0, 1, 2):
            raise ValueError(
                f"MODEL.MASK_FORMER.SAM_{key}_FUSE_LAYER is {layer}: it must be 0, 1 or 2 (the "
                f"decoder layers i with i mod 3 equal to it), or {NO_LAYER} to leave it out"
            )
    if feature_layer == query_layer == NO_LAYER:
        return None
    if query_layer != NO_LAYER and sam_channels != mask_dim:
        raise ValueError(
            f"MODEL.SEM_SEG_HEAD.MASK_DIM is {mask_dim} but SAM's features have {sam_channels} "
            "channels: the query injector projects both alike; set MASK_DIM, CONVS_DIM and "
            f"HIDDEN_DIM to {sam_channels}, or MODEL.MASK_FORMER.SAM_QUERY_FUSE_LAYER to -1"
        )
    feature, query = (None if n == NO_LAYER else n for n in (feature_layer, query_layer))
    return SamInjection(feature, query, keep_positions)


class FirstLevelAttention(MultiScaleDeformableAttention):
    """Three levels' parameters on one map: only the first level's samples are taken.

    The weights are a softmax over the samples of all three levels and are not renormalised.
    """

    def plan(
        self, query_BND: Tensor, reference_points_BNL2: Tensor, level_shapes: LevelShapes
    ) -> tuple[Tensor, Tensor]:
        """Locations (B, N, A, 1, P, 2) and weights (B, N, A, 1, P)."""
        offsets, weights = self.project(query_BND)
        offsets = offsets[:, :, :, :1]
        return sampling_locations(reference_points_BNL2, offsets, level_shapes), weights[..., :1, :]


class FlatReadAttention(MultiScaleDeformableAttention):
    """Three levels' parameters on one map, read as the CUDA kernel read them in training.

    Told that there is one level, it took the P samples of query n and head m of image b from flat
    position ((b * N + n) * heads + m) * P of arrays laid out (B, N, heads, 3, P). So image b's
    samples are those planned for the queries of image floor(b / 3), and only the first third of
    all queries is ever planned for: results depend on the composition of the batch. The released
    FrozenSeg weights were trained with this.
    """

    def plan(
        self, query_BND: Tensor, reference_points_BNL2: Tensor, level_shapes: LevelShapes
    ) -> tuple[Tensor, Tensor]:
        """Locations (B, N, A, 1, P, 2) and weights (B, N, A, 1, P)."""
        batch, tokens, dim = query_BND.shape
        read = -(-batch * tokens // self.num_levels)
        query = query_BND.reshape(1, -1, dim)[:, :read]
        reference = reference_points_BNL2.expand(batch, tokens, -1, -1)
        reference = reference.reshape(1, batch * tokens, -1, 2)[:, :read]
        offsets, weights = self.project(query)
        locations = sampling_locations(reference, offsets, level_shapes)
        shape = (batch, tokens, self.num_heads, 1, self.num_points)
        samples = math.prod(shape)
        return (
            locations.reshape(-1, 2)[:samples].view(*shape, 2),
            weights.reshape(-1)[:samples].view(shape),
        )


# Mode of MODEL.SAM_BRANCH -> levels that the parameters are for, and the attention.
BRANCH_MODES: dict[str, tuple[int, Callable[..., MultiScaleDeformableAttention]]] = {
    "single_level": (1, MultiScaleDeformableAttention),
    "released": (RELEASED_LEVELS, FlatReadAttention),
    "first_level": (RELEASED_LEVELS, FirstLevelAttention),
}


def build_sam_branch(
    sam_channels: int, dim: int, *, mode: str, num_layers: int, num_heads: int, num_points: int
) -> tuple[nn.Sequential, DeformableTransformer]:
    """The two parts of the branch: convolution to half the resolution, deformable encoder.

    Args:
        sam_channels, dim: channels of SAM's map and of the pixel decoder.
        mode: "single_level" (built for the one map it is fed), "released" or "first_level" (built
            for three levels, as the released weights; see `FlatReadAttention`).
    Raises: ValueError for another mode.
    """
    if mode not in BRANCH_MODES:
        raise ValueError(f"MODEL.SAM_BRANCH is {mode!r}; it must be one of {list(BRANCH_MODES)}")
    levels, attention = BRANCH_MODES[mode]
    halve = nn.Sequential(
        nn.Conv2d(sam_channels, dim, 3, stride=2, padding=1), nn.GroupNorm(32, dim), nn.ReLU()
    )
    encoder = DeformableTransformer(
        dim,
        num_levels=levels,
        num_layers=num_layers,
        num_heads=num_heads,
        num_points=num_points,
        attention=attention,
    )
    return halve, encoder


def inject_features(
    layer: CrossAttentionLayer,
    level_BDHW: Tensor,
    sam_BDhw: Tensor,
    coarse: tuple[int, int],
) -> Tensor:
    """Tokens of a level after attending to SAM's map: (B, H * W, D), to be used as they are.

    Both maps are brought to the size `coarse` (that of the level at stride 32); the result is
    brought back to the level's. Positions go to the queries and, for SAM, to the keys only.

    Args: maps with their level embedding added.
    """
    size = (level_BDHW.shape[-2], level_BDHW.shape[-1])
    tokens = _tokens(resize_mask_logits(level_BDHW, coarse))
    sam = _tokens(resize_mask_logits(sam_BDhw, coarse))
    position = sine_position_code(coarse, tokens.shape[-1], device=tokens.device)
    injected = layer(tokens, sam + position, sam, position_BQD=position)
    return _tokens(resize_mask_logits(injected.transpose(1, 2).unflatten(2, coarse), size))


def inject_queries(
    queries_BQD: Tensor,
    projection: Callable[[Tensor], Tensor],
    neck_BDhw: Tensor,
    mask_embedding_BQD: Tensor,
    mask_features_BDHW: Tensor,
) -> Tensor:
    """Queries plus the projection of SAM's features averaged under the queries' masks.

    The masks are computed at SAM's size only (resizing commutes with the dot product) and carry
    no gradient.
    """
    size = (neck_BDhw.shape[-2], neck_BDhw.shape[-1])
    with torch.no_grad():
        features = resize_mask_logits(mask_features_BDHW, size)
        logits = torch.einsum("bqd,bdhw->bqhw", mask_embedding_BQD, features)
    return queries_BQD + projection(pool_by_masks(neck_BDhw, logits))


def _tokens(map_BDHW: Tensor) -> Tensor:
    return map_BDHW.flatten(2).transpose(1, 2).contiguous()
