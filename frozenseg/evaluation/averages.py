"""Means of per-class scores over groups of classes: all, seen, unseen, things, stuff."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

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


class ImageCounts(NamedTuple):
    """What was counted of one image: the indices of its classes (R,), and their rows (R, K)."""

    file: str
    classes: NDArray[Any]
    rows: NDArray[Any]


def image_key(record: Mapping[str, Any]) -> Any:
    """An image's id; of an item that asks for classes of an image, its file and these."""
    if "asked" not in record:
        return record["image_id"]
    return f"{Path(record['file_name']).name} {' '.join(map(str, record['asked']))}"


class CountingEvaluator(DatasetEvaluator):
    """Adds up counts over images and processes; subclasses fill them in `process` and score them.

    Attributes:
        kind: name of its results.
        columns: how many numbers are counted of a class.
        totals: how many rows follow those of the classes.
        counts: the sums of this process (C + totals, columns), float64, exact up to 2^53.
        per_image: the counts of each image by its `image_key`; None unless they are kept.
    """

    kind: str
    columns: int
    totals = 0
    per_image: dict[Any, ImageCounts] | None = None

    def __init__(self, class_names: tuple[str, ...], groups: Groups) -> None:
        """`groups`: boolean class masks by name, see `class_groups`."""
        self.class_names = class_names
        self.groups = groups
        self.reset()

    def reset(self) -> None:
        """Forgets all images."""
        self.counts = np.zeros((len(self.class_names) + self.totals, self.columns))
        if self.per_image is not None:
            self.per_image = {}

    def keep_images(self) -> None:
        """From now on the counts of every image are kept, too."""
        self.per_image = {}

    def add_image(self, record: Mapping[str, Any], counts: NDArray[Any]) -> None:
        """Adds what was counted of an image (C + totals, columns)."""
        self.counts += counts
        if self.per_image is not None:
            rows = self.image_rows(counts)
            found = np.flatnonzero(rows.any(1))
            file = Path(record["file_name"]).name
            self.per_image[image_key(record)] = ImageCounts(file, found, rows[found])

    def image_rows(self, counts: NDArray[Any]) -> NDArray[Any]:
        """What is kept of an image's counts (C, K): see `per_image.COLUMNS`."""
        return counts[: len(self.class_names)]

    def add(self, other: CountingEvaluator) -> None:
        """Adds the images of another evaluator of the same kind."""
        self.counts += other.counts
        if self.per_image is not None and other.per_image is not None:
            self.per_image |= other.per_image

    def evaluate(self) -> dict[str, Any] | None:
        """The scores in percent of all processes' images, on the main process."""
        parts = comm.gather(self.counts)
        return self.scores(np.sum(parts, axis=0)) if comm.is_main_process() else None

    def scores(self, counts: NDArray[Any]) -> dict[str, Any]:
        """The results by name, of summed counts."""
        raise NotImplementedError
