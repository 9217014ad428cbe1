"""What all frozen encoders have in common."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from frozenseg.checkpoints.digests import WeightsDigest
from frozenseg.device import TOWER_PRECISIONS, cpu_multiplies_bfloat16

_Self = TypeVar("_Self", bound="Frozen")

# Found once: a compiled tower must not read files.
_CPU_MULTIPLIES_BFLOAT16 = cpu_multiplies_bfloat16()


def check_tower_precision(precision: str, key: str) -> str:
    """`precision`. Raises: ValueError naming `key` if it is not one of `TOWER_PRECISIONS`."""
    if precision not in TOWER_PRECISIONS:
        known = " or ".join(TOWER_PRECISIONS)
        raise ValueError(f"{key} is {precision!r}: it must be {known}")
    return precision


def tower_precision(precision: str, device: torch.device) -> str:
    """What one of `TOWER_PRECISIONS` is there: "float32" or "bfloat16".

    "auto" is bfloat16 on Nvidia GPUs and on processors with instructions for it.
    """
    if precision != "auto":
        return precision
    fast = device.type == "cuda" or (device.type == "cpu" and _CPU_MULTIPLIES_BFLOAT16)
    return "bfloat16" if fast else "float32"


def tower_autocast(precision: str, device: torch.device) -> AbstractContextManager[Any]:
    """bfloat16 autocast where `tower_precision` says so; else the caller's, if any."""
    if tower_precision(precision, device) == "bfloat16":
        return torch.autocast(device.type, dtype=torch.bfloat16)
    return nullcontext()


class Frozen(nn.Module):
    """A module that is always in eval mode: dropout and batch norm statistics must not act."""

    def train(self: _Self, mode: bool = True) -> _Self:
        """Stays in eval mode, whatever `mode`."""
        return super().train(False)


class FrozenEncoder(Frozen):
    """A frozen module whose outputs are cached under its digest."""

    def __init__(self) -> None:
        super().__init__()
        self._digest = WeightsDigest()

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return next(self.parameters()).device

    @property
    def digest(self) -> str:
        """A digest of everything an output depends on: architecture, weights, words.

        Computed on first use, see `WeightsDigest`. Raises: ValueError on the meta device.
        """
        return self._digest.of(self._weights(), self._describe)

    def _weights(self) -> Mapping[str, Tensor]:
        """The weights by name."""
        raise NotImplementedError

    def _describe(self) -> dict[str, Any]:
        """Everything else that the output depends on, fit for JSON."""
        raise NotImplementedError
