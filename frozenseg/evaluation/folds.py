"""Folds of an episodic benchmark, and scores averaged over them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from frozenseg.evaluation.results import EPISODE_COLUMNS, column

_SPLIT = re.compile(r"fold(\d+)_(\w+)")


class Fold(NamedTuple):
    """Where an entry belongs.

    Attributes:
        benchmark: such as "pascal_5i".
        kind: "val" asks for the classes that the fold holds out, "seen_val" for the others.
        number: of the fold, from 0.
    """

    benchmark: str
    kind: str
    number: int


class FoldMean(NamedTuple):
    """Scores of several folds: column of `results.COLUMNS` -> mean in percent."""

    benchmark: str
    kind: str
    folds: tuple[int, ...]
    scores: Mapping[str, float]

    @property
    def title(self) -> str:
        """As in "pascal_5i val, mean of 4 folds"."""
        plural = "s" if len(self.folds) != 1 else ""
        return f"{self.benchmark} {self.kind}, mean of {len(self.folds)} fold{plural}"


def fold_of(entry: Mapping[str, Any]) -> Fold | None:
    """The fold of an entry of results.json; None if its split is none."""
    found = _SPLIT.fullmatch(entry.get("split", ""))
    return Fold(entry["benchmark"], found[2], int(found[1])) if found else None


def fold_means(entries: Iterable[Mapping[str, Any]]) -> list[FoldMean]:
    """A mean for every benchmark and kind among `entries`, in their order.

    A column counts where all the folds have it. Entries of other splits are left out.
    Raises: ValueError for two entries of one fold.
    """
    groups: dict[tuple[str, str], dict[int, Mapping[str, Any]]] = {}
    for entry in entries:
        fold = fold_of(entry)
        if fold is None:
            continue
        folds = groups.setdefault(fold[:2], {})
        if fold.number in folds:
            raise ValueError(
                f"{entry['dataset']} occurs twice: a mean over folds takes one run of each, so "
                "average runs of other seeds apart"
            )
        folds[fold.number] = entry
    return [
        FoldMean(*key, tuple(sorted(folds)), _means(list(folds.values())))
        for key, folds in groups.items()
    ]


def _means(entries: list[Mapping[str, Any]]) -> dict[str, float]:
    means = {}
    for name in EPISODE_COLUMNS:
        values = [column(entry["metrics"], name).get("all") for entry in entries]
        known = [value for value in values if value is not None]
        if len(known) == len(entries):
            means[name] = sum(known) / len(known)
    return means
