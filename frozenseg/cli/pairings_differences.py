"""Early minus late fusion over the folds and seeds of a grid, with intervals."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from frozenseg.cli.pairings_cells import RESULTS, Cell, folder_of
from frozenseg.cli.pairings_table import without_fold
from frozenseg.evaluation.bootstrap import difference_over_folds
from frozenseg.evaluation.per_image import PerImage, counts_beside
from frozenseg.evaluation.results import read_results

BEFORE, AFTER = "late", "early"
Row = tuple[str, str]  # pairing, dataset without its fold
Pair = tuple[PerImage, PerImage]  # of both methods, trained with the same seed
HEAD = ("pairing", "dataset", "pairs of runs", AFTER, BEFORE, f"{AFTER} - {BEFORE}", "early ahead")


def paired_runs(cells: Iterable[Cell], output: Path) -> dict[Row, dict[int, list[Pair]]]:
    """Row -> fold -> the runs of both methods, of all seeds that have both with their counts."""
    runs: dict[tuple[str, str, int, int], dict[str, PerImage]] = defaultdict(dict)
    for cell in cells:
        config, method, fold, seed = cell
        path = folder_of(cell, output) / RESULTS
        for entry in read_results(path) if path.is_file() else ():
            counts = counts_beside(path, entry).counts
            if counts is not None:
                runs[config.stem, entry["dataset"], fold, seed][method] = counts
    found: dict[Row, dict[int, list[Pair]]] = defaultdict(lambda: defaultdict(list))
    for (pairing, dataset, fold, _), by_method in runs.items():
        if BEFORE in by_method and AFTER in by_method:
            pair = by_method[BEFORE], by_method[AFTER]
            found[pairing, without_fold(dataset)][fold].append(pair)
    return {row: dict(sorted(by_fold.items())) for row, by_fold in found.items()}


def difference_table(cells: Iterable[Cell], output: Path) -> str:
    """Markdown: the mIoU of both methods, points between them and the middle 95 % of the draws.

    A row for each pairing and dataset, over all folds and of each. Runs that lack the other method
    or the counts of every image do not take part. "" where no pair is left.
    """
    found = paired_runs(cells, output)
    folds = sorted({fold for by_fold in found.values() for fold in by_fold})
    if not folds:
        return ""
    head = [*HEAD, *(f"fold {fold}" for fold in folds)]
    lines = [head, ["---"] * len(head)]
    lines += [[*row, *_cells(by_fold, folds)] for row, by_fold in found.items()]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _cells(by_fold: Mapping[int, Sequence[Pair]], folds: Sequence[int]) -> list[str]:
    pairs = [pair for of_fold in by_fold.values() for pair in of_fold]
    ahead = sum(difference_over_folds([[pair]], draws=1).value > 0 for pair in pairs)
    before, after = difference_over_folds(list(by_fold.values())).runs
    means = [f"{after:.1f}", f"{before:.1f}", _points(list(by_fold.values()))]
    each = [_points([by_fold[fold]]) if fold in by_fold else "" for fold in folds]
    return [str(len(pairs)), *means, f"{ahead} of {len(pairs)}", *each]


def _points(folds: Sequence[Sequence[Pair]]) -> str:
    found = difference_over_folds(folds)
    return f"{found.value:+.1f} ({found.low:+.1f} to {found.high:+.1f})"
