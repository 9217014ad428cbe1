"""One optimization step, reproducible by (seed, iteration, rank) and in any precision."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from detectron2.engine import SimpleTrainer
from detectron2.utils import comm
from torch import nn

from frozenseg.engine.precision import Precision


class TrainStep(SimpleTrainer):
    """detectron2's SimpleTrainer with autocast on GPU or CPU, and its own random state per step.

    The random points of the losses depend on (seed, iteration, rank) alone, so that a resumed run
    draws the same ones without storing any generator's state.
    """

    def __init__(
        self,
        model: nn.Module,
        data_loader: Iterable[Any],
        optimizer: torch.optim.Optimizer,
        *,
        precision: Precision,
        seed: int,
    ) -> None:
        super().__init__(model, data_loader, optimizer)
        self.precision = precision
        self.seed = seed
        self.scaler = torch.amp.GradScaler(precision.device_type, enabled=precision.needs_scaler)

    def run_step(self) -> None:
        """Next batch, losses, gradients, update. Raises: FloatingPointError for a loss of NaN."""
        start = time.perf_counter()
        batch = next(self._data_loader_iter)
        data_time = time.perf_counter() - start
        torch.manual_seed(step_seed(self.seed, self.iter, comm.get_rank()))
        with self.precision.autocast():
            losses = self.model(batch)
            total = sum(losses.values())
        self.optimizer.zero_grad()
        self.scaler.scale(total).backward()
        self._write_metrics(losses, data_time)
        self.scaler.step(self.optimizer)
        self.scaler.update()


def step_seed(seed: int, iteration: int, rank: int) -> int:
    """A seed of 64 bits that differs for every run, iteration and rank."""
    return int(np.random.SeedSequence((seed, iteration, rank)).generate_state(1, np.uint64)[0])
