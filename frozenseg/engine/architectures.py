"""What the engine must know of a meta-architecture beyond detectron2's contract: a row for each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

from detectron2.config import CfgNode

from frozenseg.data.benchmark import Benchmark
from frozenseg.encoders.clip import config_section
from frozenseg.encoders.clip_weights import NO_WEIGHTS
from frozenseg.fusioner import border as fusioner
from frozenseg.mask_classification.border import injects_sam, needs_sam

# What a model outputs -> the key below MODEL.MASK_FORMER.TEST that switches it on.
TASK_KEYS = {
    "panoptic": "PANOPTIC_ON",
    "instance": "INSTANCE_ON",
    "semantic": "SEMANTIC_ON",
    "regions": "RECALL_ON",
}


@dataclass(frozen=True)
class Architecture:
    """One row.

    Attributes:
        tasks: what a config's model outputs, of "panoptic", "instance", "semantic", "regions",
            "episodes".
        random_encoders: the frozen encoders that get no weights from the config: name prefix -> the
            key for them. Their weights exist in the model and in its checkpoints, nowhere else.
        protocol: what scores depend on besides the checkpoint and the data.
    """

    tasks: Callable[[CfgNode], list[str]]
    random_encoders: Callable[[CfgNode], dict[str, str]]
    protocol: Callable[[CfgNode, Benchmark], dict[str, Any]]


def architecture(cfg: CfgNode) -> Architecture:
    """The row of MODEL.META_ARCHITECTURE; that of FC-CLIP for a registered one without its own."""
    return ARCHITECTURES.get(cfg.MODEL.META_ARCHITECTURE, ARCHITECTURES["FCCLIP"])


def random_encoders(cfg: CfgNode) -> dict[str, str]:
    """See `Architecture.random_encoders`."""
    return architecture(cfg).random_encoders(cfg)


def _mask_tasks(cfg: CfgNode) -> list[str]:
    test = cfg.MODEL.MASK_FORMER.TEST
    return [task for task, key in TASK_KEYS.items() if test[key]]


def _mask_random_encoders(cfg: CfgNode) -> dict[str, str]:
    random, section = {}, config_section(cfg)
    if cfg.MODEL[section].CLIP_PRETRAINED_WEIGHTS in NO_WEIGHTS:
        random["backbone."] = f"MODEL.{section}.CLIP_PRETRAINED_WEIGHTS"
    if needs_sam(cfg) and not cfg.MODEL.SAM_PRETRAINED_WEIGHTS:
        random["sam."] = "MODEL.SAM_PRETRAINED_WEIGHTS"
    return random


def _mask_protocol(cfg: CfgNode, row: Benchmark) -> dict[str, Any]:
    clip, test = cfg.MODEL[config_section(cfg)], cfg.MODEL.MASK_FORMER.TEST
    threshold = row.object_mask_threshold
    return {
        "model": {
            "architecture": cfg.MODEL.META_ARCHITECTURE,
            "clip": Path(clip.CLIP_MODEL_NAME).name,
        },
        "templates": clip.TEMPLATES,
        "ensemble": {
            "enabled": clip.CLASS_ENSEMBLE,
            "alpha": clip.GEOMETRIC_ENSEMBLE_ALPHA,
            "beta": clip.GEOMETRIC_ENSEMBLE_BETA,
            "on_valid_mask": clip.ENSEMBLE_ON_VALID_MASK,
        },
        "sam_injection": _sam_injection(cfg),
        "thresholds": {
            "object_mask": test.OBJECT_MASK_THRESHOLD if threshold is None else threshold,
            "overlap": test.OVERLAP_THRESHOLD,
            "detections_per_image": cfg.TEST.DETECTIONS_PER_IMAGE,
        },
    }


def _sam_injection(cfg: CfgNode) -> dict[str, Any] | None:
    """How SAM's features enter the decoder; None where they do not."""
    if not injects_sam(cfg):
        return None
    return {
        "precision": cfg.MODEL.SAM_PRECISION,
        "branch": cfg.MODEL.SAM_BRANCH,
        "feature_layer": cfg.MODEL.MASK_FORMER.SAM_FEATURE_FUSE_LAYER,
        "query_layer": cfg.MODEL.MASK_FORMER.SAM_QUERY_FUSE_LAYER,
    }


def _fusioner_protocol(cfg: CfgNode, _row: Benchmark) -> dict[str, Any]:
    described = fusioner.describe(cfg)
    templates = described.pop("templates")
    model = {"architecture": cfg.MODEL.META_ARCHITECTURE, **described}
    return {"model": model, "templates": templates}


_MASKS = Architecture(_mask_tasks, _mask_random_encoders, _mask_protocol)
ARCHITECTURES: Mapping[str, Architecture] = MappingProxyType(
    {
        "FCCLIP": _MASKS,
        "FrozenSeg": _MASKS,
        "Fusioner": Architecture(
            lambda cfg: ["semantic", "episodes"],
            fusioner.random_encoders,
            _fusioner_protocol,
        ),
    }
)
