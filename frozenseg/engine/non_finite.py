"""What is kept of a step whose loss is not finite: enough to compute the same loss again.

The file holds tensors, texts and numbers only; `torch.load(weights_only=True)` reads it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from detectron2.structures import Instances
from torch import Tensor, nn

from frozenseg.checkpoints.reading import read_file
from frozenseg.files import write_atomically

FOLDER = "non_finite"


class NonFiniteError(FloatingPointError, ValueError):
    """A loss or gradient that is infinite or NaN; the message says where the batch was saved.

    A ValueError, since settings and data make a training diverge: the user's to mend.
    """


@dataclass(frozen=True)
class BadStep:
    """A step whose loss is not finite.

    Attributes:
        batch: the samples of this process.
        draws: seed, iteration, rank and world_size; `torch_seed` seeds torch before the forward
            pass; `positions` in the training stream key the mapper's draws.
        losses: by name, as far as they were computed.
        weights: the trained weights before the step.
    """

    batch: list[Any]
    draws: dict[str, Any]
    losses: dict[str, float]
    weights: dict[str, Tensor]


def save_bad_step(
    folder: Path,
    batch: Sequence[Any],
    *,
    model: nn.Module,
    draws: Mapping[str, Any],
    losses: Mapping[str, Tensor],
) -> Path:
    """Writes a file that `read_bad_step` reads, and that MODEL.WEIGHTS takes too; its path."""
    path = folder / f"iteration_{draws['iteration']:07d}_rank_{draws['rank']}.pth"
    content = {
        "batch": [_encode(sample) for sample in batch],
        "draws": dict(draws),
        "losses": {name: float(value) for name, value in losses.items()},
        "model": {n: p.detach().cpu() for n, p in model.named_parameters() if p.requires_grad},
    }
    write_atomically(path, lambda part: torch.save(content, part))
    return path


def read_bad_step(path: Path) -> BadStep:
    """What `save_bad_step` wrote. Raises: FileNotFoundError; ValueError for another file."""
    content = read_file(path)
    if not isinstance(content, dict) or not {"batch", "draws", "losses", "model"} <= set(content):
        raise ValueError(f"{path} was not written by a training that stopped (non_finite/*.pth)")
    batch = [_decode(sample) for sample in content["batch"]]
    return BadStep(batch, content["draws"], content["losses"], content["model"])


def _encode(value: Any) -> Any:
    """Tensors, numbers, texts and collections of them; other objects as their text."""
    if isinstance(value, Instances):
        given: dict[str, Any] = value.get_fields()
        fields = {name: _encode(getattr(field, "tensor", field)) for name, field in given.items()}
        return {"instances_of_size": list(value.image_size), "fields": fields}
    if isinstance(value, Tensor):
        return value.detach().cpu()
    if isinstance(value, Mapping):
        return {str(name): _encode(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_encode(item) for item in value]
    return value if isinstance(value, (bool, int, float, str, type(None))) else str(value)


def _decode(value: Any) -> Any:
    if isinstance(value, dict) and "instances_of_size" in value:
        instances = Instances(tuple(value["instances_of_size"]))
        for name, field in value["fields"].items():
            instances.set(name, field)
        return instances
    if isinstance(value, dict):
        return {name: _decode(item) for name, item in value.items()}
    return [_decode(item) for item in value] if isinstance(value, list) else value
