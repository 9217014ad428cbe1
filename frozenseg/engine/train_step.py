"""One optimization step, reproducible by (seed, iteration, rank) and in any precision."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from detectron2.engine import SimpleTrainer
from detectron2.utils import comm
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from frozenseg.engine.accumulation import BatchParts
from frozenseg.engine.non_finite import FOLDER, NonFiniteError, save_bad_step
from frozenseg.engine.precision import Precision
from frozenseg.engine.processes import unwrap


class TrainStep(SimpleTrainer):
    """detectron2's SimpleTrainer with autocast on GPU or CPU, and its own random state per step.

    The random points of the losses depend on (seed, iteration, rank) alone, so that a resumed run
    draws the same ones without storing any generator's state. A batch may be taken in parts. A
    loss or gradient that is not finite stops every process, before the weights change.
    """

    def __init__(
        self,
        model: nn.Module,
        data_loader: Iterable[Any],
        optimizer: torch.optim.Optimizer,
        *,
        precision: Precision,
        seed: int,
        accumulation_steps: int = 1,
        output_dir: str | Path = "",
    ) -> None:
        """
        Args:
            accumulation_steps: parts that a batch is computed in; with several, the model declares
                in `loss_divisors` what its losses are divided by.
            output_dir: where the batch of a loss that is not finite is saved.
        """
        super().__init__(model, data_loader, optimizer)
        self.precision = precision
        self.seed = seed
        self.parts = BatchParts(
            accumulation_steps,
            getattr(unwrap(model), "loss_divisors", {}),
            device=next(model.parameters()).device,
        )
        self.output_dir = Path(output_dir)
        self.scaler = torch.amp.GradScaler(precision.device_type, enabled=precision.needs_scaler)

    def run_step(self) -> None:
        """Next batch, losses, gradients, update.

        Raises: NonFiniteError, on all processes, if one has a loss that is not finite.
        """
        start = time.perf_counter()
        batch = next(self._data_loader_iter)
        data_time = time.perf_counter() - start
        torch.manual_seed(step_seed(self.seed, self.iter, comm.get_rank()))
        self.optimizer.zero_grad()
        sums: dict[str, Tensor] = {}
        parts = self.parts.split(batch)
        shares = self.parts.shares(parts)
        for index, (part, share) in enumerate(zip(parts, shares, strict=True)):
            with self._gradients_stay_here(index + 1 < len(parts)):
                losses = self._losses(part, share, batch)
                total = sum(losses.values(), start=torch.zeros(()))
                self.scaler.scale(total).backward()
            for name, value in losses.items():
                sums[name] = sums[name] + value.detach() if name in sums else value.detach()
        self._write_metrics(sums, data_time)
        try:
            self.scaler.step(self.optimizer)
        except FloatingPointError as error:  # the norm of the gradients of all processes
            self._stop(str(error), batch, sums)
        self.scaler.update()

    def _gradients_stay_here(self, more: bool) -> contextlib.AbstractContextManager[Any]:
        """Between the parts of a batch, processes do not exchange gradients."""
        if more and isinstance(self.model, DistributedDataParallel):
            return self.model.no_sync()
        return contextlib.nullcontext()

    def _losses(self, part: Any, share: Mapping[str, float], batch: Any) -> dict[str, Tensor]:
        """The losses of a part of the batch, scaled to its share; all are finite."""
        losses: dict[str, Tensor] = {}
        reason = ""
        try:
            with self.precision.autocast():
                losses = self.parts.scale(self.model(part), share)
            bad = [name for name, value in losses.items() if not torch.isfinite(value).all()]
            if bad:
                reason = f"the losses {', '.join(bad[:6])} are not finite"
        except FloatingPointError as error:  # the matcher, before there is any loss
            reason = str(error)
        if self._in_any_process(bool(reason)):
            self._stop(reason, batch, losses)
        return losses

    def _in_any_process(self, flag: bool) -> bool:
        if comm.get_world_size() == 1:
            return flag
        device = next(self.model.parameters()).device
        flags = torch.tensor(float(flag), device=device)
        dist.all_reduce(flags)
        return bool(flags.item())

    def _stop(self, reason: str, batch: Any, losses: Mapping[str, Tensor]) -> None:
        """Saves the batch where the reason is in this process. Raises: NonFiniteError, always."""
        folder = self.output_dir / FOLDER
        where = f"at iteration={self.iter}"
        if not reason:
            raise NonFiniteError(f"another process met numbers that are not finite {where}")
        path = save_bad_step(
            folder, batch, model=unwrap(self.model), draws=self._draws(batch), losses=losses
        )
        raise NonFiniteError(
            f"{reason} {where}; batch, random draws and weights are in {path} "
            "(frozenseg.engine.non_finite.read_bad_step). Look at its images; set "
            "SOLVER.AMP.ENABLED False and go on with --resume, or start anew with a lower "
            "SOLVER.BASE_LR (--resume keeps the old one)"
        )

    def _draws(self, batch: Any) -> dict[str, Any]:
        rank, world_size = comm.get_rank(), comm.get_world_size()
        count = len(batch)
        first = self.iter * count * world_size + rank
        return {
            "seed": self.seed,
            "iteration": self.iter,
            "rank": rank,
            "world_size": world_size,
            "accumulation_steps": self.parts.steps,
            "torch_seed": step_seed(self.seed, self.iter, rank),
            "positions": [first + index * world_size for index in range(count)],
        }


def step_seed(seed: int, iteration: int, rank: int) -> int:
    """A seed of 64 bits that differs for every run, iteration and rank."""
    return int(np.random.SeedSequence((seed, iteration, rank)).generate_state(1, np.uint64)[0])
