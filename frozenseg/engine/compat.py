"""Where detectron2's versions, several processes and the architectures' configs differ."""

from __future__ import annotations

from detectron2.config import CfgNode
from detectron2.utils import comm
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from frozenseg.encoders.clip import config_section
from frozenseg.mask_classification.border import needs_sam

# CLIP_PRETRAINED_WEIGHTS that bring no weights: none, and OpenAI's activation alone.
NO_WEIGHTS = ("", "openai:")


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


def clip_section(cfg: CfgNode) -> CfgNode:
    """The config section of the meta-architecture's CLIP."""
    return cfg.MODEL[config_section(cfg)]


def random_encoders(cfg: CfgNode) -> dict[str, str]:
    """The frozen encoders that get no weights from the config: name prefix -> the key for them.

    Their weights exist in the model and in its checkpoints, and nowhere else.
    """
    random = {}
    if clip_section(cfg).CLIP_PRETRAINED_WEIGHTS in NO_WEIGHTS:
        random["backbone."] = f"MODEL.{config_section(cfg)}.CLIP_PRETRAINED_WEIGHTS"
    if needs_sam(cfg) and not cfg.MODEL.SAM_PRETRAINED_WEIGHTS:
        random["sam."] = "MODEL.SAM_PRETRAINED_WEIGHTS"
    return random
