"""What a frozen language encoder knows of the world's words.

Legend: N names, C classes, K channels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from frozenseg.data.miniature.classes import CLASSES, all_names
from tools.miniature.clip_evaluation import percent
from tools.miniature.vision_evaluation import fit_probe

_PARTS = 4


def evaluate_language(encode: Callable[[Sequence[str]], Tensor]) -> dict[str, float]:
    """Figures in per cent about the vectors of class names.

    - new_pairs_color, new_pairs_shape: linear probes fitted on the names of 48 of the 64 things,
      asked about the 16 others; the mean of four such splits.
    - new_words_color, new_words_shape: probes fitted on each thing's first name ("red star"),
      asked about the names that have no word of it ("crimson five-pointed star").
    - same_class: names whose nearest first name, by cosine, is that of their own class (of 70).

    `encode`: names to vectors (N, K).

    """
    names = [(name, c) for c in range(len(CLASSES)) for name in all_names(c)]
    vectors_NK = encode([name for name, _ in names])
    classes_N = np.array([c for _, c in names])
    first_C = np.array([names.index((row.name, c)) for c, row in enumerate(CLASSES)])
    figures: dict[str, float] = {}
    things_N = np.array([CLASSES[c].is_thing for c in classes_N])
    vectors = (vectors_NK - vectors_NK.mean(0)) / (vectors_NK.std(0) + 1e-6)
    for kind in ("color", "shape"):
        answers = torch.tensor([getattr(CLASSES[c], kind) or 0 for c in classes_N])
        rights = []
        for part in range(_PARTS):
            held_out = things_N & (_part_of(classes_N) == part)
            rights.append(_probe(vectors, answers, things_N & ~held_out, held_out))
        figures[f"new_pairs_{kind}"] = percent(np.concatenate(rights))
        first = np.isin(np.arange(len(names)), first_C) & things_N
        new = np.array([_no_word_in_common(name, CLASSES[c].name) for name, c in names])
        figures[f"new_words_{kind}"] = percent(_probe(vectors, answers, first, new & things_N))
    unit_NK = F.normalize(vectors_NK, dim=-1)
    nearest_N = (unit_NK @ unit_NK[first_C].T).argmax(1).numpy()
    others = ~np.isin(np.arange(len(names)), first_C)
    figures["same_class"] = percent((nearest_N == classes_N)[others])
    return figures


def _part_of(classes_N: np.ndarray) -> np.ndarray:
    """Which of the four splits holds out each class: every one has all colours and all shapes."""
    rows = [CLASSES[c] for c in classes_N]
    return np.array([((row.shape or 0) + (row.color or 0)) % _PARTS for row in rows])


def _probe(vectors_NK: Tensor, answers_N: Tensor, fit: np.ndarray, ask: np.ndarray) -> np.ndarray:
    probe = fit_probe(vectors_NK[fit], answers_N[fit])
    with torch.no_grad():
        return (probe(vectors_NK[ask]).argmax(-1) == answers_N[ask]).numpy()


def _no_word_in_common(name: str, other: str) -> bool:
    return not set(name.replace("-", " ").split()) & set(other.split())
