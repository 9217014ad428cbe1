"""A vision transformer whose patches come from a few convolutions instead of one large one.

Legend: B images, H and W pixels, h and w patches, C channels.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence
from typing import Any, cast

from timm.layers import PatchEmbed
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

_FIRST_STRIDE, _STRIDE = 4, 2


class ConvStem(PatchEmbed):
    """timm's patch embedding with convolutions of stride 4, 2, 2, ... before a 1 x 1 one.

    Small transformers learn what lies in a large patch many times sooner this way.
    Source: Early convolutions help transformers see better, arXiv:2106.14881; ours begins with
    non-overlapping 4 x 4 patches and has no batch norm, so that nothing depends on the batch.
    """

    def __init__(self, *arguments: Any, channels: Sequence[int], **options: Any):
        """`channels`: of every convolution; their strides must multiply to the patch size.

        The others: those of timm's PatchEmbed. Raises: ValueError where the strides do not fit.
        """
        super().__init__(*arguments, **options)
        stride = _FIRST_STRIDE * _STRIDE ** (len(channels) - 1)
        if tuple(self.patch_size) != (stride, stride):
            raise ValueError(
                f"stem_channels {list(channels)} makes patches of {stride} pixels, patch_size is "
                f"{self.patch_size[0]}; one entry more doubles the patch"
            )
        whole: Any = self.get_submodule("proj")
        inputs, width = whole.in_channels, whole.out_channels
        layers: list[nn.Module] = [nn.Conv2d(inputs, channels[0], _FIRST_STRIDE, _FIRST_STRIDE)]
        for before, after in itertools.pairwise(channels):
            layers += [nn.GELU(), nn.Conv2d(before, after, 3, _STRIDE, 1)]
        self.proj = nn.Sequential(*layers, nn.GELU(), nn.Conv2d(channels[-1], width, 1))
        for layer in self.proj:
            if isinstance(layer, nn.Conv2d):  # without norms, the usual start would fade out
                nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
                nn.init.zeros_(cast(Tensor, layer.bias))


def build_vit(arguments: dict[str, Any]) -> VisionTransformer:
    """A VisionTransformer of timm; with `stem_channels` among the arguments, it has a `ConvStem`.

    Raises: TypeError and the like for arguments that do not fit, as timm does; ValueError.
    """
    settings = dict(arguments)
    channels = settings.pop("stem_channels", None)
    if channels is not None:
        settings["embed_layer"] = functools.partial(ConvStem, channels=tuple(channels))
    return VisionTransformer(**settings)
