"""The small reference models without hard decisions, for comparisons of gradients.

Batches of other sizes, other numbers of threads and other processors round differently. At the
threshold of an attention mask such a difference can change a gradient by a percent; here it stays
one of rounding.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from frozenseg.layers.mask_pooling import resize_mask_logits
from frozenseg.mask_classification import decoder, sam_injection
from tools.record_reference import build_reference_model

POINTS_AT_RANDOM = ("MODEL.MASK_FORMER.IMPORTANCE_SAMPLE_RATIO", "0.0")


@contextmanager
def smooth_model(variant: str, cache_dir: Path) -> Iterator[Any]:
    """The model of `build_reference_model`; inside the context its decoder has no threshold.

    Queries attend everywhere, masks pool by their probabilities, and the mask losses take no
    points for their uncertainty.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoder, "_allowed", _everywhere)
        for module in (decoder, sam_injection):
            patch.setattr(module, "pool_by_masks", _pool_by_probabilities)
        yield build_reference_model(variant, cache_dir, *POINTS_AT_RANDOM)


def _everywhere(mask_embedding_BQD: Tensor, mask_features_BDN: Tensor) -> Tensor:
    batch, queries, _ = mask_embedding_BQD.shape
    return torch.ones(batch, queries, mask_features_BDN.shape[-1], dtype=torch.bool)


def _pool_by_probabilities(features_BCHW: Tensor, mask_logits_BQHW: Tensor) -> Tensor:
    size = (features_BCHW.shape[-2], features_BCHW.shape[-1])
    weight_BQN = resize_mask_logits(mask_logits_BQHW.detach(), size).sigmoid().flatten(2)
    weight_BQN = weight_BQN / weight_BQN.sum(-1, keepdim=True)
    return torch.einsum("bqn,bcn->bqc", weight_BQN, features_BCHW.flatten(2))
