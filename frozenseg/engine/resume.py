"""What a resumed run takes from its file, and what of its config that overrules."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from detectron2.config import CfgNode

from frozenseg.config.load import computed_values

# They are part of the states of optimizer, schedule and random draws.
IN_THE_STATES = (
    *("SEED", "SOLVER.BASE_LR", "SOLVER.MOMENTUM", "SOLVER.NESTEROV", "SOLVER.WEIGHT_DECAY"),
    "SOLVER.BACKBONE_MULTIPLIER",
    *("SOLVER.WEIGHT_DECAY_BIAS", "SOLVER.WEIGHT_DECAY_EMBED", "SOLVER.WEIGHT_DECAY_NORM"),
)
# The states of one value make no sense for another.
FIXED = ("MODEL.META_ARCHITECTURE", "SOLVER.OPTIMIZER", "SOLVER.LR_SCHEDULER_NAME")
_UNKNOWN = "<not in the file>"

Change = tuple[Any, Any]


def config_text(cfg: CfgNode) -> str:
    """A config for a checkpoint, to be compared by `changed_keys`."""
    return json.dumps(computed_values(cfg))


def changed_keys(cfg: CfgNode, state: Mapping[str, Any]) -> dict[str, Change]:
    """Key -> (value of the file's run, value now) where they differ.

    Args: state: of a trainer. Of files without a config the learning rate and seed are compared.
    Raises: ValueError for a key that a run must keep.
    """
    if "config" in state:
        before = json.loads(state["config"])
    else:
        rate = state["optimizer"]["param_groups"][0].get("initial_lr", cfg.SOLVER.BASE_LR)
        before = {"SOLVER.BASE_LR": rate, "SEED": state["seed"] if cfg.SEED >= 0 else cfg.SEED}
    now = json.loads(config_text(cfg))
    changed = {k: (before[k], now[k]) for k in now if k in before and before[k] != now[k]}
    for key in FIXED:
        if key in changed:
            was, given = changed[key]
            raise ValueError(
                f"{key} is {given!r}, but {was!r} in the run to resume: keep it, or start anew "
                "from its weights, without --resume and with MODEL.WEIGHTS"
            )
    return changed


def resume_lines(
    cfg: CfgNode,
    state: Mapping[str, Any],
    changed: Mapping[str, Change],
    *,
    path: str,
    rates: set[float],
) -> tuple[str, str, str]:
    """What is taken from the file, what of this config is not used, and what else is other.

    Args:
        state: of the trainer, as read from `path`: iteration, seed, names of hooks, config.
        changed: see `changed_keys`.
        rates: the optimizer's learning rates now.
    """
    done, wanted = state["iteration"] + 1, cfg.SOLVER.MAX_ITER
    hooks = [name for name in state["hooks"] if name != "LRScheduler"]
    rate = ", ".join(f"{each:g}" for each in sorted(rates))
    left = "" if done < wanted else ", and none is left: only the evaluation follows"
    taken = (
        f"Resuming from {path}: {done} of {wanted} iterations (SOLVER.MAX_ITER) are done{left}. "
        f"Taken from the file: weights, optimizer (learning rate now {rate}, weight decay, "
        f"moments), schedule, random state (seed {state['seed']}), place in the training data"
        + "".join(f", {name}" for name in hooks)
    )
    own = {key: changed[key] for key in IN_THE_STATES if key in changed}
    unread = [f"MODEL.{name}" for name in ("WEIGHTS", "INIT_FROM") if cfg.MODEL[name]]
    overruled = [*(f"{key} {now} (stays {was})" for key, (was, now) in own.items()), *unread]
    ignored = (
        f"Not used of this config, since the file decides: {', '.join(overruled) or 'nothing'}"
    )
    if own:
        ignored += f"; for these start anew: MODEL.WEIGHTS {path}, another OUTPUT_DIR, no --resume"
    others = [f"{k} {now} (was {was})" for k, (was, now) in changed.items() if k not in own]
    known = "" if "config" in state else " (the file, of an earlier version, has no config)"
    used = f"Other than in that run, and used from now on: {', '.join(others) or 'nothing'}{known}"
    return taken, ignored, used
