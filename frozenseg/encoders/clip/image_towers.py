"""CLIP image towers behind one interface: feature maps out, and the embedding of masked regions.

Legend: B images, Q queries (masks), H and W pixels, h and w cells of a map, N = h * w,
C channels of a map, K channels of CLIP's joint space, A attention heads.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from detectron2.layers import ShapeSpec
from open_clip.modified_resnet import AttentionPool2d, ModifiedResNet
from open_clip.timm_model import TimmModel
from timm.layers import Mlp
from timm.models.convnext import ConvNeXt
from torch import Tensor, nn

from frozenseg.layers.linear import feed_forward
from frozenseg.layers.mask_pooling import has_positive, pool_by_masks
from frozenseg.layers.tracing import same_size

_PROBE_SIDE = 64  # pixels; a multiple of all strides


class VisualTower(Protocol):
    """What `FrozenCLIP` asks of an image tower; the tower's modules stay where they are."""

    def features(self, images_B3HW: Tensor) -> dict[str, Tensor]:
        """The maps `stem`, `res2` ... `res5` and `clip_vis_dense`, each (B, C, h, w)."""

    def pool(self, dense_BChw: Tensor, mask_logits_BQhw: Tensor) -> Tensor:
        """Embedding (B, Q, K) of every mask on the map `clip_vis_dense`, not normalised.

        A mask without a positive cell gives a finite vector without meaning.
        """

    def project(self, dense_BChw: Tensor) -> Tensor:
        """Every cell of the map `clip_vis_dense` through what follows the pooling of an image.

        Of a ResNet, whose attention pool has no such part, the map itself.
        """


def build_visual_tower(visual: nn.Module) -> VisualTower:
    """The adapter for the image tower of an open_clip model.

    Raises: ValueError where the tower is neither a ConvNeXt of timm nor CLIP's ModifiedResNet.
    """
    if isinstance(visual, ModifiedResNet):
        return ResNetTower(visual)
    if isinstance(visual, TimmModel) and isinstance(visual.trunk, ConvNeXt):
        return ConvNeXtTower(visual)
    kind = type(getattr(visual, "trunk", visual)).__name__
    raise ValueError(
        f"the CLIP backbone needs a ConvNeXt or a ResNet image tower; this model has a {kind}. "
        "Choose another CLIP_MODEL_NAME, for instance convnext_large_d_320 or RN50"
    )


