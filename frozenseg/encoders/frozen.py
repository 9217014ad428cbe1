"""What all frozen encoders have in common."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from frozenseg.checkpoints.digests import WeightsDigest

_Self = TypeVar("_Self", bound="Frozen")


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
