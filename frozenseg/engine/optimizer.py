"""Optimizer of the decoder: AdamW with two groups, and clipping of the whole gradient."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.solver import build_lr_scheduler
from detectron2.solver.build import maybe_add_gradient_clipping
from detectron2.solver.lr_scheduler import LRMultiplier, WarmupParamScheduler
from fvcore.common.param_scheduler import PolynomialDecayParamScheduler
from torch import nn
from torch.optim.lr_scheduler import LambdaLR, _LRScheduler

CONSTANT = "constant"  # entry of a parameter group: its learning rate stays
NORM_MODULES = (
    nn.modules.batchnorm._BatchNorm,  # every batch norm, synchronised or not
    nn.GroupNorm,
    nn.InstanceNorm1d,
    nn.InstanceNorm2d,
    nn.InstanceNorm3d,
    nn.LayerNorm,
    nn.LocalResponseNorm,
)


def parameter_groups(
    model: nn.Module,
    *,
    weight_decay: float,
    weight_decay_norm: float = 0.0,
    weight_decay_embed: float = 0.0,
    weight_decay_bias: float | None = None,
    constant: Sequence[str] = (),
    backbone_lr: float | None = None,
) -> list[dict[str, Any]]:
    """Trainable parameters, each once, grouped by their weight decay and learning rate.

    Norm modules and nn.Embedding (queries, the decoder's level embedding, void) have their own;
    bare parameters (logit_scale, the pixel decoder's level_embed) decay like weights, and so do
    biases unless `weight_decay_bias` is given.

    Args:
        constant: modules whose learning rate no schedule changes, and that do not decay.
        backbone_lr: learning rate of what trains of CLIP ("backbone."); None: as all.
    Returns: groups {"params", "weight_decay"} in order of first use; those of `constant` modules
        are marked, and CLIP's have their "lr".
    Raises: ValueError if nothing is trainable, or a constant module trains nothing.
    Source: FC-CLIP's released training (spec, section 5); Fusioner's for the last two arguments.
    """
    groups: dict[tuple[float, bool, bool], list[nn.Parameter]] = {}
    taken: set[nn.Parameter] = set()
    unused = set(constant)
    for name, module in model.named_modules():
        owner = next((each for each in constant if f"{name}.".startswith(f"{each}.")), None)
        decay = weight_decay
        if isinstance(module, NORM_MODULES):
            decay = weight_decay_norm
        elif isinstance(module, nn.Embedding):
            decay = weight_decay_embed
        for local, parameter in module.named_parameters(recurse=False):
            if parameter.requires_grad and parameter not in taken:
                taken.add(parameter)
                unused.discard(owner or "")
                own = decay
                if local == "bias" and weight_decay_bias is not None:
                    own = weight_decay_bias
                slow = backbone_lr is not None and name.startswith("backbone.")
                key = (0.0, True, slow) if owner else (own, False, slow)
                groups.setdefault(key, []).append(parameter)
    if not taken:
        raise ValueError("the model has no trainable parameter")
    if unused:
        raise ValueError(
            f"SOLVER.CONSTANT_MODULES: {sorted(unused)} hold no trained parameter: leave them out "
            "(ZS3Net has no decoder: set [])"
        )
    return [
        {
            "params": params,
            "weight_decay": decay,
            **({CONSTANT: True} if stays else {}),
            **({"lr": backbone_lr} if slow else {}),
        }
        for (decay, stays, slow), params in groups.items()
    ]


def clip_full_model(optimizer: torch.optim.Optimizer, max_norm: float, norm_type: float) -> None:
    """From now on every `step` first scales all gradients together to at most `max_norm`.

    With a GradScaler this happens after unscaling, since the scaler calls `step` itself.
    Raises: ValueError unless max_norm is positive; `step` raises FloatingPointError for gradients
        that are not finite, and leaves the weights as they are.
    """
    if max_norm <= 0:
        raise ValueError(f"SOLVER.CLIP_GRADIENTS.CLIP_VALUE is {max_norm}; it must be positive")

    def clip(opt: torch.optim.Optimizer, _args: Any, _kwargs: Any) -> None:
        parameters = [p for group in opt.param_groups for p in group["params"]]
        norm = nn.utils.clip_grad_norm_(parameters, max_norm, norm_type)
        if not torch.isfinite(norm):
            raise FloatingPointError(f"the norm of the gradients is {float(norm)}")

    optimizer.register_step_pre_hook(clip)


def build_optimizer(cfg: CfgNode, model: nn.Module) -> torch.optim.Optimizer:
    """The optimizer of the SOLVER section ("ADAMW" or "SGD"), gradient clipping included.

    Raises: ValueError for another SOLVER.OPTIMIZER.
    """
    solver = cfg.SOLVER
    groups = parameter_groups(
        model,
        weight_decay=solver.WEIGHT_DECAY,
        weight_decay_norm=solver.WEIGHT_DECAY_NORM,
        weight_decay_embed=solver.WEIGHT_DECAY_EMBED,
        weight_decay_bias=solver.WEIGHT_DECAY_BIAS,
        constant=solver.CONSTANT_MODULES,
        backbone_lr=solver.BASE_LR * solver.BACKBONE_MULTIPLIER,
    )
    optimizer: torch.optim.Optimizer
    if solver.OPTIMIZER == "ADAMW":
        optimizer = torch.optim.AdamW(groups, lr=solver.BASE_LR)
    elif solver.OPTIMIZER == "SGD":
        optimizer = torch.optim.SGD(
            groups, lr=solver.BASE_LR, momentum=solver.MOMENTUM, nesterov=solver.NESTEROV
        )
    else:
        raise ValueError(f"SOLVER.OPTIMIZER is {solver.OPTIMIZER!r}; known: 'ADAMW', 'SGD'")
    clip = solver.CLIP_GRADIENTS
    if not clip.ENABLED:
        return optimizer
    if clip.CLIP_TYPE == "full_model":
        clip_full_model(optimizer, clip.CLIP_VALUE, clip.NORM_TYPE)
        return optimizer
    clipped: torch.optim.Optimizer = maybe_add_gradient_clipping(cfg, optimizer)
    return clipped


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

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Place and first values of a resumed run; length and end are those of this schedule."""
        own = ("steps", "decay_end")
        super().load_state_dict({k: v for k, v in state_dict.items() if k not in own})

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
    """The schedule that SOLVER.LR_SCHEDULER_NAME names: "CosineGroups", or one of detectron2's,
    "WarmupPolyLR" of its DeepLab project among them.

    Raises: ValueError where one of detectron2's gets keys that it ignores.
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
                f"SOLVER.LR_SCHEDULER_NAME is {solver.LR_SCHEDULER_NAME!r}, which ignores "
                f"{keys}: set CosineGroups, or these to their defaults ([], -1, 0)"
            )
        if solver.LR_SCHEDULER_NAME != "WarmupPolyLR":
            return build_lr_scheduler(cfg, optimizer)
        falling = WarmupParamScheduler(
            PolynomialDecayParamScheduler(1.0, solver.POLY_LR_POWER),
            solver.WARMUP_FACTOR,
            min(solver.WARMUP_ITERS / solver.MAX_ITER, 1.0),
            solver.WARMUP_METHOD,
        )
        return LRMultiplier(optimizer, falling, solver.MAX_ITER)
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
