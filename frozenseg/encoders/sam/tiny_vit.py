"""MobileSAM's image encoder: timm's TinyViT under the names of the released weights."""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

import torch
from segment_anything.modeling.common import LayerNorm2d
from timm.models.tiny_vit import Attention, ConvNorm, TinyVit
from torch import Tensor, nn

from frozenseg.encoders.frozen import tower_autocast
from frozenseg.encoders.sam.attention import check_sides

_STRIDE = 16


class TinyVitEncoder(nn.Module):
    """TinyViT with four stages and SAM's neck; the output has a stride of 16 pixels.

    The modules are timm's, rearranged so that names are MobileSAM's: `patch_embed.seq.{0,2}`,
    `layers.i.blocks.j`, `layers.i.downsample` (at the end of a stage; timm puts it at the start
    of the next), `c` and `bn` of a convolution with batch norm. The last stage is not
    downsampled (MobileSAM, arXiv:2306.14289). Any input whose sides are multiples of 16 works:
    positions are relative, within windows.

    Attributes: as of `SamViT`.
    """

    def __init__(
        self,
        *,
        image_size: int,
        dims: tuple[int, ...],
        depths: tuple[int, ...],
        heads: tuple[int, ...],
        window_sizes: tuple[int, ...],
        out_channels: int,
    ) -> None:
        """Dimensions, blocks, heads and window sides (in tokens) of the four stages."""
        super().__init__()
        trunk = TinyVit(
            num_classes=0,
            embed_dims=dims,
            depths=depths,
            num_heads=heads,
            window_sizes=window_sizes,
            drop_path_rate=0.0,
        )
        stages = list(trunk.stages)
        stages[-1].downsample.conv2.conv.stride = (1, 1)
        _rename_convolutions(trunk)
        stem = trunk.patch_embed
        self.patch_embed = nn.Sequential(
            OrderedDict(seq=nn.Sequential(stem.conv1, stem.act, stem.conv2))
        )
        downsamples = [stage.downsample for stage in stages[1:]] + [None]
        self.layers = nn.Sequential(
            *(
                _Stage(stage.blocks, downsample, convolutional=i == 0)
                for i, (stage, downsample) in enumerate(zip(stages, downsamples, strict=True))
            )
        )
        self.neck = nn.Sequential(
            nn.Conv2d(dims[-1], out_channels, 1, bias=False),
            LayerNorm2d(out_channels),
            nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
            LayerNorm2d(out_channels),
        )
        self.img_size, self.stride, self.out_channels = image_size, _STRIDE, out_channels
        self.precision = "float32"
        self.register_load_state_dict_post_hook(_forget_biases)  # type: ignore[no-untyped-call]

    def forward(self, images_B3HW: Tensor) -> Tensor:
        """Normalised images -> (B, out_channels, H / 16, W / 16), float32.

        Raises: ValueError where a side of the images is not a multiple of 16.
        """
        check_sides(images_B3HW, self.stride)
        with tower_autocast(self.precision, images_B3HW.device):
            # The convolutions of the first stages run a quarter faster in this layout (CPU).
            x_BCHW = images_B3HW.contiguous(memory_format=torch.channels_last)
            return self.neck(self.layers(self.patch_embed(x_BCHW))).float()


class _Stage(nn.Module):
    """Blocks, convolutional or transformer blocks of timm, and what follows them, if anything."""

    def __init__(
        self, blocks: nn.Module, downsample: nn.Module | None, *, convolutional: bool
    ) -> None:
        super().__init__()
        self.blocks, self.downsample, self._convolutional = blocks, downsample, convolutional

    def forward(self, x_BCHW: Tensor) -> Tensor:
        if self._convolutional:
            x_BCHW = self.blocks(x_BCHW)
        else:  # timm's transformer blocks take channels last
            x_BCHW = self.blocks(x_BCHW.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return x_BCHW if self.downsample is None else self.downsample(x_BCHW)


def _rename_convolutions(root: nn.Module) -> None:
    """Puts `c`, `bn` in place of timm's `conv`, `bn`."""
    for parent in list(root.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, ConvNorm):
                setattr(parent, name, nn.Sequential(OrderedDict(c=child.conv, bn=child.bn)))


def _forget_biases(module: nn.Module, incompatible_keys: Any) -> None:
    """Clears the biases of windows that timm caches; new weights make them wrong."""
    for child in module.modules():
        if isinstance(child, Attention):
            child.attention_bias_cache = {}
