"""The evaluators of a benchmark: one for every ground truth that its row has."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm

from frozenseg.data.catalog.lookup import DatasetSplit, class_of_category
from frozenseg.evaluation import cityscapes_scripts
from frozenseg.evaluation.averages import Groups, class_groups
from frozenseg.evaluation.episode_iou import EpisodeEvaluator
from frozenseg.evaluation.instance_ap import InstanceEvaluator, LvisEvaluator
from frozenseg.evaluation.instance_truth import (
    CITYSCAPES_MAPS,
    THING_SEGMENTS,
    AnnotationFile,
    CityscapesMaps,
    annotated_objects,
    thing_segments,
)
from frozenseg.evaluation.panoptic_quality import PanopticEvaluator
from frozenseg.evaluation.region_recall import RegionEvaluator
from frozenseg.evaluation.semantic_iou import SemanticEvaluator
from frozenseg.vocab import Vocabulary

logger = logging.getLogger(__name__)

# AP on the benchmark's own instance annotation, where AP on the panoptic one is also computed.
OFFICIAL = "instance_official"
EPISODES = "episodes"


def scored_tasks(row: DatasetSplit, tasks: Collection[str]) -> list[str]:
    """Those of `tasks` that the benchmark's ground truth can score.

    Raises: ValueError if nothing is left to score.
    """
    truth_of = {"regions": "panoptic"}
    scored = [task for task in tasks if truth_of.get(task, task) in row.tasks]
    if not scored:
        remedy = "switch on one of MODEL.MASK_FORMER.TEST.{PANOPTIC,INSTANCE,SEMANTIC}_ON"
        if EPISODES in row.tasks:
            remedy = "only Fusioner says what is none of the words that an item asks for"
        raise ValueError(
            f"dataset {row.name!r} has ground truth for {', '.join(row.tasks)} but the model "
            f"outputs {', '.join(tasks) or 'nothing'}: {remedy}"
        )
    return scored


def instance_sources(row: DatasetSplit, json_file: str | None) -> dict[str, str]:
    """Name of every AP of a row -> its ground truth in words; {} without instances.

    Args: json_file: where the row's `instance_json` lies. Beside a panoptic annotation it is an
        addition, which need not be there.
    """
    if "instance" not in row.tasks:
        return {}
    if row.kind != "panoptic":
        return {"instance": row.instance_json or CITYSCAPES_MAPS}
    beside = bool(json_file) and Path(str(json_file)).is_file()
    return {"instance": THING_SEGMENTS, **({OFFICIAL: row.instance_json} if beside else {})}


def build_evaluators(
    row: DatasetSplit,
    vocabulary: Vocabulary,
    tasks: Collection[str],
    seen: Sequence[bool] | None = None,
    *,
    json_file: str | None = None,
    gt_dir: str | None = None,
) -> list[DatasetEvaluator]:
    """Evaluators for those of `tasks` that the benchmark's ground truth can score.

    Args:
        tasks: what the model outputs, of "panoptic", "instance", "semantic", "episodes" (labels of
            what an item asks for, and background), "regions" (recall and class accuracy of all
            queries, and of SAM's proposals where the model outputs them, on panoptic ground
            truth).
        seen: per class whether training knew it; scores are then also split by it.
        json_file: where the row's `instance_json` lies.
        gt_dir: Cityscapes' folder gtFine/<split>; its own scripts are then run if installed.
    Raises: ValueError if nothing is left to score.
    """
    scored = scored_tasks(row, tasks)
    groups = class_groups(vocabulary.thing_mask, seen)
    names = vocabulary.names
    built: list[DatasetEvaluator] = []
    if "panoptic" in scored:
        built.append(PanopticEvaluator(names, groups))
    if "instance" in scored:
        things = class_groups(vocabulary.thing_mask, seen, stuff=False)
        built += _instance_evaluators(row, vocabulary, things, json_file)
    if EPISODES in scored:
        built.append(EpisodeEvaluator(names))
    if "semantic" in scored:
        built.append(SemanticEvaluator(names, groups, row.ignore_label))
    if "regions" in scored:
        built.append(RegionEvaluator(names, groups))
    if row.evaluator.startswith("cityscapes") and gt_dir:
        built += cityscapes_scripts.official_evaluators(
            scored, class_of_category(row, vocabulary), gt_dir
        )
    return built


def _instance_evaluators(
    row: DatasetSplit, vocabulary: Vocabulary, groups: Groups, json_file: str | None
) -> list[DatasetEvaluator]:
    names, categories = vocabulary.names, class_of_category(row, vocabulary)
    if row.kind == "lvis":
        return [LvisEvaluator(names, groups, categories, Path(str(json_file)))]
    if row.kind == "instances":
        return [InstanceEvaluator(names, groups, annotated_objects)]
    if row.kind == "instance maps":
        maps = CityscapesMaps(categories, vocabulary.thing_mask)
        return [InstanceEvaluator(names, groups, maps)]
    built: list[Any] = [InstanceEvaluator(names, groups, thing_segments)]
    if OFFICIAL in instance_sources(row, json_file):
        truth = AnnotationFile(Path(str(json_file)), row, vocabulary)
        built.append(InstanceEvaluator(names, groups, truth, key=OFFICIAL))
    elif row.instance_json:
        logger.warning("%s is not there: no AP on the official instances", json_file)
    return built


class CoverageCheck(DatasetEvaluator):
    """Counts the items of all processes; gives no scores.

    Samplers that fill up the last batches with repeated images, as PyTorch's DistributedSampler
    does, are found here (detectron2's test loader shares the images out without repeats).
    """

    def __init__(self, items: int) -> None:
        """`items`: how many records the dataset has."""
        self.items = items
        self.reset()

    def reset(self) -> None:
        """Forgets all items."""
        self.seen: Counter[str] = Counter()

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        """Adds items."""
        for record in inputs:  # an image may be there once for each of the classes asked of it
            asked = f" {tuple(record['asked'])}" if "asked" in record else ""
            self.seen[f"{record['file_name']}{asked}"] += 1

    def evaluate(self) -> dict[str, Any] | None:
        """{}, on the main process. Raises: ValueError for repeated or missing items."""
        parts = comm.gather(self.seen)
        if not comm.is_main_process():
            return None
        total: Counter[str] = sum(parts, Counter())
        repeated = sorted(name for name, times in total.items() if times > 1)
        if repeated:
            raise ValueError(
                f"{len(repeated)} images were scored more than once, such as {repeated[0]}: the "
                "test loader must give every image once, to one process"
            )
        if len(total) != self.items:
            raise ValueError(f"{len(total)} of {self.items} images were scored: run it again")
        return {}
