"""Scores a released model as its authors did, and sets the scores beside those that they print.

    frozenseg reproduce fcclip-r50 --benchmarks ade20k_150 --dry-run
    frozenseg reproduce fcclip-r50 --benchmarks ade20k_150,cityscapes

MODEL is a name of `frozenseg weights list` of which figures are published. Its weights and the
authors' words are downloaded, the data are prepared where their published files are there, and
`frozenseg evaluate` scores them with the published protocol. Then expected, measured and difference
are printed, and the protocol line by line.

--dry-run prints what is there, what would be fetched and run, and what is expected. A stopped run
goes on where it stopped: what was scored with the same weights, config and words is not scored
again. Benchmarks whose data are missing are named, with what is missing, where it comes from and
what prepares it; the others are scored all the same. Exit code: 0; 2 if anything was missing.
"""

from __future__ import annotations

import argparse
import importlib.util
import shlex
import shutil
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from tabulate import tabulate

from frozenseg.checkpoints.lookup import path_of
from frozenseg.checkpoints.named_models import MODELS, config_path
from frozenseg.checkpoints.table import WEIGHTS
from frozenseg.cli import data_prepare, data_words
from frozenseg.cli.options import add_shared
from frozenseg.cli.program import EXIT_USER_ERROR
from frozenseg.data.catalog.downloads import DOWNLOADS
from frozenseg.data.catalog.lookup import datasets_root, fullest_splits
from frozenseg.data.catalog.split import README, DatasetSplit
from frozenseg.data.catalog.word_sets import WORD_SETS, WordList, list_path, words_file
from frozenseg.errors import did_you_mean
from frozenseg.evaluation.comparison import (
    comparison_text,
    protocol_lines,
    published_settings,
    score_notes,
    side_by_side,
)
from frozenseg.evaluation.published import Published, published_models
from frozenseg.evaluation.results import read_results, read_skipped

GIGABYTE = 1e9
RESULTS = "results.json"
Rows = Sequence[DatasetSplit]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    add = parser.add_argument
    add("model", metavar="MODEL", help="such as fcclip-r50")
    add(
        "--benchmarks",
        nargs="+",
        default=[],
        metavar="NAME",
        help="of those with published figures, such as ade20k_150,cityscapes (default: all)",
    )
    add("--dry-run", action="store_true", help="print the plan only")
    add_shared(parser, "--weights", help="a file of these weights (default: fetched by name)")
    add(
        "--output",
        type=Path,
        metavar="FOLDER",
        help="for results.json and results.md (default: output/reproduce/MODEL)",
    )
    add("--overwrite", action="store_true", help="forget the results that are there")
    add_shared(parser, "--num-gpus", "--opts")


def main(args: argparse.Namespace) -> int:
    """Prints the plan, or follows it; 2 if a benchmark could not be scored."""
    args.model, published = choose_model(args.model)
    rows, root = choose_rows(args.benchmarks, published), datasets_root()
    if args.weights and args.weights not in WEIGHTS and not Path(args.weights).is_file():
        raise FileNotFoundError(f"--weights: {args.weights} does not exist")
    args.output = (args.output or Path("output/reproduce", args.model)).expanduser().absolute()
    if args.dry_run:
        print("\n".join(plan_lines(args, published, rows, root)))
        return 0
    problems = {row.name: problem for row in rows if (problem := prepare(row, root))}
    ready = [row for row in rows if row.name not in problems]
    if ready:
        problems |= evaluate(args, published, ready)
        scored = [row for row in ready if row.name not in problems]
        print(f"\n{report(args, published, scored)}" if scored else "")
    for name, problem in problems.items():
        print(f"error: {name} is not scored: {problem}", file=sys.stderr)
    return EXIT_USER_ERROR if problems else 0


def choose_model(name: str) -> tuple[str, Published]:
    """The model that a name of the table, or of published figures ("fcclip/r50"), stands for.

    Raises: ValueError with the nearest name, and those that there are.
    """
    by_config = {f"{published.name}.yaml": published for published in published_models()}
    known = {model: by_config[yaml] for model, yaml in MODELS.items() if yaml in by_config}
    same = {published.name: model for model, published in known.items()}
    chosen = same.get(name, name)
    if chosen not in known:
        raise ValueError(
            f"no figures of a model {name!r} are published: {did_you_mean(name.lower(), known)}"
            f"there are those of {', '.join(known)}"
        )
    return chosen, known[chosen]


