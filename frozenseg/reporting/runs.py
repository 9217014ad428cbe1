"""What a report is made of: results, and beside them counts of every image and predictions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from frozenseg.evaluation.per_image import PerImage, counts_beside
from frozenseg.evaluation.prediction_folder import PredictionFolder
from frozenseg.evaluation.prediction_scores import Truth, score_predictions, truth_of
from frozenseg.evaluation.prediction_writer import INDEX, prediction_folder
from frozenseg.evaluation.results import read_results, read_skipped
from frozenseg.reporting.pictures import Painter

SAME = ("dataset", "config_hash", "checkpoint_hash")  # of predictions and their entry


@dataclass
class Run:
    """One results.json.

    Attributes:
        name: what the page calls it.
        entries: by dataset; `skipped`: datasets without one -> the reason.
    """

    name: str
    path: Path
    entries: dict[str, dict[str, Any]]
    skipped: dict[str, str]


@dataclass
class Part:
    """One dataset of a report.

    Attributes:
        entries: by name of the run; `counts`: those that were kept.
        painter: draws images; None with a note where it cannot.
        notes: what the page lacks, and why.
    """

    dataset: str
    entries: dict[str, dict[str, Any]]
    counts: dict[str, PerImage] = field(default_factory=dict)
    painter: Painter | None = None
    notes: list[str] = field(default_factory=list)


def read_runs(paths: Sequence[Path]) -> list[Run]:
    """The runs, named by their folders.

    Args: paths: of one or two results.json, or their folders.
    Raises: FileNotFoundError; ValueError for other files, results without a dataset, and runs
        without a dataset in common.
    """
    files = [path / "results.json" if path.is_dir() else path for path in paths]
    if len({file.resolve() for file in files}) < len(files):
        raise ValueError(f"{files[1]} is given twice: give the results of two evaluations")
    names = [file.absolute().parent.name for file in files]
    if len(set(names)) < len(names):
        names = [f"{number}: {name}" for number, name in enumerate(names, 1)]
    runs = []
    for name, file in zip(names, files, strict=True):
        entries = {entry["dataset"]: entry for entry in read_results(file)}
        if not entries:
            raise ValueError(f"{file}: has no results: every dataset was skipped; evaluate again")
        runs.append(Run(name, file, entries, read_skipped(file)))
    if len(runs) > 1 and not runs[0].entries.keys() & runs[1].entries.keys():
        told = " and ".join(f"{', '.join(run.entries)} ({run.path})" for run in runs)
        raise ValueError(f"the results have no dataset in common: {told}")
    return runs


def parts_of(runs: Sequence[Run]) -> list[Part]:
    """The datasets, those of all runs first.

    Raises: ValueError for damaged files.
    """
    names = list(dict.fromkeys(name for run in runs for name in run.entries))
    names.sort(key=lambda name: not all(name in run.entries for run in runs))
    return [_part(name, [run for run in runs if name in run.entries]) for name in names]


def _part(name: str, runs: Sequence[Run]) -> Part:
    part = Part(name, {run.name: run.entries[name] for run in runs})
    folders, truth = _predictions(part, runs)
    for run in runs:
        counts, reason = counts_beside(run.path, run.entries[name])
        if counts is None and truth is not None and run.name in folders:
            counts = score_predictions(folders[run.name], truth).counts
            reason = reason if counts is None else ""
        if counts is not None:
            part.counts[run.name] = counts
        if reason:
            part.notes.append(f"{run.name}: no intervals and worst images: {reason}")
    if folders and truth is not None:
        part.painter = Painter(truth, folders)
    return part


def _predictions(
    part: Part, runs: Sequence[Run]
) -> tuple[dict[str, PredictionFolder], Truth | None]:
    """Predictions by run, and the dataset if it is on this disk; what is missing is noted."""
    folders: dict[str, PredictionFolder] = {}
    for run in runs:
        index = prediction_folder(run.path.parent, part.dataset) / INDEX
        entry = part.entries[run.name]
        if not index.is_file():
            remedy = "evaluate again with --save-predictions"
            part.notes.append(f"{run.name}: no pictures: no predictions were kept: {remedy}")
            continue
        folder = PredictionFolder(index)
        if any(folder.about[key] != entry.get(key) for key in SAME):
            part.notes.append(f"{run.name}: no pictures: {index.parent} is of another evaluation")
            continue
        folders[run.name] = folder
    if not folders:
        return {}, None
    try:
        return folders, truth_of(next(iter(folders.values())))
    except (FileNotFoundError, ValueError) as error:
        part.notes.append(f"no pictures, since the dataset is not here: {error}")
        return folders, None
