"""What is linearly readable from the frozen cells of a visual encoder: colour, shape, class.

A probe is a linear layer on standardised features, fitted on scenes of one world and measured on
those of another. It is asked about single cells, whose truth is the segment that covers most of
them, and about whole things (the mean of their cells, weighted by how much of each they cover).

Legend: P examples (cells or things of all pictures), N cells of a picture, S segments, C channels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frozenseg.data.miniature.classes import CLASSES
from frozenseg.data.miniature.scenes import draw_scene
from tools.miniature.clip_batches import cell_shares
from tools.miniature.clip_evaluation import percent
from tools.miniature.clip_training import normalise

Encoder = Callable[[Tensor], Tensor]
_BATCH = 50
_PROBE_WORLD = 900  # seed of the scenes that the probes are fitted on
_PROBE_STEPS = 300


class Examples(NamedTuple):
    """Features (P, C) float32 and classes (P,)."""

    features: Tensor
    classes: Tensor


def evaluate_vision(
    encode: Encoder, *, seed: int, scenes: int, probe_scenes: int = 800
) -> dict[str, float]:
    """Accuracies of linear probes in per cent, on held-out scenes.

    "color" and "shape" have 8 answers, and are asked about cells of things and about whole things;
    "class" has 70 and is asked about all cells.

    Args:
        encode: normalised pictures (B, 3, 256, 256) to a map (B, C, 8, 8).
        seed, scenes: world and number of the held-out scenes.
        probe_scenes: the number that the probes are fitted on.
    """
    fit = encode_scenes(encode, _PROBE_WORLD, probe_scenes)
    test = encode_scenes(encode, seed, scenes)
    colors = torch.tensor([-1 if row.color is None else row.color for row in CLASSES])
    shapes = torch.tensor([-1 if row.shape is None else row.shape for row in CLASSES])
    every = torch.arange(len(CLASSES))
    questions = (
        ("color", "cells", colors),
        ("shape", "cells", shapes),
        ("class", "cells", every),
        ("color_of_things", "things", colors),
        ("shape_of_things", "things", shapes),
    )
    return {name: _probe(fit[kind], test[kind], answers) for name, kind, answers in questions}


def _probe(fit: Examples, test: Examples, answers: Tensor) -> float:
    """Accuracy in per cent; `answers` has that of every class, -1 where it is not asked."""
    mean, std = fit.features.mean(0), fit.features.std(0) + 1e-6
    fit_truth, truth = answers[fit.classes], answers[test.classes]
    asked_fit, asked = fit_truth >= 0, truth >= 0
    probe = fit_probe(((fit.features - mean) / std)[asked_fit], fit_truth[asked_fit])
    with torch.no_grad():
        found = probe(((test.features - mean) / std)[asked]).argmax(-1)
    return percent((found == truth[asked]).numpy())


@torch.no_grad()
def encode_scenes(encode: Encoder, seed: int, scenes: int) -> dict[str, Examples]:
    """The "cells" and the "things" of the scenes (seed, 0 .. scenes - 1)."""
    found: dict[str, list[Examples]] = {"cells": [], "things": []}
    for start in range(0, scenes, _BATCH):
        drawn = [draw_scene(seed, i) for i in range(start, min(start + _BATCH, scenes))]
        images = np.stack([scene.image for scene in drawn]).astype(np.float32)
        cells_BNC = encode(normalise(images)).float().flatten(2).transpose(1, 2)
        for cells_NC, scene in zip(cells_BNC, drawn, strict=True):
            shares_SN = torch.from_numpy(cell_shares(scene.ids.astype(np.uint8), hard=False))
            category_S = torch.full((len(shares_SN),), -1)
            for segment in scene.segments:
                category_S[segment["id"] - 1] = segment["category"]
            found["cells"].append(Examples(cells_NC, category_S[shares_SN.argmax(0)]))
            rows = torch.tensor([s["id"] - 1 for s in scene.segments if s["isthing"]])
            weights = shares_SN[rows] / shares_SN[rows].sum(1, keepdim=True)
            found["things"].append(Examples(weights @ cells_NC, category_S[rows]))
    return {
        kind: Examples(*(torch.cat(part) for part in zip(*examples, strict=True)))
        for kind, examples in found.items()
    }


def fit_probe(features_PC: Tensor, truth_P: Tensor) -> nn.Linear:
    """A linear layer that minimises cross entropy (full batches, Adam)."""
    probe = nn.Linear(features_PC.shape[1], int(truth_P.max()) + 1)
    nn.init.zeros_(probe.weight)
    nn.init.zeros_(probe.bias)
    optimizer = torch.optim.Adam(probe.parameters(), lr=0.03, weight_decay=1e-5)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, _PROBE_STEPS)
    for _ in range(_PROBE_STEPS):
        optimizer.zero_grad()
        F.cross_entropy(probe(features_PC), truth_P).backward()
        optimizer.step()
        schedule.step()
    return probe
