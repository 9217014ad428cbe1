"""Sets results beside each other and beside the published scores of the same model.

    frozenseg compare output/r50/zero_shot/model_final/results.json
    frozenseg compare mine/results.json theirs/results.json --published fcclip/r50

RESULTS is a results.json of `frozenseg train` or `evaluate`, or a folder with one. The published
model is found by architecture and CLIP. Below the table are the parts of the protocols that could
explain a difference.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

NONE = "none"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument("results", nargs="+", type=Path, metavar="RESULTS")
    parser.add_argument(
        "--published", metavar="MODEL", help=f"such as fcclip/r50, or {NONE} (default: found)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there")


def main(args: argparse.Namespace) -> None:
    """Prints table and notes, and writes them to --json."""
    from frozenseg.evaluation.comparison import comparison_text, side_by_side
    from frozenseg.files import write_json

    runs = read_runs(args.results)
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
    if args.json:
        content = {"published": published.name if published else None, "rows": rows, "notes": notes}
        write_json(args.json, content)


def read_runs(paths: list[Path]) -> dict[str, dict[str, Any]]:
    """Name of every run -> dataset -> entry. Raises: as `read_results`."""
    from frozenseg.evaluation.results import read_results

    files = [path / "results.json" if path.is_dir() else path for path in paths]
    runs = {}
    for number, file in enumerate(files, 1):
        entries = {entry["dataset"]: entry for entry in read_results(file)}
        runs[f"{number}: {file.absolute().parent.name}"] = entries
    return runs


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
