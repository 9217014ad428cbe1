"""The plain formulation that the strips are compared with, on full-resolution tensors."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from frozenseg.structures import ImageGeometry


def _resize(mask_logits: Tensor, geometry: ImageGeometry) -> Tensor:
    masks = F.interpolate(mask_logits[:, None], geometry.padded, mode="bilinear")
    masks = masks[..., : geometry.image[0], : geometry.image[1]]
    return F.interpolate(masks, geometry.output, mode="bilinear")[:, 0]


def _random_case(
    seed: int, queries: int = 12, classes: int = 7, size: tuple[int, int] = (12, 17)
) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(queries, classes + 1, generator=generator) * 2
    coarse = torch.randn(queries, 1, 4, 5, generator=generator) * 6
    return logits, F.interpolate(coarse, size, mode="bicubic")[:, 0]


@pytest.fixture(scope="session")
def plain_resize() -> Callable[[Tensor, ImageGeometry], Tensor]:
    """Mask logits resized to the padded input, cropped, resized to the output by torch."""
    return _resize


@pytest.fixture(scope="session")
def random_case() -> Callable[..., tuple[Tensor, Tensor]]:
    """Class logits (Q, C + 1) and smooth mask logits (Q, h, w) of a seed."""
    return _random_case
