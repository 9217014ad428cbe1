"""One model on many benchmarks: built once, each benchmark with its own words, resumable.

Writes results.json after every benchmark; one that is there with the same config, checkpoint,
words and number of images is not scored again.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from detectron2.utils import comm

from frozenseg.build import load_model
from frozenseg.checkpoints.reading import require_weights
from frozenseg.data.catalog.lookup import fullest_splits, mess_splits
from frozenseg.data.catalog.own_datasets import is_dataset_file
from frozenseg.data.catalog.register import (
    register_dataset_file,
    registered_split,
)
from frozenseg.data.catalog.word_sets import OWN
from frozenseg.device import retry_out_of_memory
from frozenseg.engine.evaluate import Plan, evaluate_dataset, plan
from frozenseg.engine.inputs import missing
from frozenseg.engine.protocol import identify_weights
from frozenseg.evaluation.mess import mess_table
from frozenseg.evaluation.per_image import check_belongs, per_image_file, read_per_image
from frozenseg.evaluation.prediction_folder import read_index
from frozenseg.evaluation.prediction_writer import INDEX, prediction_folder
from frozenseg.evaluation.results import (
    format_table,
    overview_table,
    read_results,
    warning_lines,
    write_results,
)
from frozenseg.files import write_text

logger = logging.getLogger(__name__)

RESULTS, TABLE = "results.json", "results.md"
# What must be the same for an entry to be taken instead of a new evaluation.
IDENTITY = ("benchmark", "dataset", "split", "protocol", "config_hash", "checkpoint_hash")


def dataset_names(
    names: Iterable[str], words: str = OWN, trained_on: Collection[str] = ()
) -> tuple[str, ...]:
    """The registered datasets that `names` stand for, without repeats.

    A name is a benchmark ("ade20k_150": its validation split with the most kinds of ground truth),
    a dataset or an alias of it, a YAML file with datasets of one's own, "mess": the sets of MESS,
    or "all": every benchmark with an official validation split. `words` and `trained_on` are for
    YAML files: `words_for`.
    Raises: ValueError for an unknown name, and the errors of `register_dataset_file`.
    """
    fullest = fullest_splits()
    found: list[str] = []
    for name in names:
        if name == "all":
            found += [row.name for row in fullest.values() if row.image_counts]
        elif name == "mess":
            found += [row.name for row in mess_splits()]
        elif is_dataset_file(name):
            found += register_dataset_file(name, words, trained_on)
        elif name in fullest:
            found.append(fullest[name].name)
        else:
            registered_split(name)
            found.append(name)
    return tuple(dict.fromkeys(found))


def score_benchmarks(cfg: CfgNode, weights: str, names: Sequence[str], folder: Path) -> None:
    """Scores `weights` on the registered datasets `names`; see the module.

    Every process of a run calls it. In a run of one process a dataset that turns out to be broken
    is reported and the next one follows.
    Raises: FileNotFoundError for the weights; ValueError if `folder` has results of another model.
    """
    require_weights(weights)
    skipped = {name: reason for name in names if (reason := missing(name))}
    for name, reason in skipped.items():
        logger.warning("%s is skipped: %s", name, reason)
    wanted = [name for name in names if name not in skipped]
    earlier = read_results(folder / RESULTS) if (folder / RESULTS).is_file() else []
    entries = {entry["dataset"]: entry for entry in earlier}
    if wanted:
        building = cfg.clone()
        building.defrost()
        building.DATASETS.TEST = ()  # the words come with each benchmark
        model, _ = load_model(building, weights)
        identity = identify_weights(model, weights)
    for name in wanted:
        try:
            with retry_out_of_memory(model):
                _score(plan(cfg, name, identity), model, entries, folder)
        except (ValueError, OSError) as error:
            if comm.get_world_size() > 1 or isinstance(error, OtherModelError):
                raise  # the other processes wait
            logger.error("%s is skipped: %s", name, error)
            skipped[name] = str(error)
        _write(folder, names, entries, skipped)
    _write(folder, names, entries, skipped)


def _score(planned: Plan, model: Any, entries: dict[str, dict[str, Any]], folder: Path) -> None:
    """Puts the entry of a dataset among `entries`, unless it is there and nothing has changed.

    Predictions and counts that are to be kept must be there, too.
    """
    about, name = planned.about, planned.about["dataset"]
    for other, entry in entries.items():
        for key in ("config_hash", "checkpoint_hash"):
            if entry.get(key) != about[key]:
                raise OtherModelError(
                    f"{RESULTS} in the output folder has {other} with another {key}: choose "
                    "another --output, or --overwrite to begin again"
                )
    if name in entries:
        same = json.loads(json.dumps({key: about[key] for key in IDENTITY}))
        images = len(DatasetCatalog.get(name))
        unchanged = {**entries[name], **same, "images": images} == entries[name]
        lacks = _lacks_predictions(planned, same, folder) or _lacks_counts(planned, folder)
        diagnosed = "diagnosis" in entries[name] or not planned.cfg.TEST.DIAGNOSE
        if unchanged and diagnosed and not lacks:
            logger.info("%s: scored before with the same config and checkpoint", name)
            return
        del entries[name]
    entries[name] = evaluate_dataset(model, planned, folder)
    if comm.is_main_process():
        logger.info("%s", format_table(entries[name]))


def _lacks_predictions(planned: Plan, same: Mapping[str, Any], folder: Path) -> bool:
    """Whether predictions are to be kept that are not there, or are those of another model."""
    if not planned.cfg.TEST.SAVE_PREDICTIONS or planned.row.kind == "episodes":
        return False
    try:
        kept = read_index(prediction_folder(folder, same["dataset"]) / INDEX)
    except (FileNotFoundError, ValueError):
        return True
    return {**kept, **same} != kept


def _lacks_counts(planned: Plan, folder: Path) -> bool:
    """The same of the counts of every image."""
    if not planned.cfg.TEST.SAVE_PER_IMAGE:
        return False
    path = per_image_file(folder, planned.about["dataset"])
    try:
        check_belongs(read_per_image(path), planned.about, path)
    except (FileNotFoundError, ValueError):
        return True
    return False


class OtherModelError(ValueError):
    """The folder has results of another config or checkpoint."""


def _write(
    folder: Path,
    names: Sequence[str],
    entries: Mapping[str, dict[str, Any]],
    skipped: Mapping[str, str],
) -> None:
    """results.json and a table of them, the wanted datasets first."""
    if not comm.is_main_process():
        return
    order = [name for name in dict.fromkeys((*names, *entries)) if name in entries]
    chosen = [entries[name] for name in order]
    write_results(folder / RESULTS, chosen, skipped)
    write_text(folder / TABLE, table(chosen, skipped))


def table(entries: Sequence[Mapping[str, Any]], skipped: Mapping[str, str]) -> str:
    """The scores over all classes of every dataset, the table of MESS, warnings, and what was
    skipped.
    """
    lines = [overview_table(entries)] if entries else []
    if of_mess := mess_table(entries):
        lines += ["", of_mess, ""]
    lines += [line for entry in entries for line in warning_lines(entry)]
    lines += [f"skipped: {name}: {reason}" for name, reason in skipped.items()]
    return "\n".join(lines) + "\n"
