"""Files of weights with the names, shapes and layout of released ones, and random values."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch
from torch import Tensor


def write_released(names: Path, target: Path) -> None:
    """Writes what detectron2's trainer writes: weights, encoders among them, and its own state.

    Args: names: a JSON file of ../shared/state_dict_keys.
    """
    generator = torch.Generator().manual_seed(0)
    entries = json.loads(names.read_text(encoding="utf-8"))
    state = {
        name: _values(name, tuple(entry["shape"]), getattr(torch, entry["dtype"]), generator)
        for name, entry in entries.items()
    }
    group = {"lr": 1e-6, "betas": (0.9, 0.999), "weight_decay": 0.05, "params": [0]}
    moments = {"step": torch.tensor(3.0), "exp_avg": torch.zeros(4), "exp_avg_sq": torch.zeros(4)}
    trainer = {
        "iteration": 368_749,
        "hooks": {"LRScheduler": {"base_lrs": [1e-4], "last_epoch": 368_750}},
        "_trainer": {
            "optimizer": {"state": {0: moments}, "param_groups": [group]},
            "grad_scaler": {"scale": np.float64(65536.0), "_growth_tracker": 3},
        },
    }
    torch.save({"model": state, "trainer": trainer, "iteration": 368_749}, target)


def _values(
    name: str, shape: tuple[int, ...], dtype: torch.dtype, generator: torch.Generator
) -> Tensor:
    """Values with which features neither vanish nor overflow."""
    if not dtype.is_floating_point:
        return torch.zeros(shape, dtype=dtype)
    if name.endswith("attn_mask"):
        return torch.full(shape, float("-inf")).triu(1)
    if name.endswith("running_var") or (name.endswith("weight") and len(shape) == 1):
        return torch.ones(shape)
    inputs = max(1, int(np.prod(shape[1:])))
    return torch.randn(shape, generator=generator, dtype=dtype) * inputs**-0.5
