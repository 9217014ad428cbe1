"""What is linearly readable from the frozen cells of a visual encoder: colour, shape, class.

A probe is a linear layer on standardised cells, fitted on scenes of one world and measured on
those of another. The cell's truth is the segment that covers most of it.

Legend: N cells of all pictures, C channels, K answers, H and W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frozenseg.data.miniature import draw_scene
from frozenseg.data.miniature_classes import CLASSES
from frozenseg.encoders.visual import load_visual_encoder
from tools.miniature.clip_batches import cell_shares
from tools.miniature.vision_training import normalise

Encoder = Callable[[Tensor], Tensor]
_BATCH = 50
_PROBE_WORLD = 900  # seed of the scenes that the probes are fitted on
_PROBE_STEPS = 300


def evaluate_vision(
    encode: Encoder, *, seed: int, scenes: int, probe_scenes: int = 800
) -> dict[str, float]:
    """Accuracies of linear probes in per cent, over the cells of held-out scenes.

    "color" and "shape": 8 answers, cells of things; "class": 70 answers, all cells.

    Args:
        encode: normalised pictures (B, 3, 256, 256) to a map (B, C, 8, 8).
        seed, scenes: world and number of the held-out scenes.
        probe_scenes: the number that the probes are fitted on.
    """
    fit_NC, fit_classes = encode_scenes(encode, _PROBE_WORLD, probe_scenes)
    test_NC, classes = encode_scenes(encode, seed, scenes)
    mean, std = fit_NC.mean(0), fit_NC.std(0) + 1e-6
    fit_NC, test_NC = (fit_NC - mean) / std, (test_NC - mean) / std
    figures: dict[str, float] = {}
    for name, answers in _answers().items():
        fit_truth, truth = answers[fit_classes], answers[classes]
        probe = fit_probe(fit_NC[fit_truth >= 0], fit_truth[fit_truth >= 0])
        with torch.no_grad():
            right = probe(test_NC[truth >= 0]).argmax(-1) == truth[truth >= 0]
        figures[name] = round(100 * float(right.float().mean()), 1)
    return figures


def compare_vision(
    encoders: Mapping[str, tuple[str, str]], *, seed: int, scenes: int
) -> dict[str, dict[str, float]]:
    """`evaluate_vision` for several encoders, given as name and weights of load_visual_encoder."""
    figures = {}
    for label, (name, weights) in encoders.items():
        torch.manual_seed(0)  # of random weights
        encoder = load_visual_encoder(name, weights)
        figures[label] = evaluate_vision(encoder, seed=seed, scenes=scenes)
    return figures


def _answers() -> dict[str, Tensor]:
    """Per question the answer of every class, -1 where it is not asked."""
    colors = [-1 if row.color is None else row.color for row in CLASSES]
    shapes = [-1 if row.shape is None else row.shape for row in CLASSES]
    every = range(len(CLASSES))
    table: dict[str, Any] = {"color": colors, "shape": shapes, "class": list(every)}
    return {name: torch.tensor(values) for name, values in table.items()}


@torch.no_grad()
def encode_scenes(encode: Encoder, seed: int, scenes: int) -> tuple[Tensor, Tensor]:
    """Cells (N, C) float32 and their classes (N,) of the scenes (seed, 0 .. scenes - 1)."""
    cells, classes = [], []
    for start in range(0, scenes, _BATCH):
        drawn = [draw_scene(seed, i) for i in range(start, min(start + _BATCH, scenes))]
        images = np.stack([scene.image for scene in drawn]).astype(np.float32)
        cells.append(encode(normalise(images)).float().flatten(2).transpose(1, 2).flatten(0, 1))
        for scene in drawn:
            number = cell_shares(scene.ids.astype(np.uint8), hard=False).argmax(0) + 1
            category = {segment["id"]: segment["category"] for segment in scene.segments}
            classes += [category[int(k)] for k in number]
    return torch.cat(cells), torch.tensor(classes)


def fit_probe(features_NC: Tensor, truth_N: Tensor) -> nn.Linear:
    """A linear layer that minimises cross entropy (full batches, Adam)."""
    probe = nn.Linear(features_NC.shape[1], int(truth_N.max()) + 1)
    nn.init.zeros_(probe.weight)
    optimizer = torch.optim.Adam(probe.parameters(), lr=0.03, weight_decay=1e-5)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, _PROBE_STEPS)
    for _ in range(_PROBE_STEPS):
        optimizer.zero_grad()
        F.cross_entropy(probe(features_NC), truth_N).backward()
        optimizer.step()
        schedule.step()
    return probe
