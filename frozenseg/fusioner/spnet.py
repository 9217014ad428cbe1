"""SPNet: pixels in the space of word vectors, a softmax over the classes.

Legend: B images, T words, R rivals, L = T + R, C training classes (+1 for background, last),
V channels of patches, K of word vectors, D of the decoder, h and w patches, H and W pixels.
"""

from __future__ import annotations

from types import MappingProxyType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frozenseg.fusioner.fusion import visual_projection
from frozenseg.fusioner.method import Upsampler
from frozenseg.structures import BACKGROUND, IGNORED, PER_IMAGE


class SPNet(nn.Module):
    """Pixel features are projected to word vectors, which stay fixed; words compete in a softmax.

    Background is a word like the others; held-out classes are left out of the loss.
    Source: Semantic Projection Network, Xian et al., CVPR 2019, section 3; ours has a frozen visual
    encoder and Fusioner's upsampling decoder.
    """

    has_rivals = True
    loss_divisors = MappingProxyType({"loss_words": PER_IMAGE})

    def __init__(self, *, visual_channels: int, text_channels: int, width: int = 512) -> None:
        super().__init__()
        self.visual_proj = visual_projection(visual_channels, width)
        self.decoder = Upsampler(width)
        self.to_words = nn.Conv2d(width, text_channels, 1)

    def forward(
        self, patches_BVhw: Tensor, words_TK: Tensor, size: tuple[int, int], rivals_RK: Tensor
    ) -> Tensor:
        """Logits (B, T, H, W) over the largest of the rivals'."""
        logits_BLhw = self._logits(patches_BVhw, torch.cat((words_TK, rivals_RK)))
        return above_rivals(logits_BLhw, words_TK.shape[0], size)

    def losses(
        self, patches_BVhw: Tensor, words_CK: Tensor, labels_BHW: Tensor, asked_B: Tensor
    ) -> dict[str, Tensor]:
        """`loss_words`: mean over images of each one's cross entropy over its pixels."""
        logits_BChw = self._logits(patches_BVhw, words_CK)
        return {"loss_words": softmax_loss(logits_BChw, labels_BHW)}

    def _logits(self, patches_BVhw: Tensor, words_TK: Tensor) -> Tensor:
        patches_BVhw = F.normalize(patches_BVhw, dim=1)
        patches_BhwD = self.visual_proj(patches_BVhw.permute(0, 2, 3, 1))
        features_BKhw = self.to_words(self.decoder(patches_BhwD.permute(0, 3, 1, 2)))
        return torch.einsum("bkhw,tk->bthw", features_BKhw, words_TK)


def above_rivals(logits_BLhw: Tensor, count: int, size: tuple[int, int]) -> Tensor:
    """Logits (B, count, H, W) of the first words over the largest of the others, enlarged.

    A softmax over all decides for one of the first where its logit is the largest and above 0.
    """
    relative = logits_BLhw[:, :count] - logits_BLhw[:, count:].amax(1, keepdim=True)
    return F.interpolate(relative, size=size, mode="bilinear", align_corners=False)


def softmax_loss(logits_BChw: Tensor, labels_BHW: Tensor) -> Tensor:
    """Mean over images of each one's cross entropy; the last class is background.

    Pixels that are ignored or of a held-out class do not count.
    """
    size = (labels_BHW.shape[1], labels_BHW.shape[2])
    logits = F.interpolate(logits_BChw.float(), size=size, mode="bilinear", align_corners=False)
    target_BHW = softmax_target(labels_BHW, logits.shape[1])
    loss_BHW = F.cross_entropy(logits, target_BHW, ignore_index=IGNORED, reduction="none")
    counted = (target_BHW != IGNORED).flatten(1).sum(1).clamp(min=1)
    return (loss_BHW.flatten(1).sum(1) / counted).mean()


def softmax_target(labels: Tensor, classes: int) -> Tensor:
    """Class indices int64, background as the last of `classes`, `IGNORED` where nothing counts."""
    labels = labels.long()
    target = torch.where(labels == BACKGROUND, classes - 1, labels)
    return torch.where(target < 0, IGNORED, target)
