"""Learning-rate schedules: detectron2's, and one whose groups of parameters differ."""

from __future__ import annotations

import math
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.solver import build_lr_scheduler
from torch.optim.lr_scheduler import LambdaLR, _LRScheduler

CONSTANT = "constant"  # entry of a parameter group: its learning rate stays


# detectron2's hook keeps the state of schedulers of torch's old base class only.
class CosineGroups(LambdaLR, _LRScheduler):
    """Linear warm-up from 0, then a cosine; groups marked `CONSTANT` keep their learning rate.

    The weight decay of the falling groups that have one rises along a cosine over the whole
    training. Source: Fusioner's training (spec, "Training").
    """

    def __init__(
        self,
        optimizer: torch.optim.Optimizer,
        *,
        steps: int,
        warmup: int = 0,
        end_factor: float = 0.0,
        decay_end: float | None = None,
    ) -> None:
        """
        Args:
            steps, warmup: of the whole training, and of its beginning.
            end_factor: last learning rate, as a share of the first.
            decay_end: last weight decay; None: it stays.
        Raises: ValueError unless 0 <= warmup < steps.
        """
        if not 0 <= warmup < steps:
            raise ValueError(
                f"the warm-up of {warmup} iterations must be shorter than the training of {steps}: "
                "change SOLVER.WARMUP_ITERS (WARMUP_EPOCHS) or SOLVER.MAX_ITER (EPOCHS)"
            )
        self.steps, self.decay_end = steps, decay_end
        self._first_decays = [group["weight_decay"] for group in optimizer.param_groups]

        def falling(step: int) -> float:
            if step < warmup:
                return step / warmup
            return cosine(1.0, end_factor, (step - warmup) / (steps - warmup))

        def staying(_step: int) -> float:
            return 1.0

        groups = optimizer.param_groups
        super().__init__(optimizer, [staying if g.get(CONSTANT) else falling for g in groups])

    def step(self, epoch: int | None = None) -> None:
        """The next iteration's learning rates and weight decays."""
        super().step(epoch)
        if self.decay_end is None:
            return
        done = min(self.last_epoch / self.steps, 1.0)
        for group, first in zip(self.optimizer.param_groups, self._first_decays, strict=True):
            if first and not group.get(CONSTANT):
                group["weight_decay"] = cosine(first, self.decay_end, done)


def cosine(start: float, end: float, done: float) -> float:
    """From `start` to `end` along half a cosine; `done` is the share of the way, 0..1."""
    return end + (start - end) * (1 + math.cos(math.pi * min(done, 1.0))) / 2


def build_schedule(cfg: CfgNode, optimizer: torch.optim.Optimizer) -> Any:
    """The schedule that SOLVER.LR_SCHEDULER_NAME names: "CosineGroups", or one of detectron2's.

    Raises: ValueError where one of detectron2's gets keys that it does not heed.
    """
    solver = cfg.SOLVER
    if CosineGroups.__name__ != solver.LR_SCHEDULER_NAME:
        asked = {
            "CONSTANT_MODULES": bool(solver.CONSTANT_MODULES),
            "WEIGHT_DECAY_END": solver.WEIGHT_DECAY_END >= 0,
            "BASE_LR_END": solver.BASE_LR_END > 0,
        }
        if any(asked.values()):
            keys = ", ".join(f"SOLVER.{key}" for key, is_set in asked.items() if is_set)
            raise ValueError(
                f"SOLVER.LR_SCHEDULER_NAME is {solver.LR_SCHEDULER_NAME!r}, which does not heed "
                f"{keys}: set CosineGroups, or these to their defaults ([], -1, 0)"
            )
        return build_lr_scheduler(cfg, optimizer)
    return CosineGroups(
        optimizer,
        steps=solver.MAX_ITER,
        warmup=solver.WARMUP_ITERS,
        end_factor=solver.BASE_LR_END / solver.BASE_LR,
        decay_end=None if solver.WEIGHT_DECAY_END < 0 else solver.WEIGHT_DECAY_END,
    )


def with_epochs(cfg: CfgNode, images: int) -> CfgNode:
    """The config with SOLVER.EPOCHS and WARMUP_EPOCHS put into MAX_ITER and WARMUP_ITERS.

    Args: images: of DATASETS.TRAIN. Without epochs the config itself.
    """
    if not cfg.SOLVER.EPOCHS:
        return cfg
    cfg = cfg.clone()
    cfg.defrost()
    per_epoch = images / cfg.SOLVER.IMS_PER_BATCH
    cfg.SOLVER.MAX_ITER = max(1, round(cfg.SOLVER.EPOCHS * per_epoch))
    cfg.SOLVER.WARMUP_ITERS = round(cfg.SOLVER.WARMUP_EPOCHS * per_epoch)
    cfg.freeze()
    return cfg
