"""ZS3Net: a generator of features from word vectors trains the classifier of any words.

Legend: B images, T words, R rivals, L = T + R, C training classes (+1 for background, last),
V channels of patches, K of word vectors, M features of a class, h and w patches, H and W pixels.
"""

from __future__ import annotations

from types import MappingProxyType

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frozenseg.fusioner.spnet import above_rivals, softmax_target
from frozenseg.resize import nearest_resize
from frozenseg.structures import IGNORED, PER_IMAGE

# Kernel widths of the moment matching, in units of the mean squared distance.
BANDWIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)
_KEPT_CLASSIFIERS = 64  # items ask for one class each: COCO-20i's 60 seen ones fit


class ZS3Net(nn.Module):
    """Learns to generate patch features of seen classes from their words; then of any words.

    A classifier is fitted to generated features of the asked words and of background whenever the
    words change. Source: ZS3Net, Bucher et al., arXiv:1906.00817, section 3.2 (GMMN generator);
    ours keeps the visual encoder frozen, so real features need no training, and classifies patches.
    """

    has_rivals = True
    # A mean over the classes of a batch: of parts of a batch only about the mean over their images.
    loss_divisors = MappingProxyType({"loss_mmd": PER_IMAGE})

    def __init__(
        self,
        *,
        visual_channels: int,
        text_channels: int,
        width: int = 512,
        features_per_class: int = 64,
    ) -> None:
        """
        Args:
            width: hidden channels of the generator.
            features_per_class: generated ones that a classifier is fitted to, and the most real
                ones of a class that a training step compares with as many generated ones.
        """
        super().__init__()
        self.generator = nn.Sequential(
            nn.Linear(2 * text_channels, width),
            nn.LeakyReLU(0.2),
            nn.Linear(width, width),
            nn.LeakyReLU(0.2),
            nn.Linear(width, visual_channels),
        )
        self.features_per_class = features_per_class
        self._fitted: dict[tuple[str, bytes], tuple[Tensor, Tensor]] = {}

    def train(self, mode: bool = True) -> ZS3Net:
        """Fitted classifiers are forgotten: the generator may change."""
        self._fitted = {}
        return super().train(mode)

    def forward(
        self, patches_BVhw: Tensor, words_TK: Tensor, size: tuple[int, int], rivals_RK: Tensor
    ) -> Tensor:
        """Logits (B, T, H, W) over the largest of the rivals'."""
        weight_LV, bias_L = self._classifier(torch.cat((words_TK, rivals_RK)))
        features_BVhw = F.normalize(patches_BVhw, dim=1)
        logits_BLhw = F.conv2d(features_BVhw, weight_LV[..., None, None], bias_L)
        return above_rivals(logits_BLhw, len(words_TK), size)

    def losses(
        self, patches_BVhw: Tensor, words_CK: Tensor, labels_BHW: Tensor, asked_B: Tensor
    ) -> dict[str, Tensor]:
        """`loss_mmd`: mean over the classes in the batch of the moment-matching loss."""
        features_NV = F.normalize(patches_BVhw, dim=1).permute(0, 2, 3, 1).flatten(0, 2)
        class_N = class_of_patches(labels_BHW, patches_BVhw.shape[-2:], len(words_CK)).flatten()
        losses = []
        for index in sorted(set(class_N.tolist()) - {IGNORED}):
            features_MV = self._some(features_NV[class_N == index])
            if len(features_MV) > 1:
                made_MV = self.generate(words_CK[index], len(features_MV))
                losses.append(moment_loss(features_MV, made_MV))
        if not losses:  # keep every parameter in the graph: processes exchange gradients
            losses = [0.0 * self.generate(words_CK[0], 1).sum()]
        return {"loss_mmd": torch.stack(losses).mean()}

    def generate(
        self, word_K: Tensor, count: int, generator: torch.Generator | None = None
    ) -> Tensor:
        """Unit features (count, V) for a word."""
        noise = torch.randn(count, len(word_K), generator=generator).to(word_K)
        words = word_K.expand(count, -1) * len(word_K) ** 0.5  # of the size of the noise
        return F.normalize(self.generator(torch.cat((words, noise), dim=1)), dim=-1)

    def _some(self, features_NV: Tensor) -> Tensor:
        chosen = torch.randperm(len(features_NV))[: self.features_per_class]
        return features_NV[chosen.to(features_NV.device)]

    def _classifier(self, words_TK: Tensor) -> tuple[Tensor, Tensor]:
        """Weights (T, V) and biases (T,); fitted once per list of words."""
        key = (str(words_TK.device), words_TK.detach().cpu().numpy().tobytes())
        if key not in self._fitted:
            while len(self._fitted) >= _KEPT_CLASSIFIERS:
                del self._fitted[next(iter(self._fitted))]
            self._fitted[key] = self._fit(words_TK)
        return self._fitted[key]

    def _fit(self, words_TK: Tensor) -> tuple[Tensor, Tensor]:
        generator = torch.Generator().manual_seed(0)
        count = self.features_per_class
        with torch.no_grad():
            features = torch.cat([self.generate(word, count, generator) for word in words_TK])
        target = torch.arange(len(words_TK), device=features.device).repeat_interleave(count)
        # Autocast would go on with the first rounded copy of the weights, whatever is fitted.
        with torch.autocast(features.device.type, enabled=False):
            return fit_softmax(features.float(), target, len(words_TK))


def class_of_patches(labels_BHW: Tensor, grid: torch.Size, classes: int) -> Tensor:
    """The class (B, h, w) of the pixel in the middle of each patch; `IGNORED` where none counts."""
    return softmax_target(nearest_resize(labels_BHW, (grid[0], grid[1])), classes)


def moment_loss(real_MV: Tensor, made_MV: Tensor) -> Tensor:
    """Maximum mean discrepancy (its square) of unit vectors under a sum of Gaussian kernels.

    Source: GMMN, Li et al., arXiv:1502.02761, equation 3; the kernels' widths follow the data.
    """
    both = torch.cat((real_MV, made_MV))
    square = (2 - 2 * both @ both.T).clamp(min=0)  # distances of unit vectors
    scale = square.detach().mean().clamp(min=1e-6)
    kernel = torch.stack([torch.exp(-square / (factor * scale)) for factor in BANDWIDTHS]).mean(0)
    count = len(real_MV)
    real, made = kernel[:count, :count], kernel[count:, count:]
    return real.mean() + made.mean() - 2 * kernel[:count, count:].mean()


def fit_softmax(
    features_NV: Tensor, target_N: Tensor, classes: int, *, decay: float = 1e-3, steps: int = 60
) -> tuple[Tensor, Tensor]:
    """Weights (classes, V) and biases of a linear softmax classifier, by L-BFGS from zero."""
    weight = features_NV.new_zeros(classes, features_NV.shape[1], requires_grad=True)
    bias = features_NV.new_zeros(classes, requires_grad=True)
    optimizer = torch.optim.LBFGS([weight, bias], max_iter=steps, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        logits = F.linear(features_NV, weight, bias)
        loss = F.cross_entropy(logits, target_N) + decay * weight.square().sum() / 2
        loss.backward()
        return loss

    with torch.enable_grad():
        optimizer.step(closure)
    return weight.detach(), bias.detach()
