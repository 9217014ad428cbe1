"""What scores depend on besides the checkpoint and the data: the "protocol" of results.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from detectron2.config import CfgNode
from torch import nn

from frozenseg.engine.checkpoint import weights_hash
from frozenseg.engine.compat import clip_section
from frozenseg.mask_classification.border import injects_sam
from frozenseg.vocab import Vocabulary

# Name in the protocol -> attribute of the model.
FROZEN_ENCODERS = {"clip_weights": "backbone", "sam_weights": "sam"}


def encoder_hashes(model: nn.Module) -> dict[str, str | None]:
    """Identifies the weights of the model's frozen encoders; None for one that it does not have.

    A checkpoint's own hash does not: it leaves out what CLIP_PRETRAINED_WEIGHTS and
    SAM_PRETRAINED_WEIGHTS bring, and a local file may hold anything.
    """
    encoders = {name: getattr(model, part, None) for name, part in FROZEN_ENCODERS.items()}
    return {
        name: weights_hash(encoder) if isinstance(encoder, nn.Module) else None
        for name, encoder in encoders.items()
    }


def protocol(
    cfg: CfgNode, vocabulary: Vocabulary, test_size: tuple[int, int] | None
) -> dict[str, Any]:
    """What the config and the vocabulary decide; `mask_ensemble` stands apart."""
    clip, test = clip_section(cfg), cfg.MODEL.MASK_FORMER.TEST
    return {
        "vocabulary": vocabulary.digest,
        "classes": len(vocabulary),
        "trained_on": list(cfg.DATASETS.TRAIN),
        "templates": clip.TEMPLATES,
        "ensemble": {
            "enabled": clip.CLASS_ENSEMBLE,
            "alpha": clip.GEOMETRIC_ENSEMBLE_ALPHA,
            "beta": clip.GEOMETRIC_ENSEMBLE_BETA,
            "on_valid_mask": clip.ENSEMBLE_ON_VALID_MASK,
        },
        "sam_injection": _sam_injection(cfg),
        "thresholds": {
            "object_mask": test.OBJECT_MASK_THRESHOLD,
            "overlap": test.OVERLAP_THRESHOLD,
            "detections_per_image": cfg.TEST.DETECTIONS_PER_IMAGE,
        },
        "instance_ground_truth": "thing segments of the panoptic annotation",
        "test_size": list(test_size or (cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST)),
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


def mask_ensemble(cfg: CfgNode, export: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
    """How SAM's proposals join the queries; None where they do not.

    Args: export: what an export says of its making; None: the model makes the proposals.
    """
    if not cfg.TEST.USE_SAM_MASKS:
        return None
    return {
        "alpha": cfg.TEST.SAM_MASK_PRED_ALPHA,
        "as_queries": cfg.TEST.SAM_MASKS_AS_QUERIES,
        "query_weight": cfg.TEST.SAM_QUERY_WEIGHT,
        "query_max_iou": cfg.TEST.SAM_QUERY_MAX_IOU,
        "masks": dict(export if export is not None else cfg.TEST.SAM_MASK_GENERATION),
    }
