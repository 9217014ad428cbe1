"""The main scores of a results.json, as short tables."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from tabulate import tabulate

from frozenseg.evaluation.results import COLUMNS, read_results, scored_groups

# Columns of `results.COLUMNS` that a summary shows.
MAIN = (
    *("PQ", "SQ", "RQ", "AP", "mIoU", "recall50", "recall50 of SAM", "recall50 with SAM"),
    *("accuracy", "accuracy with SAM", "mIoU of items", "FB-IoU"),
)
GROUPS = ("all", "seen", "unseen", "unseen_things")
Scores = Mapping[str, Mapping[str, float | None]]


def read_scores(results: Path) -> dict[str, dict[str, float | None]]:
    """Score -> group of classes -> percent of the first dataset, None where nothing was scored.

    Scores and groups that the file lacks are left out.
    Raises: the errors of `read_results`.
    """
    metrics = read_results(results)[0]["metrics"]
    scores = {}
    for name in MAIN:
        groups, score = scored_groups(metrics, name), COLUMNS[name][1]
        found = {group: groups[group][score] for group in GROUPS if group in groups}
        if found:
            scores[name] = found
    return scores


def require_same_scores(first: Scores, second: Scores) -> None:
    """Raises: ValueError naming the first score that differs by more than a millionth point."""
    for name in first:
        for group, before in first[name].items():
            after = second.get(name, {}).get(group)
            if before is None or after is None:
                same = before is after
            else:
                same = abs(before - after) <= 1e-6
            if not same:
                raise ValueError(
                    f"{name} of {group} classes was {before} at first but {after} when the same "
                    "weights were scored again: please report this"
                )


def score_table(scores: Scores) -> str:
    """One row per group of classes, one column per score."""
    groups = [group for group in GROUPS if any(group in row for row in scores.values())]
    rows = [
        [group.replace("_", " "), *(_percent(row.get(group)) for row in scores.values())]
        for group in groups
    ]
    return _table(rows, ["classes", *scores])


def comparison_table(
    before: Scores, after: Scores, rows: Iterable[tuple[str, str, str]], titles: tuple[str, str]
) -> str:
    """Two runs side by side with the gain in points.

    Args:
        rows: (title, score, group of classes) each.
        titles: of the columns of `before` and `after`.
    """
    lines = []
    for title, name, group in rows:
        first, second = (scores.get(name, {}).get(group) for scores in (before, after))
        gain = "-" if first is None or second is None else f"{second - first:+.1f}"
        lines.append([title, _percent(first), _percent(second), gain])
    return _table(lines, ["", *titles, "gain"])


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"


def _table(rows: list[list[str]], headers: list[str]) -> str:
    align = ["left", *["right"] * (len(headers) - 1)]
    options = {"tablefmt": "github", "disable_numparse": True, "colalign": align}
    return str(tabulate(rows, headers, **options))
