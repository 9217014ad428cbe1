"""From the logits of some words to labels.

Legend: T words asked, P pixels (any shape).
"""

from __future__ import annotations

import torch
from torch import Tensor

from frozenseg.inference.argmax import column_argmax
from frozenseg.structures import BACKGROUND


def labels_of(logits_TP: Tensor, threshold: float = 0.5) -> Tensor:
    """Which word each pixel shows: int32 of the shape after T, an index in 0..T-1 or BACKGROUND.

    The word with the largest logit, if its probability (sigmoid) exceeds `threshold`; of equal ones
    the first. Without any word, or where a logit is not a number, a pixel is background.

    Args: logits_TP: (T, ...), words first.
    Source: Fusioner, arXiv:2210.15138 (a pixel is background where no class exceeds 0.5).
    """
    shape = logits_TP.shape[1:]
    if not len(logits_TP):
        return torch.full(shape, BACKGROUND, dtype=torch.int32, device=logits_TP.device)
    peak_P, word_P = column_argmax(logits_TP.flatten(1))
    labels_P = torch.where(peak_P.sigmoid() > threshold, word_P, BACKGROUND)
    return labels_P.to(torch.int32).view(shape)
