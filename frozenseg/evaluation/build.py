"""The evaluators of a benchmark."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from detectron2.evaluation import DatasetEvaluator

from frozenseg.data.catalog import Benchmark
from frozenseg.evaluation.averages import class_groups
from frozenseg.evaluation.instance import InstanceEvaluator
from frozenseg.evaluation.panoptic import PanopticEvaluator
from frozenseg.evaluation.regions import RegionEvaluator
from frozenseg.evaluation.semantic import SemanticEvaluator
from frozenseg.vocab import Vocabulary


def build_evaluators(
    row: Benchmark,
    vocabulary: Vocabulary,
    tasks: Collection[str],
    seen: Sequence[bool] | None = None,
) -> list[DatasetEvaluator]:
    """Evaluators for those of `tasks` that the benchmark's ground truth can score.

    Args:
        tasks: what the model outputs, of "panoptic", "instance", "semantic", "regions" (recall
            and class accuracy of all queries, and of SAM's proposals where the model outputs
            them, on panoptic ground truth).
        seen: per class whether training knew it; scores are then also split by it.
    Raises: ValueError if nothing is left to score.
    """
    groups = class_groups(vocabulary.thing_mask, seen)
    instance_groups = class_groups(vocabulary.thing_mask, seen, stuff=False)
    names = vocabulary.names
    built: dict[str, DatasetEvaluator] = {}
    if "panoptic" in tasks:
        built["panoptic"] = PanopticEvaluator(names, groups)
    if "instance" in tasks:
        built["instance"] = InstanceEvaluator(names, instance_groups)
    if "semantic" in tasks:
        built["semantic"] = SemanticEvaluator(names, groups, row.ignore_label)
    if "regions" in tasks:
        built["regions"] = RegionEvaluator(names, groups)
    chosen = [evaluator for task, evaluator in built.items() if _truth_of(task) in row.tasks]
    if not chosen:
        raise ValueError(
            f"data set {row.name!r} has ground truth for {', '.join(row.tasks)} but the model "
            f"outputs {', '.join(tasks) or 'nothing'}: switch on one of "
            "MODEL.MASK_FORMER.TEST.{PANOPTIC,INSTANCE,SEMANTIC}_ON"
        )
    return chosen


def _truth_of(task: str) -> str:
    """The ground truth that a task is scored on."""
    return "panoptic" if task == "regions" else task
