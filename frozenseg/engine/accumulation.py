"""A batch in parts, one after another, whose gradients add up to those of the whole batch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.distributed as dist
from detectron2.utils import comm
from torch import Tensor

# What a loss is divided by, by the beginning of its name; any other is a mean over the images.
DIVIDED_BY = {"loss_ce": "weights", "loss_mask": "masks", "loss_dice": "masks"}


class BatchParts:
    """Splits batches, and knows how much each part's loss counts in the loss of the whole batch.

    The mask losses of a batch are divided by its number of masks (over all processes), its cross
    entropy by the summed class weights of its queries (of this process). A part divides by its own
    counts, so its losses are scaled by the ratio: the gradients of all parts add up to those of
    the batch, but for rounding and for the random points, which are other draws.
    """

    def __init__(
        self, steps: int, *, num_queries: int, no_object_weight: float, device: torch.device | str
    ) -> None:
        """
        Args:
            steps: parts of a batch.
            num_queries, no_object_weight: of the set criterion, for the cross entropy's weights.
            device: where counts are summed over processes.
        Raises: ValueError unless steps is positive.
        """
        if steps < 1:
            raise ValueError(f"SOLVER.ACCUMULATION_STEPS is {steps}; it must be 1 or more")
        self.steps = steps
        self.num_queries, self.no_object_weight = num_queries, no_object_weight
        self.device = device

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

    def shares(self, parts: Sequence[Any]) -> list[Mapping[str, float]]:
        """For each part, how much a loss counts, by what it is divided by.

        Every process must call it for the same step: it sums counts over them.
        """
        if self.steps == 1:
            return [{}]
        if any("instances" not in sample for part in parts for sample in part):
            return [{} for _ in parts]  # no masks: every loss is a mean over the images
        counts = [[len(sample["instances"]) for sample in part] for part in parts]
        masks = torch.tensor([float(sum(part)) for part in counts], device=self.device)
        if comm.get_world_size() > 1:
            dist.all_reduce(masks)
        masks = masks / comm.get_world_size()
        whole = masks.sum().clamp(min=1)
        weights = torch.tensor([sum(map(self._class_weight, part)) for part in counts])
        return [
            {"masks": float(mask_share), "weights": float(weight_share)}
            for mask_share, weight_share in zip(
                masks.clamp(min=1) / whole, weights / weights.sum(), strict=True
            )
        ]

    def scale(self, losses: Mapping[str, Tensor], share: Mapping[str, float]) -> dict[str, Tensor]:
        """The losses of a part, each scaled to its share of the batch's."""
        if self.steps == 1:
            return dict(losses)
        return {name: loss * self._share_of(name, share) for name, loss in losses.items()}

    def _share_of(self, name: str, share: Mapping[str, float]) -> float:
        for prefix, divisor in DIVIDED_BY.items():
            if name.startswith(prefix):
                return share[divisor]
        return 1 / self.steps

    def _class_weight(self, masks: int) -> float:
        """The summed weights of an image's cross entropy: a matched query weighs 1, others less."""
        matched = min(masks, self.num_queries)
        return matched + (self.num_queries - matched) * self.no_object_weight
