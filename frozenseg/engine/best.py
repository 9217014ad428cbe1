"""The best weights of a training by a metric, and its end where that no longer improves."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from detectron2.engine import HookBase
from detectron2.utils import comm

from frozenseg.build import family
from frozenseg.data.catalog.register import registered_split
from frozenseg.engine.checkpointer import BEST, Checkpointer
from frozenseg.engine.validation_loss import VALIDATION_LOSS
from frozenseg.errors import did_you_mean
from frozenseg.evaluation.evaluators import scored_tasks
from frozenseg.evaluation.results import COLUMNS, EPISODES
from frozenseg.files import read_json, write_json

logger = logging.getLogger(__name__)

VALUES = "best.json"
GROUPS = (
    *("all", "things", "stuff", "seen", "unseen", "rare", "common", "frequent"),
    *("seen_things", "unseen_things", "seen_stuff", "unseen_stuff"),
)
_BY_GROUP = {(*way, score) for way, score in COLUMNS.values() if way != EPISODES}
_ALONE = {
    *((*way, score) for way, score in COLUMNS.values() if way == EPISODES),
    *(("semantic", "fwIoU"), ("semantic", "pixel_accuracy"), (VALIDATION_LOSS,)),
}


def best_metric(cfg: CfgNode) -> str:
    """TEST.BEST_METRIC with its dataset: "coco_2017_val_panoptic/panoptic/all/PQ"; "": none.

    Without one in the key it is the first of DATASETS.TEST.
    Raises: ValueError for a metric that the evaluations of this config cannot have.
    """
    test, given = cfg.TEST, cfg.TEST.BEST_METRIC
    if test.PATIENCE and not (given and test.EVAL_PERIOD):
        raise ValueError(
            f"TEST.PATIENCE is {test.PATIENCE}, which needs TEST.BEST_METRIC and TEST.EVAL_PERIOD: "
            "set them, or TEST.PATIENCE 0"
        )
    if not given:
        return ""
    if not cfg.DATASETS.TEST:
        raise ValueError(
            f"TEST.BEST_METRIC is {given!r}, but DATASETS.TEST is empty: name test sets"
        )
    first, _, rest = given.partition("/")
    dataset, metric = (first, rest) if first in cfg.DATASETS.TEST else (cfg.DATASETS.TEST[0], given)
    way = tuple(metric.split("/"))
    if way not in _ALONE and not (
        len(way) > 1 and way[-2] in GROUPS and (*way[:-2], way[-1]) in _BY_GROUP
    ):
        known = ["/".join((*each[:-1], "all", each[-1])) for each in _BY_GROUP]
        known += ["/".join(each) for each in _ALONE]
        raise ValueError(
            f"TEST.BEST_METRIC is {given!r}: {did_you_mean(metric, known)}known, with or without a "
            f"dataset of DATASETS.TEST before them: {', '.join(sorted(known))} (for 'all' also "
            "other groups of classes of the results)"
        )
    if way == (VALIDATION_LOSS,) and not test.VALIDATION_LOSS:
        raise ValueError(f"TEST.BEST_METRIC is {given!r}: set TEST.VALIDATION_LOSS True")
    tasks = scored_tasks(registered_split(dataset), family(cfg).output_tasks(cfg))
    task = way[0].removesuffix("_official")
    if task in ("panoptic", "instance", "semantic", "regions", "episodes") and task not in tasks:
        raise ValueError(
            f"TEST.BEST_METRIC is {given!r}, but {dataset} is scored for {', '.join(tasks)} with "
            "this config: choose a metric of these"
        )
    return f"{dataset}/{metric}"


class BestModel:
    """Saves the weights with the best value of a metric as model_best.pth; survives resuming.

    detectron2's BestCheckpointer does not do for that: it keeps no state, and what it saved last
    is what a run resumes from. The values of all evaluations are in OUTPUT_DIR/best.json, which is
    written after model_best.pth.

    Attributes:
        values: iteration -> value of the metric (a loss: the lowest is best); None where an
            evaluation had none.
    """

    def __init__(
        self, checkpointer: Checkpointer, folder: Path, metric: str, patience: int
    ) -> None:
        """
        Args:
            metric: as `best_metric` gives it.
            patience: the run is exhausted after so many evaluations without a better one; 0: never.
        """
        self.checkpointer, self.folder = checkpointer, folder
        self.metric, self.patience = metric, patience
        self.values: dict[int, float | None] = {}

    def resume(self, done: int) -> None:
        """Takes back the evaluations up to iteration `done` of a run with the same metric."""
        path = self.folder / VALUES
        known: Mapping[str, float | None] = {}
        if comm.is_main_process() and path.is_file():
            known = self._read(path)
        known = comm.all_gather(known)[0]
        self.values = {int(i): value for i, value in known.items() if int(i) <= done}
        if self.values:
            logger.info("%s so far: %s", self.metric, self.values)

    def _read(self, path: Path) -> dict[str, float | None]:
        remedy = "delete it, and the run goes on without its earlier values"
        content = read_json(path, remedy)
        try:
            values = {
                str(int(i)): v if v is None else float(v) for i, v in content["values"].items()
            }
            return values if content["metric"] == self.metric else {}
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ValueError(f"{path}: not written by a training; {remedy}") from error

    def best(self) -> tuple[int, float] | None:
        """Iteration and value of the best evaluation, the first of equal ones."""
        sign = -1 if self.metric.endswith(VALIDATION_LOSS) else 1
        scored = [(i, value) for i, value in sorted(self.values.items()) if value is not None]
        return max(scored, key=lambda item: sign * item[1], default=None)

    def record(self, done: int, scores: Mapping[str, Mapping[str, float]]) -> None:
        """Takes in an evaluation after iteration `done`, and saves the model if it is the best.

        Every process calls it; the scores of the main one count.
        """
        dataset, _, metric = self.metric.partition("/")
        value = scores.get(dataset, {}).get(metric)
        value = comm.all_gather(value if value is None or math.isfinite(value) else None)[0]
        before = self.best()
        self.values[done] = value
        if value is None:
            logger.warning("TEST.BEST_METRIC: this evaluation has no %s", self.metric)
        best = self.best()
        if best is not None and best != before:
            self.checkpointer.save(BEST, iteration=done)
        if not comm.is_main_process():
            return
        content = {"metric": self.metric, "values": self.values}
        write_json(self.folder / VALUES, content, durable=True, allow_nan=False)
        if best is not None:
            name = f"{BEST}.pth"
            add_to_results(
                self.folder,
                best={"metric": self.metric, "value": best[1], "iteration": best[0], "file": name},
            )
            told = (self.metric, value, done, best[1], best[0], name)
            logger.info("%s is %s after iteration %d; the best is %.4f, of iteration %d: %s", *told)

    @property
    def exhausted(self) -> bool:
        """Whether the last `patience` evaluations were not better than one before them."""
        best = self.best()
        if self.patience <= 0 or not self.values:
            return False
        since = sum(best is None or iteration > best[0] for iteration in self.values)
        return since >= self.patience


class StoppedEarly(BaseException):
    """Ends detectron2's loop. Not an Exception, which the loop would report as an error."""


class Patience(HookBase):
    """Ends the training when its evaluations no longer improve; the last of all hooks."""

    def __init__(self, best: BestModel) -> None:
        self.best = best

    def after_step(self) -> None:
        """Raises: StoppedEarly."""
        if self.best.exhausted:
            raise StoppedEarly


def add_to_results(folder: Path, **content: Any) -> None:
    """Adds entries beside the list of results in results.json."""
    path = folder / "results.json"
    write_json(path, {**read_json(path), **content}, allow_nan=False)