def choose_rows(names: Sequence[str], published: Published) -> Rows:
    """The datasets of the benchmarks, by default of all that have figures.

    Args: names: each one or several, with commas between them, or "all".
    Raises: ValueError with the nearest name.
    """
    wanted = [name for text in names for name in text.split(",") if name] or names
    if not wanted or "all" in wanted:
        wanted = list(published.scores)
    for name in wanted:
        if name not in published.scores:
            raise ValueError(
                f"--benchmarks: no figures of {published.name} on {name!r} are published: "
                f"{did_you_mean(name.lower(), published.scores)}there are those on "
                f"{', '.join(published.scores)}"
            )
    splits = fullest_splits()
    return [splits[name] for name in dict.fromkeys(wanted)]


def prepare(row: DatasetSplit, root: Path) -> str:
    """Makes what a dataset lacks if its published files are there; what it lacks then."""
    from frozenseg.data.verify.files import path_problem

    problem, command = missing_data(row, root), preparation_of(row)
    if problem or not command or not path_problem(row, root):
        return problem
    print(f"{row.name}: {row.origin.command}", flush=True)
    if data_prepare.main(command):
        return f"{row.origin.command}: some images could not be converted, see above"
    return path_problem(row, root)


def missing_data(row: DatasetSplit, root: Path) -> str:
    """What a person must get before a dataset can be prepared or scored; "" if nothing."""
    from frozenseg.data.verify.files import missing_paths

    missing = [path for _, path in missing_paths(row, root)]
    command = preparation_of(row)
    if missing and command:
        missing = list(data_prepare.missing_files(command))
    return f"{root} lacks {', '.join(missing)}; {origin_of(row)}" if missing else ""


def preparation_of(row: DatasetSplit) -> argparse.Namespace | None:
    """The command that prepares a dataset; None if there is none, or it asks for a file."""
    from frozenseg.cli.main import parser_of

    words = row.origin.command.split()
    if not words or "FILE" in words:
        return None
    return parser_of("data prepare").parse_args(words[3:])  # after "frozenseg data prepare"


def origin_of(row: DatasetSplit) -> str:
    """Where the published files of a dataset come from, their size, and what prepares them."""
    section, command = row.origin.readme_section, row.origin.command
    text = f"{README}, section {section}"
    if download := DOWNLOADS.get(section):
        size = f"about {download.gigabytes} GB" if download.gigabytes else "size not known"
        text = f"{download.archives} ({size}) from {download.page}, see {text}"
    return f"get {text}" + (f"; then: {command}" if command else "")


def evaluate(args: argparse.Namespace, published: Published, rows: Rows) -> dict[str, str]:
    """Scores the datasets, after fetching words and weights. Returns: those skipped, and why."""
    from frozenseg.cli import evaluate as command
    from frozenseg.cli.main import parser_of
    from frozenseg.engine.processes import started_by_torchrun

    if started_by_torchrun():
        raise ValueError("start it without torchrun: --num-gpus N starts a process for every GPU")
    for word_list in word_lists(published, rows):
        data_words.fetch(published.protocol["words"], word_list)
    for row in rows:
        words_file(row, published.protocol["words"])  # raises, before a model is built
    command.main(parser_of("evaluate").parse_args(evaluation_words(args, published, rows)))
    return read_skipped(args.output / RESULTS)


def evaluation_words(args: argparse.Namespace, published: Published, rows: Rows) -> list[str]:
    """What follows `frozenseg evaluate`."""
    words = ["--model", args.model, "--words", published.protocol["words"]]
    words += ["--output", str(args.output), "--num-gpus", str(args.num_gpus)]
    words += ["--weights", args.weights] if args.weights else []
    words += ["--overwrite"] * args.overwrite + ["--debug"] * args.debug
    words += ["--benchmarks", *(row.benchmark for row in rows)]
    return words + (["--opts", *args.opts] if args.opts else [])


def word_lists(published: Published, rows: Rows) -> list[WordList]:
    """The authors' lists that are needed: those of the benchmarks and of the training's classes."""
    lists, _ = WORD_SETS.get(published.protocol["words"], ({}, ""))
    wanted = [*(row.benchmark for row in rows), published.protocol["trained_on"]]
    return list(dict.fromkeys(lists[name] for name in wanted if name in lists))


