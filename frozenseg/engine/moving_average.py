"""A moving average of the trained weights, beside the training itself."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from detectron2.engine import HookBase
from torch import Tensor, nn


class MovingAverage(HookBase):
    """Exponential moving average of the trained weights, updated after every step.

    average = d * average + (1 - d) * weights with d = min(decay, (1 + t) / (10 + t)) at iteration
    t, so that the first, untrained weights do not linger. The training does not see it. Its state
    is in the trainer's checkpoints; a run without one starts from the weights that it loaded.
    Source: Polyak & Juditsky 1992; the start as in TensorFlow's ExponentialMovingAverage.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        """Raises: ValueError unless decay lies in (0, 1)."""
        if not 0.0 < decay < 1.0:
            raise ValueError(
                f"SOLVER.EMA_DECAY is {decay}; it must lie between 0 and 1, or be 0 for no average"
            )
        self.decay = decay
        self._trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
        self._average: dict[str, Tensor] = {}

    def weights(self) -> dict[str, Tensor]:
        """The average by parameter name; the current weights before the first step."""
        return dict(self._average) or {n: p.detach() for n, p in self._trained.items()}

    def before_train(self) -> None:
        """Starts from the weights that the run starts from, unless it was resumed with its own."""
        if not self._average:
            self._average = {n: p.detach().clone() for n, p in self._trained.items()}

    def after_step(self) -> None:
        """Takes in the weights of the step just done."""
        done = self.trainer.iter
        decay = min(self.decay, (1 + done) / (10 + done))
        with torch.no_grad():
            for name, average in self._average.items():
                average.lerp_(self._trained[name], 1 - decay)

    @contextlib.contextmanager
    def applied(self) -> Iterator[None]:
        """Within it the model has the averaged weights, after it its own again."""
        own = {name: p.detach().clone() for name, p in self._trained.items()}
        self._set(self.weights())
        try:
            yield
        finally:
            self._set(own)

    def _set(self, values: dict[str, Tensor]) -> None:
        with torch.no_grad():
            for name, value in values.items():
                self._trained[name].copy_(value)

    def state_dict(self) -> dict[str, Any]:
        """The average, for the checkpoint."""
        return dict(self._average)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes back what `state_dict` gave."""
        device_of = {name: p.device for name, p in self._trained.items()}
        self._average = {n: v.to(device_of[n], copy=True) for n, v in state_dict.items()}
