"""One model on many benchmarks: built once, each benchmark with its own words, resumable.

Writes results.json after every benchmark; one that is there with the same config, checkpoint,
words and number of images is not scored again.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from detectron2.utils import comm

from frozenseg.build import load_model
from frozenseg.checkpoints.reading import require_weights
from frozenseg.data.catalog.lookup import DATASET_SPLITS, datasets_root, splits_of
from frozenseg.data.catalog.own_datasets import is_dataset_file
from frozenseg.data.catalog.register import (
    register_dataset_file,
    register_splits,
    registered_split,
)
from frozenseg.data.catalog.split import DatasetSplit
from frozenseg.data.findings import Report
from frozenseg.data.verify.files import check_paths
from frozenseg.device import retry_out_of_memory
from frozenseg.engine.evaluate import description, evaluate_dataset
from frozenseg.engine.protocol import EvaluatedWeights, identify_weights
from frozenseg.evaluation.results import format_table, overview_table, read_results, write_results
from frozenseg.files import write_text

logger = logging.getLogger(__name__)

SPLIT = "val"
RESULTS, TABLE = "results.json", "results.md"
# What must be the same for an entry to be taken instead of a new evaluation.
IDENTITY = ("benchmark", "dataset", "split", "protocol", "config_hash", "checkpoint_hash")


class Outcome(NamedTuple):
    """Entries of the benchmarks that were scored, and why the others were not, by name."""

    entries: list[dict[str, Any]]
    skipped: dict[str, str]


def dataset_names(names: Iterable[str]) -> tuple[str, ...]:
    """The registered datasets that `names` stand for, without repeats.

    A name is a benchmark ("ade20k_150": its validation split with the most kinds of ground truth),
    a dataset or an alias of it, a YAML file with datasets of one's own, or "all": every benchmark
    with an official validation split.
    Raises: ValueError for an unknown name, and the errors of `register_dataset_file`.
    """
    register_splits()
    found: dict[str, None] = {}
    for name in names:
        found |= dict.fromkeys(_dataset_names_of(name))
    return tuple(found)


def _dataset_names_of(name: str) -> Sequence[str]:
    if name == "all":
        official = [
            row.benchmark for row in DATASET_SPLITS if row.image_counts and row.split == SPLIT
        ]
        return [_fullest(benchmark).name for benchmark in dict.fromkeys(official)]
    if is_dataset_file(name):
        return register_dataset_file(name)
    if splits_of(name, split=SPLIT):
        return [_fullest(name).name]
    registered_split(name)
    return [name]


def _fullest(benchmark: str) -> DatasetSplit:
    return max(splits_of(benchmark, split=SPLIT), key=lambda row: len(row.tasks))


def missing(name: str) -> str:
    """What a dataset lacks, with the remedy; "" if all its files and folders are there."""
    row = registered_split(name)
    root = Path("/") if Path(row.images).is_absolute() else datasets_root()
    report = Report(row.name, str(root))
    if check_paths(row, root, report):
        return ""
    first = report.findings[0]
    remedies = "; then ".join(dict.fromkeys(finding.remedy for finding in report.findings))
    return f"{first.problem} ({first.where[0]}): {remedies}"


def score_benchmarks(cfg: CfgNode, weights: str, names: Sequence[str], folder: Path) -> Outcome:
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
    entries = _earlier(folder)
    if wanted:
        building = cfg.clone()
        building.defrost()
        building.DATASETS.TEST = ()  # the words come with each benchmark
        model, _ = load_model(building, weights)
        identity = identify_weights(model, weights)
        for name in wanted:
            with retry_out_of_memory(model):
                _score(cfg, model, name, identity, entries, skipped)
            _write(folder, names, entries, skipped)
    _write(folder, names, entries, skipped)
    return Outcome([entries[name] for name in names if name in entries], skipped)


def _score(
    cfg: CfgNode,
    model: Any,
    name: str,
    identity: EvaluatedWeights,
    entries: dict[str, dict[str, Any]],
    skipped: dict[str, str],
) -> None:
    """Adds the entry of one dataset, or the reason why there is none."""
    try:
        about = description(cfg, name, identity)
        _require_same_model(entries, about)
        if _is_finished(entries.get(name), about):
            logger.info("%s: scored before with the same config and checkpoint", name)
            return
        entries.pop(name, None)
        entry = evaluate_dataset(cfg, model, name, identity)
    except (ValueError, OSError) as error:
        if comm.get_world_size() > 1 or isinstance(error, OtherModelError):
            raise  # the other processes wait
        logger.error("%s is skipped: %s", name, error)
        skipped[name] = str(error)
        return
    entries[name] = entry
    if comm.is_main_process():
        logger.info("%s", format_table(entry))


class OtherModelError(ValueError):
    """The folder has results of another config or checkpoint."""


def _require_same_model(entries: Mapping[str, Mapping[str, Any]], about: Mapping[str, Any]) -> None:
    for name, entry in entries.items():
        for key in ("config_hash", "checkpoint_hash"):
            if entry.get(key) != about[key]:
                raise OtherModelError(
                    f"{RESULTS} in the output folder has {name} with another {key}: choose another "
                    "--output, or --overwrite to begin again"
                )


def _is_finished(entry: Mapping[str, Any] | None, about: Mapping[str, Any]) -> bool:
    if entry is None:
        return False
    plain = json.loads(json.dumps({key: about[key] for key in IDENTITY}))
    same = plain == {key: entry.get(key) for key in IDENTITY}
    return same and bool(entry["images"] == len(DatasetCatalog.get(about["dataset"])))


def _earlier(folder: Path) -> dict[str, dict[str, Any]]:
    path = folder / RESULTS
    return {entry["dataset"]: entry for entry in read_results(path)} if path.is_file() else {}


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
    """The scores over all classes of every dataset, and what was skipped."""
    lines = [overview_table(entries)] if entries else []
    lines += [f"skipped: {name}: {reason}" for name, reason in skipped.items()]
    return "\n".join(lines) + "\n"
