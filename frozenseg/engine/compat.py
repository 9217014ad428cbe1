"""Where detectron2 v0.6, detectron2 main and machines without a GPU differ."""

from __future__ import annotations

import logging

import torch
from detectron2.config import CfgNode
from detectron2.utils import comm
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from frozenseg.encoders.clip import CONFIG_SECTIONS

logger = logging.getLogger(__name__)


def wrap_for_processes(model: nn.Module) -> nn.Module:
    """`model` for several processes, also on CPUs (v0.6 fails there); itself if there is one."""
    if comm.get_world_size() == 1:
        return model
    device = next(model.parameters()).device
    ids = [device.index] if device.type == "cuda" else None
    return DistributedDataParallel(model, device_ids=ids, broadcast_buffers=False)


def unwrap(model: nn.Module) -> nn.Module:
    """The model inside a DistributedDataParallel wrapper."""
    return model.module if isinstance(model, DistributedDataParallel) else model


def usable_device(wanted: str, num_gpus: int) -> str:
    """MODEL.DEVICE, or "cpu" (with one log line) if --num-gpus is 0 or there is no GPU."""
    if not wanted.startswith("cuda") or (num_gpus > 0 and torch.cuda.is_available()):
        return wanted
    reason = "--num-gpus is 0" if num_gpus == 0 else "no GPU was found"
    logger.info("MODEL.DEVICE: cpu instead of %s, since %s", wanted, reason)
    return "cpu"


def clip_section(cfg: CfgNode) -> CfgNode:
    """The config section of the meta-architecture's CLIP."""
    return cfg.MODEL[CONFIG_SECTIONS.get(cfg.MODEL.META_ARCHITECTURE, "FC_CLIP")]
