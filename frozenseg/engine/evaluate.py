"""Scores one model on every data set of DATASETS.TEST, each with its own words."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any, cast

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.evaluation import inference_on_dataset
from detectron2.utils import comm
from torch import nn
from tqdm import tqdm

from frozenseg.config import config_hash
from frozenseg.data.loader import build_test_loader
from frozenseg.data.mapper import build_mapper
from frozenseg.data.register import register_benchmarks, registered_benchmark
from frozenseg.engine.checkpoint import checkpoint_hash, weights_hash
from frozenseg.engine.compat import clip_section
from frozenseg.engine.hooks import on_terminal
from frozenseg.evaluation.build import build_evaluators
from frozenseg.evaluation.results import (
    flat_scores,
    format_table,
    package_versions,
    write_results,
)
from frozenseg.vocab import Vocabulary, seen_classes

logger = logging.getLogger(__name__)

TASK_KEYS = {
    "panoptic": "PANOPTIC_ON",
    "instance": "INSTANCE_ON",
    "semantic": "SEMANTIC_ON",
    "regions": "RECALL_ON",
}


def evaluate(
    cfg: CfgNode, model: nn.Module, checkpoint: str | Path = ""
) -> dict[str, dict[str, float]]:
    """Evaluates `model` (weights loaded) and writes OUTPUT_DIR/results.json.

    Args:
        model: answers `set_vocabulary` and, in eval mode, detectron2's outputs.
        checkpoint: file that the weights came from, for the record.
    Returns: data set -> {"panoptic/all/PQ": percent, ...}; empty on processes other than the main.
    Raises: ValueError for an unknown data set or one that cannot score the model's outputs.
    """
    register_benchmarks()
    for name in cfg.DATASETS.TEST:
        registered_benchmark(name)
    clip = clip_hash(model)
    entries = [evaluate_dataset(cfg, model, name, checkpoint, clip) for name in cfg.DATASETS.TEST]
    if not comm.is_main_process() or not entries:
        return {}
    path = Path(cfg.OUTPUT_DIR) / "results.json"
    write_results(path, entries)
    for entry in entries:
        logger.info("%s", format_table(entry))
    logger.info("Results: %s", path)
    return {entry["dataset"]: flat_scores(entry["metrics"]) for entry in entries}


def evaluate_dataset(
    cfg: CfgNode,
    model: nn.Module,
    name: str,
    checkpoint: str | Path = "",
    clip_weights: str | None = None,
) -> dict[str, Any]:
    """The results.json entry of one data set; `clip_weights` is what `clip_hash` gives."""
    start = time.perf_counter()
    row = registered_benchmark(name)
    vocabulary: Vocabulary = MetadataCatalog.get(name).vocabulary
    seen = seen_of(cfg, vocabulary)
    test = cfg.MODEL.MASK_FORMER.TEST
    tasks = [task for task, key in TASK_KEYS.items() if test[key]]
    evaluators = build_evaluators(row, vocabulary, tasks, seen)
    records = DatasetCatalog.get(name)
    mapper = build_mapper(cfg, is_train=False, test_size=row.test_size)
    cast(Any, model).set_vocabulary(vocabulary)
    loader = build_test_loader(records, mapper, cfg.DATALOADER.NUM_WORKERS)
    if comm.is_main_process() and on_terminal():
        loader = tqdm(loader, desc=name, unit="image", dynamic_ncols=True)
    metrics = inference_on_dataset(model, loader, evaluators)
    return {
        "benchmark": row.benchmark,
        "dataset": name,
        "split": row.split,
        "images": len(records),
        "metrics": metrics,
        "protocol": protocol(cfg, vocabulary, row.test_size, clip_weights),
        "config_hash": config_hash(cfg),
        "checkpoint": Path(checkpoint).name,
        "checkpoint_hash": checkpoint_hash(checkpoint) if checkpoint else None,
        "versions": package_versions(),
        "seed": cfg.SEED,
        "seconds": round(time.perf_counter() - start, 2),
    }


def seen_of(cfg: CfgNode, vocabulary: Vocabulary) -> list[bool] | None:
    """Which test classes share a name with a training class; None if nothing was trained on."""
    if not cfg.DATASETS.TRAIN:
        return None
    return seen_classes(vocabulary, MetadataCatalog.get(cfg.DATASETS.TRAIN[0]).vocabulary)


def clip_hash(model: nn.Module) -> str | None:
    """Identifies the weights of the model's backbone; None for a model without one.

    A checkpoint's own hash does not: it leaves out what CLIP_PRETRAINED_WEIGHTS brings, and a
    local file may hold anything.
    """
    backbone = getattr(model, "backbone", None)
    return weights_hash(backbone) if isinstance(backbone, nn.Module) else None


def protocol(
    cfg: CfgNode,
    vocabulary: Vocabulary,
    test_size: tuple[int, int] | None,
    clip_weights: str | None = None,
) -> dict[str, Any]:
    """Everything besides the checkpoint and the data that scores depend on."""
    clip, test = clip_section(cfg), cfg.MODEL.MASK_FORMER.TEST
    return {
        "vocabulary": vocabulary.digest,
        "classes": len(vocabulary),
        "trained_on": list(cfg.DATASETS.TRAIN),
        "clip_weights": clip_weights,
        "templates": clip.TEMPLATES,
        "ensemble": {
            "enabled": clip.CLASS_ENSEMBLE,
            "alpha": clip.GEOMETRIC_ENSEMBLE_ALPHA,
            "beta": clip.GEOMETRIC_ENSEMBLE_BETA,
            "on_valid_mask": clip.ENSEMBLE_ON_VALID_MASK,
        },
        "thresholds": {
            "object_mask": test.OBJECT_MASK_THRESHOLD,
            "overlap": test.OVERLAP_THRESHOLD,
            "detections_per_image": cfg.TEST.DETECTIONS_PER_IMAGE,
        },
        "instance_ground_truth": "thing segments of the panoptic annotation",
        "test_size": list(test_size or (cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST)),
    }
