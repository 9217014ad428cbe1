"""The pixel decoder: multi-scale features and a per-pixel embedding from the CLIP maps.

Legend: B images, D channels, H and W cells of a map.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import fvcore.nn.weight_init as weight_init
import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from detectron2.layers import Conv2d, ShapeSpec, get_norm
from detectron2.modeling import SEM_SEG_HEADS_REGISTRY
from torch import Tensor, nn

from frozenseg.mask_classification.deform_encoder import DeformableTransformer
from frozenseg.mask_classification.sam_injection import (
    NO_LAYER,
    PIXEL_DECODER,
    SamFeatures,
    build_sam_branch,
)

_NORMS = ("", "BN", "SyncBN", "FrozenBN", "GN")


@dataclass(frozen=True)
class PixelFeatures:
    """Output of the pixel decoder.

    Attributes:
        mask_features_BDHW: per-pixel embedding at stride 4.
        levels: encoded maps (B, D, H, W) at strides 32, 16, 8, in this order.
        sam: SAM's features; None without SAM.
    """

    mask_features_BDHW: Tensor
    levels: list[Tensor]
    sam: SamFeatures | None = None


@SEM_SEG_HEADS_REGISTRY.register()
class MSDeformAttnPixelDecoder(nn.Module):
    """Multi-scale deformable encoder over strides 32, 16, 8 and one FPN level at stride 4.

    With a SAM branch it also encodes SAM's map for the transformer decoder. Always computed in
    float32, also under autocast.
    Source: Mask2Former, arXiv:2112.01527, section 3 (pixel decoder), as used by FC-CLIP.
    """

    @configurable
    def __init__(
        self,
        input_shape: Mapping[str, ShapeSpec],
        *,
        encoder_features: Sequence[str],
        conv_dim: int,
        mask_dim: int,
        norm: str,
        num_layers: int,
        num_heads: int = 8,
        num_points: int = 4,
        hidden_dim: int = 1024,
        sam_channels: int | None = None,
        sam_branch: str | None = None,
    ) -> None:
        """
        Args:
            input_shape: channels and stride of every input map, the stride-4 map included.
            encoder_features: names of the maps that the encoder sees, in any order.
            conv_dim, mask_dim: channels of the levels and of the per-pixel embedding.
            norm: detectron2's name of the normalisation after the two FPN convolutions.
            sam_channels: channels of SAM's map "sam"; None: there is no SAM.
            sam_branch: mode of the SAM branch (`build_sam_branch`), or PIXEL_DECODER: SAM's map is
                added to the encoder's of stride 16; None: there is no branch.
        Raises: ValueError if strides, width or norm do not fit, naming the config key.
        """
        super().__init__()
        if norm not in _NORMS:
            raise ValueError(f"MODEL.SEM_SEG_HEAD.NORM is {norm!r}; it must be one of {_NORMS}")
        if conv_dim % 32:
            raise ValueError(
                f"MODEL.SEM_SEG_HEAD.CONVS_DIM is {conv_dim}; it must be a multiple of 32"
            )
        *self.encoder_features, self.fpn_feature = _by_stride(input_shape, encoder_features)
        channels = [input_shape[name].channels for name in self.encoder_features]
        self.input_proj = nn.ModuleList(_projection(c, conv_dim) for c in channels)
        self.transformer = DeformableTransformer(
            conv_dim,
            num_levels=len(channels),
            num_layers=num_layers,
            num_heads=num_heads,
            num_points=num_points,
            hidden_dim=hidden_dim,
        )
        self.mask_features = Conv2d(conv_dim, mask_dim, 1)
        fpn_channels = input_shape[self.fpn_feature].channels
        self.adapter_1 = _fpn_convolution(fpn_channels, conv_dim, 1, norm)
        self.layer_1 = _fpn_convolution(conv_dim, conv_dim, 3, norm, activation=F.relu)
        for convolution in (self.mask_features, self.adapter_1, self.layer_1):
            weight_init.c2_xavier_fill(convolution)
        self.fpn3 = self.sam_transformer = self.sam_proj = None
        if sam_channels is not None and sam_branch == PIXEL_DECODER:
            self.sam_proj = _projection(sam_channels, conv_dim)
        elif sam_channels is not None and sam_branch is not None:
            self.fpn3, self.sam_transformer = build_sam_branch(
                sam_channels,
                conv_dim,
                mode=sam_branch,
                num_layers=num_layers,
                num_heads=num_heads,
                num_points=num_points,
            )

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: Mapping[str, ShapeSpec]) -> dict[str, Any]:
        """The keyword arguments that `MODEL.SEM_SEG_HEAD.*` describes."""
        head = cfg.MODEL.SEM_SEG_HEAD
        has_branch = (
            "sam" in input_shape and cfg.MODEL.MASK_FORMER.SAM_FEATURE_FUSE_LAYER != NO_LAYER
        )
        return {
            "sam_channels": input_shape["sam"].channels if "sam" in input_shape else None,
            "sam_branch": cfg.MODEL.SAM_BRANCH if has_branch else None,
            "input_shape": {name: input_shape[name] for name in head.IN_FEATURES},
            "encoder_features": head.DEFORMABLE_TRANSFORMER_ENCODER_IN_FEATURES,
            "conv_dim": head.CONVS_DIM,
            "mask_dim": head.MASK_DIM,
            "norm": head.NORM,
            "num_layers": head.TRANSFORMER_ENC_LAYERS,
            "num_heads": head.DEFORMABLE_TRANSFORMER_ENCODER_N_HEADS,
            "num_points": head.DEFORMABLE_TRANSFORMER_ENCODER_N_POINTS,
        }

    def forward(self, features: Mapping[str, Tensor]) -> PixelFeatures:
        """Maps by name, (B, C_i, H_i, W_i) each, to the per-pixel embedding and three levels.

        The map "sam" is SAM's, of its own size; it may be missing where there is no branch.
        """
        with torch.autocast(features[self.fpn_feature].device.type, enabled=False):
            maps = [
                projection(_row_major(features[name]))
                for projection, name in zip(self.input_proj, self.encoder_features, strict=True)
            ]
            if self.sam_proj is not None:
                at_32, at_16, at_8 = maps
                sam = self.sam_proj(_row_major(features["sam"]))
                maps = [at_32, at_16 + F.interpolate(sam, at_16.shape[-2:], mode="bilinear"), at_8]
            levels = self.transformer(maps)
            lateral = self.adapter_1(_row_major(features[self.fpn_feature]))
            size = lateral.shape[-2:]
            finest = _row_major(levels[-1])
            finest = F.interpolate(finest, size=size, mode="bilinear", align_corners=False)
            mask_features = self.mask_features(self.layer_1(lateral + finest))
            return PixelFeatures(mask_features, levels, self._encode_sam(features.get("sam")))

    def _encode_sam(self, neck_BDhw: Tensor | None) -> SamFeatures | None:
        if neck_BDhw is None:
            return None
        neck_BDhw = _row_major(neck_BDhw)
        if self.fpn3 is None or self.sam_transformer is None:
            return SamFeatures(neck_BDhw, None)
        return SamFeatures(neck_BDhw, self.sam_transformer([self.fpn3(neck_BDhw)])[0])


def _by_stride(input_shape: Mapping[str, ShapeSpec], encoder_features: Sequence[str]) -> list[str]:
    """Names of the encoder's maps at strides 32, 16, 8, then of the one at stride 4."""
    names = sorted(input_shape, key=lambda name: -(input_shape[name].stride or 0))
    names = sorted(names, key=lambda name: name not in encoder_features)
    strides = [input_shape[name].stride for name in names]
    if strides != [32, 16, 8, 4]:
        raise ValueError(
            f"MODEL.SEM_SEG_HEAD.IN_FEATURES {list(input_shape)} have strides {strides}; the "
            "pixel decoder needs encoder features at 32, 16, 8 and one more map at 4"
        )
    if set(names[:3]) != set(encoder_features):
        raise ValueError(
            "MODEL.SEM_SEG_HEAD.DEFORMABLE_TRANSFORMER_ENCODER_IN_FEATURES is "
            f"{list(encoder_features)}; it must name the maps at strides 8, 16 and 32"
        )
    return names


def _fpn_convolution(
    in_channels: int,
    out_channels: int,
    kernel_size: int,
    norm: str,
    activation: Callable[..., Tensor] | None = None,
) -> Conv2d:
    """Convolution at the same size, normalisation (without it a bias) and activation."""
    return Conv2d(
        in_channels,
        out_channels,
        kernel_size,
        padding=kernel_size // 2,
        bias=not norm,
        norm=get_norm(norm, out_channels),
        activation=activation,
    )


def _projection(in_channels: int, out_channels: int) -> nn.Sequential:
    """1x1 convolution (Xavier, zero bias) and group norm."""
    convolution = nn.Conv2d(in_channels, out_channels, 1)
    nn.init.xavier_uniform_(convolution.weight)
    nn.init.constant_(convolution.bias, 0.0)  # type: ignore[arg-type]
    return nn.Sequential(convolution, nn.GroupNorm(32, out_channels))


def _row_major(x: Tensor) -> Tensor:
    """float32 in plain (B, C, H, W) order.

    torch's CPU group norm sums channels-last maps naively: an error of 5e-5 instead of 1e-6 at
    stride 4, enough to flip a pixel of a mask.
    """
    return x.float().contiguous()
