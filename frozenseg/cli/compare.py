"""Sets results beside each other and beside the published scores of the same model.

    frozenseg compare output/r50/zero_shot/model_final/results.json
    frozenseg compare mine/results.json theirs/results.json --published fcclip/r50
    frozenseg compare mine/predictions/ade20k_val theirs/predictions/ade20k_val

RESULTS is a results.json of `frozenseg train` or `evaluate`, a folder with one, or a folder of
predictions (`frozenseg evaluate --save-predictions`). The published model is found by architecture
and CLIP. Below the table are the parts of the protocols that could explain a difference.

Predictions are scored on the ground truth, which must be on disk; the classes and images with the
largest differences are named. Two of them are also scored against each other: the first one is
taken for the truth. Runs of which every image was counted (predictions, or `frozenseg evaluate
--per-image`) get the 95 % interval of their differences.
"""

from __future__ import annotations

import argparse
from itertools import combinations
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from frozenseg.cli.options import add_shared, whole

if TYPE_CHECKING:
    from frozenseg.evaluation.per_image import PerImage

NONE = "none"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument("results", nargs="+", type=Path, metavar="RESULTS")
    parser.add_argument(
        "--published", metavar="MODEL", help=f"such as fcclip/r50, or {NONE} (default: found)"
    )
    parser.add_argument(
        "--most",
        type=whole(1),
        default=5,
        metavar="N",
        help="classes and images that are named, of predictions (default: %(default)s)",
    )
    add_shared(parser, "--json")


class Kept(NamedTuple):
    """A run's predictions: the folder, the scores of each image, and what was counted of it."""

    folder: Any
    images: dict[Any, dict[str, float]]
    counts: PerImage | None


def main(args: argparse.Namespace) -> None:
    """Prints table and notes, and writes them to --json."""
    from frozenseg.evaluation.comparison import comparison_text, side_by_side
    from frozenseg.files import write_json

    runs, kept = read_runs(args.results)
    published = choose_published(args.published, runs)
    rows = side_by_side(runs, published)
    notes = notes_by_dataset(runs, published)
    for number, (name, path) in enumerate(zip(runs, args.results, strict=True), 1):
        print(f"run {number}, {name}: {path}")
    print(f"published: {published.name if published else 'no figures for this model'}\n")
    print(comparison_text(rows, list(runs)))
    if published:
        for source in dict.fromkeys(row["source"] for row in rows if row["source"]):
            print(f"published by: {source}")
    for name, sentences in notes.items():
        print(f"\n{name}:")
        print("\n".join(f"- {sentence}" for sentence in sentences))
    sure = print_intervals(runs, kept, args.results)
    more = {**sure, **(print_details(runs, kept, args.most) if kept else {})}
    if args.json:
        content = {"published": published.name if published else None, "rows": rows, "notes": notes}
        write_json(args.json, {**content, **more})


def read_runs(paths: list[Path]) -> tuple[dict[str, dict[str, Any]], dict[str, Kept]]:
    """Name of every run -> dataset -> entry; and of those that are predictions these.

    Raises: as `read_results`, `index_of`, `PredictionFolder`, `check_comparable`, `truth_of`.
    """
    from frozenseg.evaluation.prediction_folder import PredictionFolder, index_of
    from frozenseg.evaluation.prediction_scores import check_comparable, score_predictions, truth_of
    from frozenseg.evaluation.results import read_results

    indices = [index_of(path) for path in paths]
    folders = [PredictionFolder(index) if index else None for index in indices]
    for first, second in combinations(filter(None, folders), 2):
        check_comparable(first, second)
    dataset = next((folder.about["dataset"] for folder in folders if folder), None)
    runs: dict[str, dict[str, Any]] = {}
    for number, (path, folder) in enumerate(zip(paths, folders, strict=True), 1):
        if folder is not None:
            runs[f"{number}: {folder.name}"] = {folder.about["dataset"]: folder.about}
            continue
        file = path / "results.json" if path.is_dir() else path
        entries = {entry["dataset"]: entry for entry in read_results(file)}
        if dataset and dataset not in entries:
            raise ValueError(
                f"{file}: has results of {', '.join(entries)}, the predictions beside it are of "
                f"{dataset}: give results or predictions of one dataset"
            )
        runs[f"{number}: {file.absolute().parent.name}"] = entries
    kept: dict[str, Kept] = {}
    truth = None
    for run, folder in zip(runs, folders, strict=True):
        if folder is not None:
            truth = truth or truth_of(folder)
            scores = score_predictions(folder, truth)
            runs[run] = {folder.about["dataset"]: {**folder.about, "metrics": scores.metrics}}
            kept[run] = Kept(folder, scores.images, scores.counts)
    return runs, kept


