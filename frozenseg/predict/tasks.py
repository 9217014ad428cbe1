"""The tasks of the API: which there are, which a model computes, their thresholds and files."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from frozenseg.config.ranges import FRACTION

if TYPE_CHECKING:
    from detectron2.config import CfgNode

TASKS = ("panoptic", "semantic", "instance")
# The files of a result, see `segmentation_files.save_all`.
FILE_KINDS = ("overlay", "sheet", "labels", "json")


def possible_tasks(cfg: CfgNode) -> tuple[str, ...]:
    """The tasks that the models of MODEL.META_ARCHITECTURE compute, the usual one first."""
    from detectron2.modeling import META_ARCH_REGISTRY

    name = cfg.MODEL.META_ARCHITECTURE  # an unknown one is an error of `build_model`
    architecture = META_ARCH_REGISTRY.get(name) if name in META_ARCH_REGISTRY else None
    return getattr(architecture, "tasks", TASKS)


def check_task(task: str, possible: Sequence[str] = TASKS) -> str:
    """The task. Raises: ValueError for an unknown one, or one that a model does not compute."""
    if task not in TASKS:
        raise ValueError(f"unknown task {task!r}: use one of {', '.join(TASKS)}")
    if task not in possible:
        known = ", ".join(possible)
        raise ValueError(f"this model computes {known} segmentation, not {task}: choose {known}")
    return task


def check_threshold(task: str | None, score_threshold: float | None) -> None:
    """Raises: ValueError for a threshold outside 0..1, or of a task that has no scores."""
    if score_threshold is None:
        return
    if task == "semantic":
        raise ValueError("a score threshold has no meaning for semantic segmentation: leave it out")
    if score_threshold not in FRACTION:
        raise ValueError(f"the score threshold must be {FRACTION}, got {score_threshold!r}")
