"""Which device a program runs on."""

from __future__ import annotations

import logging

import torch

logger = logging.getLogger(__name__)


def pick_device(name: str) -> str:
    """The device for a name; "auto": the GPU if there is one. Raises: ValueError if unusable."""
    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    return check_device(name, key="device", remedy="take cpu or auto")


def usable_device(wanted: str, num_gpus: int) -> str:
    """MODEL.DEVICE, or "cpu" (with one log line) if --num-gpus is 0 or there is no GPU.

    Raises: ValueError if it is no device, or one that cannot be used.
    """
    if not wanted.startswith("cuda") or (num_gpus > 0 and torch.cuda.is_available()):
        return check_device(wanted, key="MODEL.DEVICE", remedy="set it to cuda or cpu")
    reason = "--num-gpus is 0" if num_gpus == 0 else "no GPU was found"
    logger.info("MODEL.DEVICE: cpu instead of %s, since %s", wanted, reason)
    return "cpu"


def check_device(name: str, *, key: str, remedy: str) -> str:
    """`name`. Raises: ValueError with `key` and `remedy` if tensors cannot be put there."""
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"{key} {name!r} is no device that PyTorch knows: {remedy}") from error
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).split("\n")[0].split(". ")[0]
        raise ValueError(f"{key} {name!r} cannot be used ({reason}): {remedy}") from error
    return name
