"""A batch in parts, one after another, whose gradients add up to those of the whole batch."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from detectron2.utils import comm
from torch import Tensor

from frozenseg.structures import LossDivisor


class BatchParts:
    """Splits batches, and knows how much each part's loss counts in the loss of the whole batch.

    A loss is a sum over something divided by its count: of images, masks or class weights. A part
    divides by its own count, so its losses are scaled by the ratio: the gradients of all parts add
    up to those of the batch, except for rounding and for random points, which are other draws.
    """

    def __init__(
        self, steps: int, divisors: Mapping[str, LossDivisor], *, device: torch.device | str
    ) -> None:
        """
        Args:
            steps: parts of a batch.
            divisors: what each loss is divided by, by its name without the suffix (`_0`, `_1`, ...)
                of an intermediate prediction: a model's `loss_divisors`.
            device: where counts are summed over processes.
        Raises: ValueError unless steps is positive.
        """
        if steps < 1:
            raise ValueError(f"SOLVER.ACCUMULATION_STEPS is {steps}; it must be 1 or more")
        self.steps, self.divisors, self.device = steps, dict(divisors), device

    def split(self, batch: Sequence[Any]) -> list[Any]:
        """The parts, of equal size. Raises: ValueError if the batch cannot be split evenly."""
        if self.steps == 1:
            return [batch]
        if len(batch) % self.steps:
            raise ValueError(
                f"SOLVER.ACCUMULATION_STEPS is {self.steps}, but a process has {len(batch)} images "
                "of a batch: SOLVER.IMS_PER_BATCH must be a multiple of processes x steps"
            )
        size = len(batch) // self.steps
        return [batch[start : start + size] for start in range(0, len(batch), size)]

    def shares(self, parts: Sequence[Any]) -> list[dict[str, float]]:
        """For each part, how much each loss counts, by its name.

        Every process must call it for the same step: it sums counts over them.
        """
        if self.steps == 1:
            return [{}]
        shares = {name: self._shares_of(divisor, parts) for name, divisor in self.divisors.items()}
        return [{name: share[i] for name, share in shares.items()} for i in range(len(parts))]

    def scale(self, losses: Mapping[str, Tensor], share: Mapping[str, float]) -> dict[str, Tensor]:
        """The losses of a part, each scaled to its share of the batch's.

        Raises: ValueError for a loss without a declared divisor.
        """
        if self.steps == 1:
            return dict(losses)
        return {name: loss * share[self._declared(name)] for name, loss in losses.items()}

    def _shares_of(self, divisor: LossDivisor, parts: Sequence[Any]) -> list[float]:
        counts = [float(sum(map(divisor.count, part))) for part in parts]
        counts_S = torch.tensor(counts, device=self.device)
        if divisor.over_processes and comm.get_world_size() > 1:
            dist.all_reduce(counts_S)
            counts_S = counts_S / comm.get_world_size()
        least = divisor.at_least
        return (counts_S.clamp(min=least) / counts_S.sum().clamp(min=least)).tolist()

    def _declared(self, name: str) -> str:
        base = name if name in self.divisors else re.sub(r"_\d+$", "", name)
        if base not in self.divisors:
            raise ValueError(
                f"SOLVER.ACCUMULATION_STEPS is {self.steps}, but the model does not declare what "
                f"its loss {name!r} is averaged over: add it to the model's `loss_divisors` "
                f"(declared: {', '.join(self.divisors) or 'none'})"
            )
        return base