@torch.no_grad()
def map_shapes(tower: VisualTower, visual: nn.Module) -> dict[str, ShapeSpec]:
    """Channels and stride of every map of a tower in eval mode, found with a small image."""
    maps = tower.features(next(visual.parameters()).new_zeros(1, 3, _PROBE_SIDE, _PROBE_SIDE))
    return {
        name: ShapeSpec(channels=m.shape[1], stride=_PROBE_SIDE // m.shape[-1])
        for name, m in maps.items()
    }


class ConvNeXtTower:
    """timm's ConvNeXt inside open_clip: stem, four stages, then norm and projection."""

    def __init__(self, visual: TimmModel):
        if "pool" in visual.head._modules:
            raise ValueError(
                "ConvNeXt CLIPs with an attention pool (timm_pool abs_attn, rot_attn) are not "
                "supported: masks are pooled by averaging"
            )
        self._trunk: Any = visual.trunk
        self._projection: Any = visual.head

    def features(self, images_B3HW: Tensor) -> dict[str, Tensor]:
        """The dense map is "res5" through the norm before the pooling."""
        maps = {"stem": self._trunk.stem(images_B3HW)}
        x = maps["stem"]
        for index, stage in enumerate(self._trunk.stages):
            x = stage.downsample(x)
            for block in stage.blocks:
                x = run_block(block, x)
            maps[f"res{index + 2}"] = x
        return maps | {"clip_vis_dense": self._trunk.norm_pre(x)}

    def pool(self, dense_BChw: Tensor, mask_logits_BQhw: Tensor) -> Tensor:
        """Mean of the map inside the mask, then the trunk's head and the projection."""
        pooled_BQC = pool_by_masks(dense_BChw, mask_logits_BQhw)
        return self._embed(pooled_BQC.flatten(0, 1)).unflatten(0, pooled_BQC.shape[:2])

    def project(self, dense_BChw: Tensor) -> Tensor:
        """(B, K, h, w)."""
        cells_BhwC = dense_BChw.permute(0, 2, 3, 1)
        embeddings_NK = self._embed(cells_BhwC.flatten(0, 2))
        return embeddings_NK.unflatten(0, cells_BhwC.shape[:3]).permute(0, 3, 1, 2)

    def _embed(self, vectors_NC: Tensor) -> Tensor:
        return self._projection(self._trunk.head(vectors_NC[..., None, None]))


def run_block(block: Any, x_BCHW: Tensor) -> Tensor:
    """One of timm's `ConvNeXtBlock`; where nothing trains, its hidden layer in pieces."""
    mlp = block.mlp
    has_plain_mlp = isinstance(mlp, Mlp) and not block.use_conv_mlp and block.gamma is not None
    if (
        block.training
        or torch.is_grad_enabled()
        or torch.compiler.is_compiling()
        or not has_plain_mlp
    ):
        return block(x_BCHW)
    cells_BHWC = block.norm(block.conv_dw(x_BCHW).permute(0, 2, 3, 1))
    out_BHWC = feed_forward(cells_BHWC, mlp.fc1, mlp.act, mlp.fc2)
    shortcut_BHWC = block.shortcut(x_BCHW).permute(0, 2, 3, 1)
    return torch.addcmul(shortcut_BHWC, out_BHWC, block.gamma).permute(0, 3, 1, 2)


class ResNetTower:
    """CLIP's ModifiedResNet: three convolutions, four layers, attention pool."""

    def __init__(self, visual: ModifiedResNet):
        self._visual: Any = visual
        self._layers: list[Any] = [visual.layer1, visual.layer2, visual.layer3, visual.layer4]

    def features(self, images_B3HW: Tensor) -> dict[str, Tensor]:
        """The dense map is "res5", before the attention pool."""
        visual = self._visual
        x = visual.act1(visual.bn1(visual.conv1(images_B3HW)))
        x = visual.act2(visual.bn2(visual.conv2(x)))
        x = visual.act3(visual.bn3(visual.conv3(x)))
        maps = {"stem": x}
        x = visual.avgpool(x)
        for index, layer in enumerate(self._layers):
            x = maps[f"res{index + 2}"] = layer(x)
        return maps | {"clip_vis_dense": x}

    def pool(self, dense_BChw: Tensor, mask_logits_BQhw: Tensor) -> Tensor:
        """CLIP's attention pool, every mask an attention mask of its own."""
        allowed_BQhw = mask_logits_BQhw > 0
        allowed_BQhw = allowed_BQhw | ~has_positive(mask_logits_BQhw)[..., None, None]
        return attention_pool(self._visual.attnpool, dense_BChw, allowed_BQhw)

    def project(self, dense_BChw: Tensor) -> Tensor:
        """The map itself."""
        return dense_BChw


def attention_pool(pool: AttentionPool2d, dense_BChw: Tensor, allowed_BQhw: Tensor) -> Tensor:
    """CLIP's attention pool over the allowed cells only, for many cell sets at once: (B, Q, K).

    The query is the mean of the whole map plus the first positional vector; keys and values are
    the map plus the positional grid, resized bilinearly to the map's size. Every mask asks with
    that one query, so scores and values are computed once per image; and as there is one query
    only, the key projection is applied to it instead of to every cell (q . Wk x = (q Wk) . x; the
    key bias shifts all scores of a head alike, which the softmax cancels).

    Args:
        dense_BChw: the last feature map.
        allowed_BQhw: bool, the cells a mask may attend to; at least one in each mask.
    Source: CLIP, arXiv:2103.00020, section 2.4; masked as in FC-CLIP, arXiv:2308.02487.
    """
    size, heads = dense_BChw.shape[-2:], pool.num_heads
    tokens_BNC = dense_BChw.flatten(2).transpose(1, 2)
    position_C, grid_NC = _positions(pool.positional_embedding, (size[0], size[1]))
    query_BAd = pool.q_proj(tokens_BNC.mean(1) + position_C).unflatten(-1, (heads, -1))
    key_weight_AdC = pool.k_proj.weight.unflatten(0, (heads, -1))
    query_BAC = torch.einsum("bad,adc->bac", query_BAd, key_weight_AdC)
    tokens_BNC = tokens_BNC + grid_NC
    value_BANd = pool.v_proj(tokens_BNC).unflatten(-1, (heads, -1)).transpose(1, 2)
    scores_BAN = query_BAC @ tokens_BNC.transpose(1, 2) / math.sqrt(query_BAd.shape[-1])
    allowed_B1QN = allowed_BQhw.flatten(2).unsqueeze(1)
    weights_BAQN = scores_BAN.unsqueeze(2).where(allowed_B1QN, float("-inf")).softmax(-1)
    pooled_BQC = (weights_BAQN @ value_BANd).transpose(1, 2).flatten(2)
    return pool.c_proj(pooled_BQC)


def _positions(embedding_PC: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """The query's positional vector (C,), and those of a grid of `size`, (N, C)."""
    side = math.isqrt(embedding_PC.shape[0] - 1)
    grid_NC = embedding_PC[1:]
    if not same_size(size, (side, side)):
        grid_1Cgg = grid_NC.T.reshape(1, -1, side, side)
        resized = F.interpolate(grid_1Cgg, size=size, mode="bilinear", align_corners=False)
        grid_NC = resized[0].flatten(1).T
    return embedding_PC[0], grid_NC


def to_channels_last(images_B3HW: Tensor) -> Tensor:
    """The same images laid out for the convolutions, whose weights are channels-last too."""
    return images_B3HW.contiguous(memory_format=torch.channels_last)
