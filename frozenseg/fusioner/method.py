"""What the model asks of a method, and the usual one: ask for words, see where they are.

Legend: B images, T words, R rivals, C training classes, V channels of patches, K of word vectors,
D of the fusion, h and w patches, H and W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Protocol

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frozenseg.fusioner.cosine_logits import binary_loss, cosine_logits
from frozenseg.structures import IGNORED, PER_IMAGE, LossDivisor

BACKGROUND_WORD = "background"


class SegmentationMethod(Protocol):
    """From frozen patches and word vectors to logits; all that is trained.

    Attributes:
        has_rivals: words compete in a softmax, so that it takes more than the asked ones to tell
            where they are not.
        loss_divisors: what each loss is divided by.
    """

    has_rivals: bool
    loss_divisors: Mapping[str, LossDivisor]

    def __call__(
        self, patches_BVhw: Tensor, words_TK: Tensor, size: tuple[int, int], rivals_RK: Tensor
    ) -> Tensor:
        """Logits (B, T, H, W) at `size`: of a pixel, above 0 for words that may have it.

        Args:
            rivals_RK: the training classes that are not asked for, and `BACKGROUND_WORD` as the
                last; none (0, K) without `has_rivals`.
        """

    def losses(
        self, patches_BVhw: Tensor, words_CK: Tensor, labels_BHW: Tensor, asked_B: Tensor
    ) -> dict[str, Tensor]:
        """Losses by name.

        Args:
            words_CK: of all training classes, with rivals also of background, as the last.
            labels_BHW: class indices, and the negative values of `frozenseg.structures`.
            asked_B: for each image the class that is asked for (methods may ask for all).
        """


class FusionSegmenter(nn.Module):
    """Fusioner and its late-fusion comparison: they differ in the fusion alone.

    Trained by asking for one class that is in the image, everything else being background.
    Source: Fusioner, arXiv:2210.15138, section 3.
    """

    has_rivals = False
    loss_divisors = MappingProxyType({"loss_bce": PER_IMAGE})

    def __init__(self, fusion: nn.Module, *, width: int, temperature: float) -> None:
        """`fusion`: an `EarlyFusion` or `LateFusion` of that width."""
        super().__init__()
        self.fusion = fusion
        self.decoder = Upsampler(width)
        self.temperature = temperature

    def forward(
        self, patches_BVhw: Tensor, words_TK: Tensor, size: tuple[int, int], rivals_RK: Tensor
    ) -> Tensor:
        """Logits (B, T, H, W); all words are asked for at once, and see each other."""
        words_BTK = words_TK.expand(patches_BVhw.shape[0], -1, -1)
        return self._logits(patches_BVhw, words_BTK, size)

    def losses(
        self, patches_BVhw: Tensor, words_CK: Tensor, labels_BHW: Tensor, asked_B: Tensor
    ) -> dict[str, Tensor]:
        """`loss_bce`: binary cross-entropy of the asked class."""
        size = (labels_BHW.shape[1], labels_BHW.shape[2])
        logits_B1HW = self._logits(patches_BVhw, words_CK[asked_B].unsqueeze(1), size)
        inside_BHW = labels_BHW == asked_B[:, None, None]
        return {"loss_bce": binary_loss(logits_B1HW[:, 0], inside_BHW, labels_BHW != IGNORED)}

    def _logits(self, patches_BVhw: Tensor, words_BTK: Tensor, size: tuple[int, int]) -> Tensor:
        patches_BND = patches_BVhw.flatten(2).transpose(1, 2)
        patches_BND, words_BTD = self.fusion(patches_BND, words_BTK)
        patches_BDhw = patches_BND.transpose(1, 2).unflatten(2, patches_BVhw.shape[-2:])
        with torch.autocast(patches_BDhw.device.type, enabled=False):  # norms of half precision
            features = self.decoder(patches_BDhw.float())
            return cosine_logits(features, words_BTD.float(), size, temperature=self.temperature)


STAGES = 3  # each doubles the resolution


class Upsampler(nn.Module):
    """Three (3x3 convolution, instance norm, ReLU, 2x bilinear) stages, one without the 2x, a 1x1.

    The resize to the input's size is the head's. Parameter names are those of the golden data.
    Source: Fusioner, arXiv:2210.15138, section 3.2.
    """

    def __init__(self, width: int = 512) -> None:
        super().__init__()
        for stage in range(STAGES + 1):
            setattr(self, f"conv_{stage}", nn.Conv2d(width, width, 3, padding=1))
        self.conv_4 = nn.Conv2d(width, width, 1)

    def forward(self, patches_BDhw: Tensor) -> Tensor:
        """Features of (B, D, 8h, 8w)."""
        x = patches_BDhw
        for stage in range(STAGES + 1):
            x = F.relu(F.instance_norm(getattr(self, f"conv_{stage}")(x)), inplace=True)
            if stage < STAGES:
                x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        return self.conv_4(x)