def print_details(
    runs: dict[str, dict[str, Any]], kept: dict[str, Kept], most: int
) -> dict[str, Any]:
    """Prints the classes and images that differ most, and the agreement; returns all, for JSON."""
    from frozenseg.evaluation.prediction_scores import agreement
    from frozenseg.evaluation.prediction_tables import class_rows, extremes, image_rows
    from frozenseg.evaluation.results import column, plain

    (first, (folder, *_)), *others = kept.items()
    name = folder.about["dataset"]
    metrics = {run: entries[name]["metrics"] for run, entries in runs.items()}
    files = {key: image["file_name"] for key, image in folder.images.items()}
    classes = class_rows(metrics)
    images = image_rows({run: one.images for run, one in kept.items()}, files)
    for what, rows, names in (("class", classes, list(metrics)), ("image", images, list(kept))):
        for title, table in extremes(rows, what, names, most):
            print(f"\n{title}\n{table}")
    agreements = []
    for other, (second, *_) in others:
        found = agreement(folder, second)
        scores = {key: column(found.metrics, key).get("all") for key in ("PQ", "SQ", "RQ", "mIoU")}
        told = ", ".join(f"{key} {value:.2f}" for key, value in scores.items() if value is not None)
        print(f"\nagreement, {other} scored with {first} as the truth: {told or 'no maps'}")
        scored = {"metrics": found.metrics, "images": found.images}
        agreements.append({"truth": first, "scored": other, **scored})
    return {
        "classes": [row._asdict() for row in classes],
        "images": [row._asdict() for row in images],
        "agreement": plain(agreements),
    }


def print_intervals(
    runs: dict[str, dict[str, Any]], kept: dict[str, Kept], paths: list[Path]
) -> dict[str, Any]:
    """Prints what the differences to the first run say; returns all of them, for JSON.

    Only of runs whose counts of every image are there. Raises: the errors of `intervals`.
    """
    from frozenseg.evaluation.bootstrap import intervals, statement
    from frozenseg.evaluation.per_image import counts_beside

    found = []
    for name in dict.fromkeys(name for entries in runs.values() for name in entries):
        counts = {
            run: kept[run].counts if run in kept else counts_beside(path, entries[name]).counts
            for (run, entries), path in zip(runs.items(), paths, strict=True)
            if name in entries
        }
        (first, start), *others = counts.items()
        for other, counted in others:
            if start is not None and counted is not None:
                rows = intervals(start, counted)
                print(f"\n{name}: paired bootstrap over {len(start.images)} images")
                print("\n".join(f"- {statement(row, first, other)}" for row in rows if row.is_main))
                found += [
                    {"dataset": name, "first": first, "second": other, **row._asdict()}
                    for row in rows
                ]
    return {"intervals": found} if found else {}


def choose_published(name: str | None, runs: dict[str, dict[str, Any]]) -> Any:
    """The published model; None if there is none or none is wanted.

    Raises: ValueError for an unknown name, or runs of different published models without one.
    """
    from frozenseg.evaluation.published import published_model, published_of

    if name:
        return None if name == NONE else published_model(name)
    entries = [entry for run in runs.values() for entry in run.values()]
    found = {model.name: model for entry in entries if (model := published_of(entry))}
    if len(found) > 1:
        raise ValueError(f"the runs are of {' and '.join(found)}: choose one with --published")
    return next(iter(found.values()), None)


def notes_by_dataset(runs: dict[str, dict[str, Any]], published: Any) -> dict[str, list[str]]:
    """Dataset -> warnings, what differs from the published protocol, and between the runs."""
    from frozenseg.evaluation.comparison import notes_of, protocol_differences

    notes: dict[str, list[str]] = {}
    first_of: dict[str, tuple[str, Any]] = {}
    for run, entries in runs.items():
        for name, entry in entries.items():
            found = notes.setdefault(name, [])
            found += [
                text if len(runs) == 1 else f"{run}: {text}" for text in entry.get("warnings") or ()
            ]
            if published and entry["benchmark"] in published.scores:
                found += [
                    note if len(runs) == 1 else f"{run}: {note}"
                    for note in notes_of(entry, published)
                ]
            other, first = first_of.setdefault(name, (run, entry))
            if first is not entry:
                found += [
                    f"{other} and {run} differ in {text}"
                    for text in protocol_differences(first, entry)
                ]
    return {name: sentences for name, sentences in notes.items() if sentences}
