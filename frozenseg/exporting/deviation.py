"""How far an image.onnx is from its model: with the masks that it finds, and with empty ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from frozenseg.exporting.export import differences, onnx_runner
from frozenseg.exporting.graph import ImageGraph

_EMPTYING = {
    "sem_seg_head.predictor.mask_embed.layers.2.bias": -30.0,
    "sem_seg_head.pixel_decoder.mask_features.bias": 30.0,
}


@torch.no_grad()
def deviations(graph: ImageGraph, path: Path, threads: int = 0) -> list[dict[str, Any]]:
    """A row for each of the graph's cases, with the masks of the model and with empty ones.

    A row has the largest absolute difference of each output, and how many percent of the queries
    have the same class and of the mask logits the same sign.

    Args:
        graph: in eval mode; its weights are changed for a while.
        path: what `frozenseg export` wrote of it, in any precision.
    """
    emptying, rows = empty_masks(graph), []
    plain = {name: graph.state_dict()[name].clone() for name in emptying}
    for weights in (plain, emptying):
        graph.load_state_dict(weights, strict=False)
        run = onnx_runner(path, graph.inputs, threads, {} if weights is plain else weights)
        for case in graph.cases:
            inputs = graph.random_inputs(**case)
            expected = [each.numpy() for each in graph(*inputs)]
            found = run(inputs)
            mine, wanted = (
                dict(zip(graph.outputs, each, strict=True)) for each in (found, expected)
            )
            some = "some" if (wanted["mask_logits"] > 0).any() else "none"
            rows.append(
                {**case, "masks": some, **differences(graph.outputs, found, expected)}
                | {"same class %": _alike(mine, wanted, "class_log_probs", lambda x: x.argmax(-1))}
                | {"same sign %": _alike(mine, wanted, "mask_logits", lambda x: x > 0)}
            )
    graph.load_state_dict(plain, strict=False)
    return rows


def empty_masks(graph: ImageGraph) -> dict[str, Tensor]:
    """Weights by name with which every mask is empty, in all layers of the decoder.

    One channel of the mask embeddings and of the pixels gets opposite biases, so that all mask
    logits fall by hundreds.
    """
    weights = {f"model.{name}": value for name, value in _EMPTYING.items()}
    state = graph.state_dict()
    for name, value in weights.items():
        changed = state[name].clone()
        changed[0] += value
        state[name] = changed
    return {name: state[name] for name in weights}


def _alike(mine: Any, wanted: Any, name: str, decide: Any) -> float:
    decided: NDArray[np.bool_] = decide(mine[name]) == decide(wanted[name])
    return 100 * float(decided.mean())
