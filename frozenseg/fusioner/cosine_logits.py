"""Logits of pixels and words: their cosine, at the resolution of the input; and its loss.

Legend: B images, T words, D channels, h and w cells of the features, H and W pixels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from frozenseg.resize import bilinear_taps

_SMALLEST = 1e-12  # of squared norms, as in F.normalize (1e-6 squared would shift float16)


def cosine_logits(
    features_BDhw: Tensor, words_BTD: Tensor, size: tuple[int, int], *, temperature: float = 0.07
) -> Tensor:
    """Cosines (B, T, H, W) of bilinearly enlarged features with words, over the temperature.

    Equal to enlarging the features first, but nothing of D channels is ever enlarged: the product
    with a word commutes with the linear resize, and the norm of an interpolated vector follows from
    the products of neighbouring cells (`resized_norm`).
    Source: Fusioner, arXiv:2210.15138, section 3.2.
    """
    words_BTD = F.normalize(words_BTD, dim=-1)
    products_BThw = torch.einsum("btd,bdhw->bthw", words_BTD, features_BDhw)
    if tuple(features_BDhw.shape[-2:]) == tuple(size):
        norm_B1HW = features_BDhw.square().sum(1, keepdim=True).clamp(min=_SMALLEST).sqrt()
        return products_BThw / (norm_B1HW * temperature)
    products_BTHW = _resize(products_BThw, size)
    return products_BTHW / (resized_norm(features_BDhw, size) * temperature)


def resized_norm(features_BDhw: Tensor, size: tuple[int, int]) -> Tensor:
    """Norms (B, 1, H, W) of the features resized bilinearly (align_corners False) to `size`.

    A resized vector is the sum of four cells a, b, c, d with weights from its row and its column,
    so its square is a quadratic form of their products: of a cell with itself, with its right,
    lower and two diagonal neighbours. These five maps have one channel each.
    """
    rows, columns = (
        _weights(source, target, features_BDhw)
        for source, target in zip(features_BDhw.shape[-2:], size, strict=True)
    )
    square = (features_BDhw * features_BDhw).sum(1)
    right = _products(features_BDhw[..., :-1], features_BDhw[..., 1:])
    down = _products(features_BDhw[..., :-1, :], features_BDhw[..., 1:, :])
    falling = _products(features_BDhw[..., :-1, :-1], features_BDhw[..., 1:, 1:])
    rising = _products(features_BDhw[..., 1:, :-1], features_BDhw[..., :-1, 1:])
    (row_own, row_pair), (column_own, column_pair) = rows, columns
    # own: squares of the weights on a cell; pair: twice the product of weights on neighbours.
    total = row_own @ square @ column_own.T
    total = total + row_own @ right @ column_pair.T + row_pair @ down @ column_own.T
    total = total + row_pair @ (falling + rising) @ column_pair.T / 2
    return total.clamp(min=_SMALLEST).sqrt().unsqueeze(1)


def binary_loss(logits_BHW: Tensor, target_BHW: Tensor, valid_BHW: Tensor) -> Tensor:
    """Mean over images of each image's mean binary cross-entropy over its valid pixels.

    Args:
        target_BHW: 1 inside the word's class, 0 outside.
        valid_BHW: bool; an image without a valid pixel counts as 0.
    """
    loss_BHW = F.binary_cross_entropy_with_logits(
        logits_BHW.float(), target_BHW.float(), reduction="none"
    )
    valid = valid_BHW.float()
    per_image = (loss_BHW * valid).flatten(1).sum(1) / valid.flatten(1).sum(1).clamp(min=1)
    return per_image.mean()


def _resize(maps: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(maps, size=size, mode="bilinear", align_corners=False)


def _products(first: Tensor, second: Tensor) -> Tensor:
    return (first * second).sum(1)


def _weights(source: int, target: int, like: Tensor) -> tuple[Tensor, Tensor]:
    """For one axis: squared weights (target, source), twice the products (target, source - 1).

    Raises: ValueError for an empty axis.
    """
    if min(source, target) < 1:
        raise ValueError(f"cannot resize {source} cells to {target} pixels: the image is empty")
    taps = bilinear_taps(source, target)
    low, high, weight_T1 = map(torch.from_numpy, taps)
    low, high = low.to(like.device), high.to(like.device)
    weight = weight_T1[:, 0].to(like.dtype).to(like.device)  # Apple's GPU has no float64
    own = like.new_zeros(target, source)
    index = torch.arange(target, device=like.device)
    own[index, low] += (1 - weight) ** 2
    own[index, high] += torch.where(high > low, weight**2, 0)
    pair = like.new_zeros(target, max(source - 1, 0))
    if source > 1:  # of the last cell with itself: 0 for its pair with the one before
        twice = torch.where(high > low, 2 * weight * (1 - weight), 0)
        pair[index, low.clamp(max=source - 2)] += twice
    return own, pair
