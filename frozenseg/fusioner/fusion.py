"""How image patches and words meet: jointly (early fusion), or only in the final cosine (late).

Legend: B images, N patches, T words, V channels of the visual encoder, K of the language encoder,
D channels of the fusion.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from timm.models.vision_transformer import Block
from torch import Tensor, nn


class EarlyFusion(nn.Module):
    """A transformer over patches and words together: each sees the others.

    Parameter names are those of the golden data. There is no position code; words come last.
    Source: Fusioner, arXiv:2210.15138, section 3.2.
    """

    def __init__(
        self,
        *,
        visual_channels: int,
        text_channels: int,
        width: int = 512,
        layers: int = 12,
        heads: int = 8,
        feedforward: int = 2048,
    ) -> None:
        """Raises: ValueError unless `heads` divides `width`."""
        super().__init__()
        self.visual_proj = visual_projection(visual_channels, width)
        self.text_proj = nn.Sequential(nn.LayerNorm(text_channels), nn.Linear(text_channels, width))
        self.cls_emb = nn.Parameter(torch.empty(1, width))
        self.blocks = transformer_layers(width, layers, heads, feedforward)
        self.norm = nn.LayerNorm(width)
        self.proj_patch = nn.Parameter(torch.empty(width, width))
        self.proj_classes = nn.Parameter(torch.empty(width, width))
        nn.init.trunc_normal_(self.cls_emb, std=0.02)
        for matrix in (self.proj_patch, self.proj_classes):
            nn.init.normal_(matrix, std=width**-0.5)

    def forward(self, patches_BNV: Tensor, words_BTK: Tensor) -> tuple[Tensor, Tensor]:
        """Fused patches (B, N, D) and words (B, T, D), not normalised.

        Args:
            patches_BNV: of the frozen visual encoder, L2-normalised here.
            words_BTK: unit vectors of the frozen language encoder, of each image's own words.
        """
        patches_BND = self.visual_proj(F.normalize(patches_BNV, dim=-1))
        words_BTD = self.text_proj(words_BTK) + self.cls_emb
        tokens_BLD = torch.cat((patches_BND, words_BTD), dim=1)
        for block in self.blocks:
            tokens_BLD = block(tokens_BLD)
        tokens_BLD = self.norm(tokens_BLD)
        patches_BND, words_BTD = tokens_BLD.split((patches_BNV.shape[1], words_BTK.shape[1]), 1)
        return patches_BND @ self.proj_patch, words_BTD @ self.proj_classes


class LateFusion(nn.Module):
    """The comparison without joint layers, like LSeg: patches see patches, words only themselves.

    As many transformer layers as early fusion has, over patches alone; a word is a linear layer
    away from its frozen vector. Source: Fusioner, arXiv:2210.15138, section 4; LSeg,
    arXiv:2201.03546 (with a trained visual encoder, and other heads).
    """

    def __init__(
        self,
        *,
        visual_channels: int,
        text_channels: int,
        width: int = 512,
        layers: int = 12,
        heads: int = 8,
        feedforward: int = 2048,
    ) -> None:
        """Arguments as for `EarlyFusion`. Raises: ValueError unless `heads` divides `width`."""
        super().__init__()
        self.visual_proj = visual_projection(visual_channels, width)
        self.text_proj = nn.Linear(text_channels, width)
        self.blocks = transformer_layers(width, layers, heads, feedforward)
        self.norm = nn.LayerNorm(width)

    def forward(self, patches_BNV: Tensor, words_BTK: Tensor) -> tuple[Tensor, Tensor]:
        """Patches (B, N, D) and words (B, T, D); see `EarlyFusion.forward`."""
        patches_BND = self.visual_proj(F.normalize(patches_BNV, dim=-1))
        for block in self.blocks:
            patches_BND = block(patches_BND)
        return self.norm(patches_BND), self.text_proj(words_BTK)


def visual_projection(channels: int, width: int) -> nn.Sequential:
    """From the visual encoder's channels to the fusion's."""
    return nn.Sequential(nn.LayerNorm(channels), nn.Linear(channels, width), nn.LayerNorm(width))


def transformer_layers(width: int, layers: int, heads: int, feedforward: int) -> nn.ModuleList:
    """Pre-norm layers with GELU (timm's). Raises: ValueError unless `heads` divides `width`."""
    if width % heads:
        raise ValueError(
            f"MODEL.FUSIONER.WIDTH {width} must be a multiple of MODEL.FUSIONER.HEADS {heads}"
        )
    layer = [
        Block(width, heads, mlp_ratio=feedforward / width, qkv_bias=True) for _ in range(layers)
    ]
    return nn.ModuleList(layer)