def report(args: argparse.Namespace, published: Published, rows: Rows) -> str:
    """Expected, measured, difference; the protocols line by line; what else could explain it."""
    names = {row.name for row in rows}
    results = read_results(args.output / RESULTS)
    entries = {entry["dataset"]: entry for entry in results if entry["dataset"] in names}
    scores = side_by_side({"measured": entries}, published)
    lines = [f"{args.model}, published as {published.name}", ""]
    lines += [comparison_text(scores, ["measured"], "expected")]
    sources = dict.fromkeys(row["source"] for row in scores if row["source"])
    lines += [f"published by: {source}" for source in sources]
    for name, entry in entries.items():
        table = [(*line, line.verdict) for line in protocol_lines(entry, published)]
        headers = (f"protocol of {name}", "published", "here", "")
        lines += ["", tabulate(table, headers, tablefmt="github", disable_numparse=True)]
        words = entry["protocol"]["words"]
        lines += [f"- weights {entry['checkpoint']}, sha256 {entry['checkpoint_hash']}..."]
        lines += [f"- words {words['file']}, sha256 {words['sha256']}"] if "file" in words else []
        notes = (*(entry.get("warnings") or ()), *score_notes(entry, published))
        lines += [f"- {note}" for note in notes]
    return "\n".join(lines)


def plan_lines(
    args: argparse.Namespace, published: Published, rows: Rows, root: Path
) -> Iterator[str]:
    """What is there, what would be fetched and run, and what is expected."""
    words, weights = published.protocol["words"], WEIGHTS.get(args.weights or args.model)
    file = path_of(weights) if weights else Path(args.weights)
    to_fetch = 0.0
    yield f"{args.model}, published as {published.name}"
    yield f"config:   {config_path(MODELS[args.model])}"
    if weights and not file.is_file():
        to_fetch = (weights.size or weights.tensors) / GIGABYTE
        origin = weights.url or f"by hand from {weights.source}"
        yield f"weights:  {file}: to fetch, about {to_fetch:.1f} GB, {origin}"
    else:
        yield f"weights:  {file}: there"
    for word_list in word_lists(published, rows):
        path, address = list_path(words, word_list), f"{WORD_SETS[words][1]}/{word_list.file}"
        state = "there" if path.is_file() else f"to fetch, some kB, from {address}"
        yield f"words:    {path}: {state}; sha256 {word_list.sha256}"
    missing = {row.name: problem for row in rows if (problem := missing_data(row, root))}
    for row in rows:
        yield from dataset_lines(row, published, root, missing.get(row.name, ""))
    yield f"\nthen:     frozenseg evaluate {shlex.join(evaluation_words(args, published, rows))}"
    if (results := args.output / RESULTS).is_file():
        done = ", ".join(entry["dataset"] for entry in read_results(results))
        yield f"results:  {results} has {done}: not scored again if all is the same"
    sections = {row.origin.readme_section for row in rows if row.name in missing}
    sizes = {name: DOWNLOADS[name].gigabytes for name in sorted(sections) if name in DOWNLOADS}
    unknown = "".join(f", and {name} (size not known)" for name in sizes if not sizes[name])
    to_fetch += sum(size or 0 for size in sizes.values())
    again = "; unpacked data take about as much again" if sizes else ""
    yield f"to fetch: about {to_fetch:.1f} GB{unknown}{again}"
    yield f"free:     {free(file):.1f} GB for weights, {free(root):.1f} GB for data"


def free(path: Path) -> float:
    """Gigabytes that are free where a file or folder is, or would be."""
    folder = next(folder for folder in (path, *path.absolute().parents) if folder.exists())
    return shutil.disk_usage(folder).free / GIGABYTE


def dataset_lines(
    row: DatasetSplit, published: Published, root: Path, lacking: str
) -> Iterator[str]:
    """The plan of one benchmark: expected scores, protocol, and what of its data is there."""
    from frozenseg.data.verify.files import WHAT, missing_paths

    scores, settings = published.scores[row.benchmark], published_settings(published, row)
    figures = ", ".join(f"{score} {figure['value']}" for score, figure in scores.items())
    sources = dict.fromkeys(published.sources[figure["source"]] for figure in scores.values())
    yield f"\n{row.benchmark}: {row.name}"
    yield f"  expected: {figures} ({'; '.join(sources)})"
    yield f"  protocol: {'; '.join(f'{name} {value}' for name, value in settings.items())}"
    parts = [(WHAT[what], path) for what, path in row.paths()]
    if "AP" in scores and row.instance_json:
        parts.append(("instances, for AP as published", row.instance_json))
    for what, path in parts:
        yield f"  {what}: {root / path}: {'there' if (root / path).exists() else 'missing'}"
    if "AP" in scores and row.evaluator.startswith("cityscapes"):
        there = importlib.util.find_spec("cityscapesscripts") is not None
        state = "there" if there else "missing (pip install cityscapesscripts)"
        yield f"  cityscapesscripts, for AP as published: {state}"
    if lacking:
        yield f"  by hand: {lacking}"
    elif missing_paths(row, root):
        yield f"  first: {row.origin.command}"
