"""What scores depend on besides the checkpoint and the data: the "protocol" of results.json."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from detectron2.config import CfgNode
from torch import nn

from frozenseg.build import family
from frozenseg.checkpoints.digests import weights_hash
from frozenseg.files import file_digest
from frozenseg.vocab import Vocabulary

# Name in the protocol -> attribute of the model.
FROZEN_ENCODERS = {
    "clip_weights": "backbone",
    "sam_weights": "sam",
    "visual_weights": "visual",
    "language_weights": "language",
}


class EvaluatedWeights(NamedTuple):
    """Which weights are evaluated: reading them takes seconds, so once for all datasets.

    Attributes:
        checkpoint, checkpoint_hash: name and hash of the file; "" and None without one.
        encoders: hashes of the model's frozen encoders, None for one that it does not have. The
            checkpoint's own hash leaves out what CLIP_PRETRAINED_WEIGHTS and
            SAM_PRETRAINED_WEIGHTS bring, and a local file may hold anything.
    """

    checkpoint: str
    checkpoint_hash: str | None
    encoders: dict[str, str | None]


UNKNOWN_WEIGHTS = EvaluatedWeights("", None, {})


def identify_weights(model: nn.Module, checkpoint: str | Path = "") -> EvaluatedWeights:
    """The identity of a model's weights; `checkpoint` is the file that they came from."""
    encoders = {
        name: getattr(model, part) for name, part in FROZEN_ENCODERS.items() if hasattr(model, part)
    }
    return EvaluatedWeights(
        Path(checkpoint).name,
        file_digest(Path(checkpoint)) if checkpoint else None,
        {
            name: weights_hash(encoder) if isinstance(encoder, nn.Module) else None
            for name, encoder in encoders.items()
        },
    )


def protocol(
    cfg: CfgNode,
    vocabulary: Vocabulary,
    words: Mapping[str, str],
    ignore_label: int,
    instance_ground_truth: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """What config and vocabulary decide; `mask_ensemble` adds the proposals'.

    Args:
        cfg: with the row's settings, see `frozenseg.engine.evaluate.with_row`.
        words: where the names come from, see `frozenseg.data.catalog.word_sets.about_words`.
        ignore_label: the value of semantic masks that is not scored.
        instance_ground_truth: name of every AP -> what it is computed on.
    """
    own = family(cfg)
    return {
        "vocabulary": vocabulary.digest,
        "words": dict(words),
        "classes": len(vocabulary),
        "trained_on": list(cfg.DATASETS.TRAIN),
        "tasks": own.output_tasks(cfg),
        "ignore_label": ignore_label,
        "instance_ground_truth": dict(instance_ground_truth or {}),
        "test_size": [cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST],
        **own.protocol(cfg),
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
