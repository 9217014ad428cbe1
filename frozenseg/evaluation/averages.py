"""Means of per-class scores over groups of classes: all, seen, unseen, things, stuff."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm
from numpy.typing import NDArray

Groups = Mapping[str, NDArray[Any]]


def class_groups(
    thing_mask: Sequence[bool], seen: Sequence[bool] | None = None, stuff: bool = True
) -> dict[str, NDArray[Any]]:
    """Boolean class masks by group name; seen and unseen only if `seen` is known.

    Args:
        thing_mask: per class whether it is a thing.
        seen: per class whether training knew it.
        stuff: False leaves out the stuff groups (instance scores).
    """
    things = np.asarray(thing_mask, dtype=bool)
    groups = {"all": np.ones_like(things), "things": things, "stuff": ~things}
    if seen is not None:
        known = np.asarray(seen, dtype=bool)
        groups |= {
            "seen": known,
            "unseen": ~known,
            "seen_things": known & things,
            "unseen_things": ~known & things,
            "seen_stuff": known & ~things,
            "unseen_stuff": ~known & ~things,
        }
    if stuff:
        return groups
    return {name: groups[name] & things for name in ("all", "seen", "unseen") if name in groups}


def group_means(
    scores: Mapping[str, NDArray[Any]], counted: NDArray[Any], groups: Groups
) -> dict[str, dict[str, float | int]]:
    """For every group the mean in percent of every score over its counted classes.

    Args:
        scores: score name -> per class value in 0..1.
        counted: per class whether it takes part (it occurs in ground truth or prediction).
    Returns: group -> {score: percent (NaN for an empty group), "classes": number counted}.
    """
    means: dict[str, dict[str, float | int]] = {}
    for group, members in groups.items():
        chosen = members & counted
        means[group] = {
            name: 100 * float(values[chosen].mean()) if chosen.any() else float("nan")
            for name, values in scores.items()
        }
        means[group]["classes"] = int(chosen.sum())
    return means


def per_class(
    scores: Mapping[str, NDArray[Any]], counted: NDArray[Any], names: Sequence[str]
) -> dict[str, dict[str, float]]:
    """The same scores in percent by class name, counted classes only."""
    return {
        names[i]: {name: 100 * float(values[i]) for name, values in scores.items()}
        for i in np.flatnonzero(counted)
    }


class CountingEvaluator(DatasetEvaluator):
    """Adds up counts over images and processes; subclasses fill them in `process` and score them.

    Attributes:
        columns: how many numbers are counted of a class.
        totals: how many rows follow those of the classes.
        counts: the sums of this process (C + totals, columns), float64, exact up to 2^53.
    """

    columns: int
    totals = 0

    def __init__(self, class_names: tuple[str, ...], groups: Groups) -> None:
        """`groups`: boolean class masks by name, see `class_groups`."""
        self.class_names = class_names
        self.groups = groups
        self.reset()

    def reset(self) -> None:
        """Forgets all images."""
        self.counts = np.zeros((len(self.class_names) + self.totals, self.columns))

    def add(self, other: CountingEvaluator) -> None:
        """Adds the images of another evaluator of the same kind."""
        self.counts += other.counts

    def evaluate(self) -> dict[str, Any] | None:
        """The scores in percent of all processes' images, on the main process."""
        parts = comm.gather(self.counts)
        return self.scores(np.sum(parts, axis=0)) if comm.is_main_process() else None

    def scores(self, counts: NDArray[Any]) -> dict[str, Any]:
        """The results by name, of summed counts."""
        raise NotImplementedError
