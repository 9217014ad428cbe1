"""Optimizer of the decoder: AdamW with two groups, and clipping of the whole gradient."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.solver.build import maybe_add_gradient_clipping
from torch import nn

from frozenseg.engine.schedules import CONSTANT

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
) -> list[dict[str, Any]]:
    """Trainable parameters, each once, grouped by their weight decay.

    Norm modules and nn.Embedding (queries, the decoder's level embedding, void) have their own;
    bare parameters (logit_scale, the pixel decoder's level_embed) decay like weights, and so do
    biases unless `weight_decay_bias` is given.
    Args: constant: modules whose learning rate no schedule changes, and that do not decay.
    Returns: groups {"params", "weight_decay"} in order of first use; those of `constant` modules
        are marked. Raises: ValueError if nothing is trainable, or a constant module trains nothing.
    Source: FC-CLIP's released training (spec, section 5); Fusioner's for the last two arguments.
    """
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
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
                key = (0.0, True) if owner else (own, False)
                groups.setdefault(key, []).append(parameter)
    if not taken:
        raise ValueError("the model has no trainable parameter")
    if unused:
        raise ValueError(
            f"SOLVER.CONSTANT_MODULES: {sorted(unused)} hold no trained parameter: leave them out "
            "(ZS3Net has no decoder: set [])"
        )
    return [
        {"params": params, "weight_decay": decay, **({CONSTANT: True} if stays else {})}
        for (decay, stays), params in groups.items()
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
    return maybe_add_gradient_clipping(cfg, optimizer)
