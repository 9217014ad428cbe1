"""Scores one model on every dataset of DATASETS.TEST, each with its own words."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple, cast

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog, build_detection_test_loader
from detectron2.evaluation import DatasetEvaluator, DatasetEvaluators, inference_on_dataset
from detectron2.utils import comm
from torch import nn

from frozenseg.config import config_hash
from frozenseg.data.catalog.register import register_datasets, registered_split
from frozenseg.data.catalog.split import DatasetSplit
from frozenseg.data.mappers.masks import build_mapper
from frozenseg.data.proposals.reader import ProposalFolder
from frozenseg.engine.diagnose_words import TASKS as WORD_TASKS
from frozenseg.engine.diagnose_words import class_cosines, diagnose_words
from frozenseg.engine.protocol import (
    UNKNOWN_WEIGHTS,
    EvaluatedWeights,
    identify_weights,
    mask_ensemble,
    protocol,
)
from frozenseg.evaluation.averages import class_groups
from frozenseg.evaluation.diagnosers import build_diagnosis
from frozenseg.evaluation.evaluators import (
    CoverageCheck,
    build_evaluators,
    instance_sources,
    scored_tasks,
)
from frozenseg.evaluation.per_image import per_image_file
from frozenseg.evaluation.per_image_writer import PerImageWriter
from frozenseg.evaluation.prediction_writer import KINDS, PredictionWriter, prediction_folder
from frozenseg.evaluation.results import (
    flat_scores,
    format_table,
    plain,
    write_results,
)
from frozenseg.evaluation.truth_check import FINDINGS, TruthCheck
from frozenseg.evaluation.word_similarity import installed_wordnet
from frozenseg.progress import StageSeconds, bar
from frozenseg.versions import package_versions
from frozenseg.vocab import Vocabulary, seen_classes

logger = logging.getLogger(__name__)


def evaluate(
    cfg: CfgNode, model: nn.Module, checkpoint: str | Path = ""
) -> dict[str, dict[str, float]]:
    """Evaluates `model` (weights loaded) and writes OUTPUT_DIR/results.json.

    Args:
        model: answers `set_vocabulary` and, in eval mode, detectron2's outputs.
        checkpoint: file that the weights came from, for the record.
    Returns: dataset -> {"panoptic/all/PQ": percent, ...}; empty on processes other than the main.
    Raises: ValueError for an unknown dataset or one that cannot score the model's outputs.
    """
    register_datasets(cfg)
    for name in cfg.DATASETS.TEST:
        registered_split(name)
    weights = identify_weights(model, checkpoint)
    folder = Path(cfg.OUTPUT_DIR)
    entries = [
        evaluate_dataset(model, plan(cfg, name, weights), folder) for name in cfg.DATASETS.TEST
    ]
    if not comm.is_main_process() or not entries:
        return {}
    path = folder / "results.json"
    write_results(path, entries)
    for entry in entries:
        logger.info("%s", format_table(entry))
    logger.info("Results: %s", path)
    return {entry["dataset"]: flat_scores(entry["metrics"]) for entry in entries}


class Plan(NamedTuple):
    """How one dataset is scored.

    Attributes:
        cfg: with the settings of its row.
        row: the dataset.
        proposals: its exported SAM masks, if any are used.
        about: what its entry says of how the scores come about.
    """

    cfg: CfgNode
    row: DatasetSplit
    proposals: ProposalFolder | None
    about: dict[str, Any]


def plan(cfg: CfgNode, name: str, weights: EvaluatedWeights = UNKNOWN_WEIGHTS) -> Plan:
    """How the registered dataset `name` is scored with the config `cfg`."""
    row, meta, proposals = (
        registered_split(name),
        MetadataCatalog.get(name),
        proposals_of(cfg, name),
    )
    scored_cfg = with_row(cfg, row)
    sources = instance_sources(row, meta.get("json_file"))
    about = {
        "benchmark": row.benchmark,
        "dataset": name,
        "split": row.split,
        "protocol": {
            **protocol(scored_cfg, meta.vocabulary, meta.words, row.ignore_label, sources),
            **weights.encoders,
            "mask_ensemble": mask_ensemble(cfg, proposals.index.source if proposals else None),
        },
        "config_hash": config_hash(cfg),
        "checkpoint": weights.checkpoint,
        "checkpoint_hash": weights.checkpoint_hash,
    }
    return Plan(scored_cfg, row, proposals, about)


def evaluate_dataset(
    model: nn.Module, planned: Plan, folder: str | Path | None = None
) -> dict[str, Any]:
    """The results.json entry of one dataset.

    Entries of processes other than the main one have no metrics.

    Args: folder: of results.json; predictions are kept below it if TEST.SAVE_PREDICTIONS is set,
        counts of every image if TEST.SAVE_PER_IMAGE is.
    """
    start = time.perf_counter()
    cfg, row, proposals, about = planned
    name, tasks = about["dataset"], about["protocol"]["tasks"]
    meta = MetadataCatalog.get(name)
    evaluators = build_evaluators(
        row,
        meta.vocabulary,
        tasks,
        seen_of(cfg, meta.vocabulary),
        json_file=meta.get("json_file"),
        gt_dir=meta.get("gt_dir"),
    )
    records = DatasetCatalog.get(name)
    mapper = build_mapper(
        cfg,
        is_train=False,
        proposals=proposals,
        episodes=row.kind == "episodes",
        true_masks_of=name if cfg.TEST.ORACLE_MASKS else "",
    )
    cast(Any, model).set_vocabulary(meta.vocabulary)
    batches = build_detection_test_loader(
        records, mapper=mapper, num_workers=cfg.DATALOADER.NUM_WORKERS
    )
    loader = bar(batches, name, "image", shown=comm.is_main_process())
    clock = StageSeconds()
    scored = scored_tasks(row, tasks)
    checks: list[DatasetEvaluator] = [
        CoverageCheck(len(records)),
        TruthCheck(
            meta.get("dataset_file") or name, meta.vocabulary.names, scored, row.ignore_label
        ),
    ]
    if folder is not None:
        checks += prediction_writers(Path(folder), planned, records, scored)
        checks += per_image_writers(Path(folder), planned, evaluators)
    checks += diagnosis_evaluators(cfg, model, evaluators, meta.vocabulary)
    with settings_for(model, cfg, scored):
        timed = _TimedLoader(loader, clock), _TimedEvaluators([*evaluators, *checks], clock)
        with clock.running("model"):
            metrics = plain(inference_on_dataset(model, *timed))
    logger.info("%s: %s", name, clock.line(len(batches), "image"))
    found = {key: metrics.pop(key, None) for key in FINDINGS}
    diagnosis = metrics.pop("diagnosis", {})
    seconds = time.perf_counter() - start - diagnosis.get("seconds", 0.0)
    if cfg.TEST.DIAGNOSE:
        found["diagnosis"] = {**diagnosis, **_diagnosed_words(model, planned, records, mapper)}
        found["diagnosis"]["seconds"] = round(time.perf_counter() - start - seconds, 2)
    return {
        **about,
        "images": len(records),
        "metrics": metrics,
        **found,
        "versions": package_versions(),
        "seed": cfg.SEED,
        "seconds": round(seconds, 2),
    }


class _TimedLoader:
    """Items with their number; waiting for them is the stage "loading"."""

    def __init__(self, items: Any, clock: StageSeconds) -> None:
        self.items, self.clock = items, clock

    def __len__(self) -> int:
        return len(self.items)

    def __iter__(self) -> Iterator[Any]:
        return self.clock.each("loading", self.items)


class _TimedEvaluators(DatasetEvaluators):
    """Evaluators whose work is the stage "scoring"."""

    def __init__(self, evaluators: list[DatasetEvaluator], clock: StageSeconds) -> None:
        super().__init__(evaluators)
        self.clock = clock

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        with self.clock.running("scoring"):
            super().process(inputs, outputs)

    def evaluate(self) -> Any:
        with self.clock.running("scoring"):
            return super().evaluate()


def diagnosis_evaluators(
    cfg: CfgNode, model: Any, evaluators: Sequence[DatasetEvaluator], vocabulary: Vocabulary
) -> list[DatasetEvaluator]:
    """The diagnosis of what `evaluators` are fed with if the config asks for it."""
    if not cfg.TEST.DIAGNOSE:
        return []
    cosine_CC = class_cosines(model, vocabulary)
    return [build_diagnosis(evaluators, vocabulary, cosine_CC, installed_wordnet())]


def _diagnosed_words(
    model: nn.Module, planned: Plan, records: Sequence[Mapping[str, Any]], mapper: Any
) -> dict[str, Any]:
    """The parts of a diagnosis that ask some images again with other words."""
    cfg, row, _, about = planned
    meta = MetadataCatalog.get(about["dataset"])

    def load(chosen: list[Any]) -> Any:
        batches = build_detection_test_loader(chosen, mapper=mapper)
        return bar(batches, "diagnosis of words", "image", shown=comm.is_main_process())

    tasks = scored_tasks(row, about["protocol"]["tasks"])
    asked = [task for task in WORD_TASKS if task in tasks]
    with settings_for(model, cfg, asked):
        found = diagnose_words(
            model,
            row,
            meta.vocabulary,
            class_groups(meta.vocabulary.thing_mask, seen_of(cfg, meta.vocabulary)),
            records,
            load,
            tasks=asked,
            words=about["protocol"]["words"]["set"],
            seed=max(0, cfg.SEED),
        )
    return dict(plain(found))


def prediction_writers(
    folder: Path, planned: Plan, records: Sequence[Mapping[str, Any]], scored: Collection[str]
) -> list[DatasetEvaluator]:
    """The evaluator that keeps the predictions below `folder` if the config asks for it.

    None for episodes, of which no format holds the words that an item asks for.
    """
    if not planned.cfg.TEST.SAVE_PREDICTIONS:
        return []
    kinds, name = [kind for kind in KINDS if kind in scored], planned.about["dataset"]
    if not kinds:
        logger.warning("%s: TEST.SAVE_PREDICTIONS keeps nothing of %s", name, ", ".join(scored))
        return []
    meta = MetadataCatalog.get(name)
    dataset_file = meta.get("dataset_file")
    about = {
        **planned.about,
        **({"dataset_file": str(Path(dataset_file).absolute())} if dataset_file else {}),
    }
    place = prediction_folder(folder, name)
    logger.info("%s: predictions are kept in %s", name, place)
    return [PredictionWriter(place, planned.row, meta.vocabulary, kinds, records, about)]


def per_image_writers(
    folder: Path, planned: Plan, evaluators: Sequence[DatasetEvaluator]
) -> list[DatasetEvaluator]:
    """The one that keeps what `evaluators` count of every image, if the config asks for it."""
    if not planned.cfg.TEST.SAVE_PER_IMAGE:
        return []
    path = per_image_file(folder, planned.about["dataset"])
    return [PerImageWriter(path, evaluators, planned.about)]


def proposals_of(cfg: CfgNode, name: str) -> ProposalFolder | None:
    """The exported SAM masks of a dataset; None where they are not used or made by the model.

    `TEST.SAM_MASKS_DIR` is an export, or a folder of exports named after the datasets.
    """
    if not (cfg.TEST.USE_SAM_MASKS and cfg.TEST.SAM_MASKS_DIR):
        return None
    folder = Path(cfg.TEST.SAM_MASKS_DIR)
    return ProposalFolder(folder / name if (folder / name).is_dir() else folder)


def seen_of(cfg: CfgNode, vocabulary: Vocabulary) -> list[bool] | None:
    """Which test classes share a name with a training class; None if nothing was trained on."""
    if not cfg.DATASETS.TRAIN:
        return None
    return seen_classes(vocabulary, MetadataCatalog.get(cfg.DATASETS.TRAIN[0]).vocabulary)


def with_row(cfg: CfgNode, row: DatasetSplit) -> CfgNode:
    """The config with what a dataset's row decides: test size and object-mask threshold.

    The one place where a row takes precedence over the config. Protocol, mapper and model settings
    read the result; `config_hash` is that of the config as it was given.
    """
    cfg = cfg.clone()
    cfg.defrost()
    if row.test_size is not None:
        cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST = row.test_size
    if row.object_mask_threshold is not None:
        cfg.MODEL.MASK_FORMER.TEST.OBJECT_MASK_THRESHOLD = row.object_mask_threshold
    cfg.freeze()
    return cfg


@contextmanager
def settings_for(model: nn.Module, cfg: CfgNode, scored: Collection[str]) -> Iterator[None]:
    """Within it the model's `task_settings` are those of a dataset; models without are unchanged.

    - Semantic segmentation gives `semantic_labels` (H, W), not scores (C, H, W), which take
      gigabytes where a benchmark has a thousand classes.
    - The object-mask threshold is that of `cfg`, see `with_row`.
    - Tasks that nothing scores are left out. The scores of the others stay what they are: with
      instances, panoptic segmentation stays on, since it decides whether stuff may be among them.

    Args: scored: of "panoptic", "instance", "semantic", "regions".
    """
    owner: Any = model
    before = getattr(owner, "task_settings", None)
    if before is None:
        yield
        return
    owner.task_settings = replace(
        before,
        semantic=before.semantic and "semantic" in scored,
        semantic_argmax_only=True,
        panoptic=before.panoptic and bool({"panoptic", "instance"} & set(scored)),
        instance=before.instance and "instance" in scored,
        query_masks=before.query_masks and "regions" in scored,
        object_mask_threshold=cfg.MODEL.MASK_FORMER.TEST.OBJECT_MASK_THRESHOLD,
    )
    try:
        yield
    finally:
        owner.task_settings = before
