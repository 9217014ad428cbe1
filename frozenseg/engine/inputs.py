"""Whether the datasets of a run are there and whole: looked at before anything is computed."""

from __future__ import annotations

from pathlib import Path

from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog

from frozenseg.data.catalog.lookup import datasets_root
from frozenseg.data.catalog.register import registered_split
from frozenseg.data.findings import Report
from frozenseg.data.mappers.masks import training_mapper
from frozenseg.data.verify.files import list_samples, path_problem
from frozenseg.engine.best import best_metric
from frozenseg.engine.evaluate import plan
from frozenseg.engine.validation_loss import sets_with_loss
from frozenseg.evaluation.evaluators import scored_tasks


def missing(name: str) -> str:
    """What a dataset lacks, with the remedy; "" if all its files and folders are there."""
    return path_problem(registered_split(name), root_of(name))


def root_of(name: str) -> Path:
    """What the paths of a registered dataset are relative to."""
    row = registered_split(name)
    return Path("/") if Path(row.images).is_absolute() else datasets_root()


def check_datasets(cfg: CfgNode, *, training: bool) -> None:
    """Looks at the datasets of a run, as far as is possible without reading an image.

    Raises: ValueError that names the key, the dataset, what is wrong and the remedies: for files
        that are missing or empty, for annotations that cannot be used, for test sets that cannot
        score what the model outputs, and the errors of `training_mapper`, `best_metric` and
        `sets_with_loss`.
    """
    for name in cfg.DATASETS.TRAIN if training else ():
        if problem := _problem(name):
            raise ValueError(
                f"DATASETS.TRAIN: {name}: {problem}; or train on another dataset "
                "(DATASETS.TRAIN \"('NAME',)\")"
            )
    for name in cfg.DATASETS.TEST:
        if problem := _problem(name):
            alone = ', or train without evaluation (DATASETS.TEST "()")' if training else ""
            raise ValueError(
                f"DATASETS.TEST: {name}: {problem}; or evaluate on another dataset "
                f"(DATASETS.TEST \"('NAME',)\"){alone}"
            )
        row = registered_split(name)
        scored_tasks(row, plan(cfg, name).about["protocol"]["tasks"])
    if training:
        training_mapper(cfg)
        best_metric(cfg)
        if cfg.TEST.VALIDATION_LOSS:
            sets_with_loss(cfg)


def _problem(name: str) -> str:
    """What keeps a dataset from being used, with the remedy; "" if its files are all there."""
    if problem := missing(name):
        return problem
    row, root = registered_split(name), root_of(name)
    report = Report(row.name, str(root))
    try:
        list_samples(row, MetadataCatalog.get(name).vocabulary, root, report)
        report.raise_first()
    except (ValueError, OSError) as error:
        return str(error)
    return ""
