"""The table of a grid of pairings: scores collected, averaged, written and drawn."""

from __future__ import annotations

import math
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any, NamedTuple

from frozenseg.cli.pairings_cells import RESULTS, Cell, folder_of
from frozenseg.evaluation.results import read_results
from frozenseg.files import write_atomically, write_json, write_text

# Score of an entry -> its heading.
SCORES = {"mIoU": "mIoU", "FB_IoU": "FB-IoU"}
_FOLD = re.compile(r"_?fold\d+")
Row = tuple[str, str]  # pairing, method
Column = tuple[str, str]  # dataset without its fold, score


class Grid(NamedTuple):
    """Scores of a grid.

    Attributes:
        scores: row -> column -> seed -> fold -> percent.
        missing: folders of cells without results.
    """

    scores: dict[Row, dict[Column, dict[int, dict[int, float]]]]
    missing: list[str]


class Cells(NamedTuple):
    """Mean and deviation over seeds of the mean over folds; one seed has no deviation."""

    mean: float
    deviation: float | None
    seeds: int
    folds: int


def collect(cells: Iterable[Cell], output: Path) -> Grid:
    """The scores of all cells that have results."""
    scores: dict[Row, Any] = defaultdict(lambda: defaultdict(lambda: defaultdict(dict)))
    missing = []
    for cell in cells:
        config, method, fold, seed = cell
        path = folder_of(cell, output) / RESULTS
        if not path.is_file():
            missing.append(str(path.parent))
            continue
        for entry in read_results(path):
            found = entry["metrics"].get("episodes", {})
            for score in SCORES.keys() & found.keys():
                column = (without_fold(entry["dataset"]), score)
                scores[config.stem, method][column][seed][fold] = found[score]
    return Grid({row: dict(columns) for row, columns in scores.items()}, missing)


def without_fold(dataset: str) -> str:
    """What the datasets of all folds are called together: miniature_val of miniature_fold2_val."""
    return _FOLD.sub("", dataset)


def summarise(by_seed: Mapping[int, Mapping[int, float]]) -> Cells:
    """Seeds that lack a fold of the others do not count."""
    folds = max(len(by_fold) for by_fold in by_seed.values())
    whole = [fmean(by_fold.values()) for by_fold in by_seed.values() if len(by_fold) == folds]
    deviation = stdev(whole) if len(whole) > 1 else None
    return Cells(fmean(whole), deviation, len(whole), folds)


def columns_of(grid: Grid) -> list[Column]:
    """All columns, in the order of the first cell, mIoU before FB-IoU."""
    found = {column: None for columns in grid.scores.values() for column in columns}
    sets = list(dict.fromkeys(name for name, _ in found))
    return [(name, score) for name in sets for score in SCORES if (name, score) in found]


def write_tables(grid: Grid, output: Path, differences: str = "") -> str:
    """Writes table.md, `differences` at its end, and table.json; returns the first."""
    columns = columns_of(grid)
    head = ["pairing", "method", *(f"{name} {SCORES[score]}" for name, score in columns)]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    rows = []
    for (pairing, method), scores in grid.scores.items():
        cells = {column: summarise(scores[column]) for column in columns if column in scores}
        texts = [_text(cells[column]) if column in cells else "" for column in columns]
        lines.append("| " + " | ".join([pairing, method, *texts]) + " |")
        values = {f"{name}/{score}": cells[name, score]._asdict() for name, score in cells}
        rows.append({"pairing": pairing, "method": method, "scores": values})
    text = "\n".join(lines) + "\n" + (differences and f"\n{differences}")
    write_text(output / "table.md", text)
    write_json(output / "table.json", rows)
    return text


def draw(grid: Grid, path: Path) -> None:
    """A PNG with a panel for each column: a bar for each method of each pairing."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = columns_of(grid)
    pairings = list(dict.fromkeys(pairing for pairing, _ in grid.scores))
    methods = list(dict.fromkeys(method for _, method in grid.scores))
    wide = min(2, len(columns))
    high = math.ceil(len(columns) / wide)
    figure = Figure(figsize=(5.6 * wide, (0.5 * len(pairings) + 1.4) * high), layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(high, wide, squeeze=False, sharey=True).flatten()
    for axis, column in zip(axes, columns, strict=False):
        _draw_column(axis, grid, column, pairings, methods)
    for axis in axes[len(columns) :]:
        axis.set_visible(False)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper right", ncols=len(methods))
    write_atomically(path, lambda part: figure.savefig(part, format="png", dpi=120))


def _draw_column(
    axis: Any, grid: Grid, column: Column, pairings: Sequence[str], methods: Sequence[str]
) -> None:
    colors = ("#0072b2", "#e69f00", "#009e73", "#777777")  # told apart by everyone (Okabe-Ito)
    height, labelled = 0.8 / len(methods), set[str]()
    for number, method in enumerate(methods):
        for place, pairing in enumerate(pairings):
            scores = grid.scores.get((pairing, method), {}).get(column)
            if scores is None:
                continue
            cell = summarise(scores)
            y = place + (number - (len(methods) - 1) / 2) * height
            label = None if method in labelled else method
            labelled.add(method)
            bar = axis.barh(
                y, cell.mean, height, xerr=cell.deviation, color=colors[number], label=label
            )
            axis.bar_label(bar, fmt="%.1f", padding=3, fontsize="small")
    axis.set_yticks(range(len(pairings)), pairings)
    axis.set_xlabel("percent")
    axis.margins(x=0.12)  # room for the figures
    axis.set_title(f"{column[0]}: {SCORES[column[1]]}", fontsize="medium")
    if not axis.yaxis_inverted():
        axis.invert_yaxis()


def _text(cell: Cells) -> str:
    return f"{cell.mean:.1f}" + ("" if cell.deviation is None else f" ± {cell.deviation:.1f}")
