"""Where evaluations differ: class by class, and the images that one of them is worse on."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from tabulate import tabulate

from frozenseg.evaluation.prediction_scores import IMAGE_SCORES

# Name of a score of a class -> where it stands in `metrics`: {class: {score: percent}}.
CLASS_SCORES = {
    "PQ": ("panoptic", "PQ"),
    "AP": ("instance", "AP"),
    "AP, official": ("instance_official", "AP"),
    "IoU": ("semantic", "IoU"),
    "IoU of items": ("episodes", "IoU"),
}


class Row(NamedTuple):
    """One score of a class or an image.

    Attributes:
        name: the class, or the image's file and id.
        runs: percent by run, of those that have it.
    """

    name: str
    score: str
    runs: dict[str, float]

    def gain(self, first: str, second: str) -> float:
        """Percent that the run `second` has more than `first`; 0 unless both are scored."""
        both = first in self.runs and second in self.runs
        return self.runs[second] - self.runs[first] if both else 0.0


def class_rows(runs: Mapping[str, Mapping[str, Any]]) -> list[Row]:
    """The scores of every class. Args: runs: name -> `metrics` of an entry of results.json."""
    rows: dict[tuple[str, str], Row] = {}
    for run, metrics in runs.items():
        for score, (part, key) in CLASS_SCORES.items():
            for name, values in metrics.get(part, {}).get("per_class", {}).items():
                if values.get(key) is not None:
                    row = rows.setdefault((score, name), Row(name, score, {}))
                    row.runs[run] = values[key]
    return list(rows.values())


def image_rows(
    runs: Mapping[str, Mapping[Any, Mapping[str, float]]], files: Mapping[Any, str]
) -> list[Row]:
    """The scores of every image. Args: runs: name -> image id -> scores; files: of the ids."""
    rows = []
    for image, file in files.items():
        for score in IMAGE_SCORES:
            values = {run: one[image][score] for run, one in runs.items() if score in one[image]}
            if values:
                rows.append(Row(f"{file} (id {image})", score, values))
    return rows


def extremes(
    rows: Sequence[Row], what: str, runs: Sequence[str], most: int
) -> Iterator[tuple[str, str]]:
    """(Title, table) for every score: of one run its lowest values; of several the rows on which
    each of the others loses, and gains, most against the first one.

    Args: what: "class" or "image"; most: rows of a table.
    """
    first, *others = runs
    for score in dict.fromkeys(row.score for row in rows):
        chosen = [row for row in rows if row.score == score and first in row.runs]
        if not others:
            lowest = sorted(chosen, key=lambda row: row.runs[first])[:most]
            yield f"lowest {score}", _table(lowest, what, runs)
        for other in others:
            gains = sorted(((row.gain(first, other), row) for row in chosen), key=lambda x: x[0])
            for word, found in (
                ("less", [row for gain, row in gains if gain < 0]),
                ("more", [row for gain, row in gains[::-1] if gain > 0]),
            ):
                if found:
                    title = f"{score}: {other} has {word} than {first}"
                    yield title, _table(found[:most], what, (first, other))


def _table(rows: Sequence[Row], what: str, runs: Sequence[str]) -> str:
    lines = []
    for row in rows:
        gains = [f"{row.gain(runs[0], run):+.2f}" for run in runs[1:]]
        lines.append([row.name, *(f"{row.runs[run]:.2f}" for run in runs), *gains])
    headers = [what, *runs, *("difference" for _ in runs[1:])]
    return str(tabulate(lines, headers=headers, tablefmt="github", disable_numparse=True))
