"""How sure a score, or the difference of two runs, is: a paired bootstrap over images.

Images are drawn with replacement, as many as there are, and scored; both runs on the same draws.
The interval holds the middle 95 % of the scores, or of the differences.
Source: Efron and Tibshirani, An Introduction to the Bootstrap, chapter 13 (percentile interval).

Legend: N images or items, F pictures of the items, D draws, C classes, K counts of a class.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from frozenseg.evaluation.per_image import KINDS, PerImage, Rows, sorted_rows

DRAWS = 1000
LEVEL = 0.95
Array = NDArray[Any]


class Interval(NamedTuple):
    """A score in percent, or a difference in points, and where the middle of the draws lies.

    Attributes:
        score: "PQ", "mIoU" or "mIoU of items"; `group`: of classes.
        runs: the score of the one run, or of both.
        value: the score, or the second run's minus the first run's.
    """

    score: str
    group: str
    runs: tuple[float, ...]
    value: float
    low: float
    high: float

    @property
    def is_main(self) -> bool:
        """Whether it is of all, the seen or the unseen classes."""
        return self.group in ("all", "seen", "unseen")

    @property
    def is_sure(self) -> bool:
        """Whether the interval does not hold 0."""
        return self.low > 0 or self.high < 0


def draw_images(images: int, draws: int = DRAWS, seed: int = 0) -> Array:
    """How often each image is in each draw: (N, D) float64, every column sums up to N."""
    generator = np.random.default_rng(seed)
    return generator.multinomial(images, np.full(images, 1 / images), size=draws).T.astype(float)


def draw_scores(record: PerImage, kind: str, times_ND: Array) -> dict[str, Array]:
    """Group of classes -> its score in percent in each draw (D,); NaN without a class to score."""
    sums_DCK = _class_sums(record.rows[kind], times_ND, len(record.classes))
    counted_DC = KINDS[kind].counted(sums_DCK)
    values_DC = np.where(counted_DC, KINDS[kind].values(sums_DCK), 0)
    scores = {}
    for group, members in record.groups.items():
        numbers = counted_DC[:, members].sum(1)
        total = 100 * values_DC[:, members].sum(1)
        scores[group] = np.where(numbers > 0, total / np.maximum(numbers, 1), np.nan)
    return scores


def _class_sums(rows: Rows, times_ND: Array, classes: int) -> Array:
    """Counts (D, C, K) summed over the images of each draw."""
    sums = np.zeros((times_ND.shape[1], classes, rows.counts.shape[1]))
    starts = np.searchsorted(rows.classes, np.arange(classes + 1))
    for index in np.unique(rows.classes):
        its = slice(starts[index], starts[index + 1])
        sums[:, index] = times_ND[rows.image[its]].T @ rows.counts[its]
    return sums


def intervals(
    first: PerImage, second: PerImage | None = None, *, draws: int = DRAWS, seed: int = 0
) -> list[Interval]:
    """The interval of every score and group, or of the differences from the first to the second.

    Groups that the runs do not share (seen classes of other trainings) are left out, and so are
    those without a class to score.
    Raises: ValueError as `paired`.
    """
    sides = [[first]] if second is None else [[first], [second]]
    return intervals_of_means(sides, draws=draws, seed=seed)


def intervals_of_means(
    sides: Sequence[Sequence[PerImage]], *, draws: int = DRAWS, seed: int = 0
) -> list[Interval]:
    """The same of methods that were trained several times: of the mean score of their runs.

    All runs are scored on the same draws. The interval speaks of other images like these; how much
    another training differs is seen in the runs.

    Args: sides: the runs of one method, or of two whose difference is asked for.
    Raises: ValueError as `paired`.
    """
    first = sides[0][0]
    sides = [[paired(first, run) for run in runs] for runs in sides]
    if not first.images:
        return []
    every = [run for runs in sides for run in runs]
    once_ND = np.ones((len(first.images), 1))
    times_ND = np.hstack([once_ND, draw_images(len(first.images), draws, seed)])
    found = []
    for kind in KINDS:
        if not all(kind in run.rows for run in every):
            continue
        drawn_scores = [[draw_scores(run, kind, times_ND) for run in runs] for runs in sides]
        for group, members in first.groups.items():
            if any(run.groups.get(group) != members for run in every):
                continue
            means = [np.mean([each[group] for each in runs], axis=0) for runs in drawn_scores]
            values = [float(mean[0]) for mean in means]
            value, *drawn = means[-1] - (means[0] if len(sides) > 1 else 0)
            if np.isfinite(values).all() and np.isfinite(drawn).any():
                low, high = _middle(drawn)
                name = KINDS[kind].score
                found.append(Interval(name, group, tuple(values), float(value), low, high))
    return found


def difference_over_folds(
    folds: Sequence[Sequence[tuple[PerImage, PerImage]]], *, draws: int = DRAWS, seed: int = 0
) -> Interval:
    """The difference of the mIoU of items: of a fold the mean over its pairs of runs, of the folds.

    Pictures are drawn, not items: those that ask something of one picture, in all folds, come and
    go together. As above, the interval does not say how much another training differs.

    Args: folds: of each fold one pair or more: a run, and the one that is compared with it.
    Raises: ValueError as `paired`.
    """
    names = sorted({name for pairs in folds for name in pairs[0][0].files})
    place_of = {name: place for place, name in enumerate(names)}
    times_FD = np.hstack([np.ones((len(names), 1)), draw_images(len(names), draws, seed)])
    of_folds = []  # (2, D) each
    for pairs in folds:
        first = pairs[0][0]
        times_ND = times_FD[[place_of[name] for name in first.files]]
        scores = [
            [draw_scores(paired(first, run), "episodes", times_ND)["all"] for run in pair]
            for pair in pairs
        ]
        of_folds.append(np.mean(scores, axis=0))
    before_D, after_D = np.mean(of_folds, axis=0)
    value, *drawn = after_D - before_D
    low, high = _middle(drawn)
    runs = float(before_D[0]), float(after_D[0])
    return Interval(KINDS["episodes"].score, "all", runs, float(value), low, high)


def _middle(drawn: Sequence[float]) -> tuple[float, float]:
    """The ends of the share LEVEL of the draws in their middle."""
    low, high = np.nanquantile(drawn, [0.5 - LEVEL / 2, 0.5 + LEVEL / 2]).tolist()
    return low, high


def paired(first: PerImage, second: PerImage) -> PerImage:
    """The second run with its images in the order of the first.

    Raises: ValueError unless both are of the same dataset, images and number of classes.
    """
    names = [run.about["dataset"] for run in (first, second)]
    if names[0] != names[1]:
        raise ValueError(f"the runs are of {names[0]} and {names[1]}: compare runs of one dataset")
    only = [len(set(a.images) - set(b.images)) for a, b in ((first, second), (second, first))]
    if any(only):
        raise ValueError(
            f"{names[0]}: the runs have {len(first.images)} and {len(second.images)} images, of "
            f"which {only[0]} are only in the first and {only[1]} only in the second: differences "
            "need the same images; evaluate both on the same files"
        )
    if len(first.classes) != len(second.classes):
        raise ValueError(
            f"{names[0]}: the runs have {len(first.classes)} and {len(second.classes)} classes: "
            "differences need the same ones"
        )
    place_of = {image: place for place, image in enumerate(first.images)}
    places = np.array([place_of[image] for image in second.images], dtype=np.int64)
    rows = {
        kind: sorted_rows(places[one.image], one.classes, one.counts)
        for kind, one in second.rows.items()
    }
    return replace(second, images=first.images, files=first.files, rows=rows)


def statement(interval: Interval, first: str, second: str) -> str:
    """What a difference says, as a sentence."""
    what = f"{interval.score} of {interval.group.replace('_', ' ')} classes"
    ends = f"{interval.low:+.2f} to {interval.high:+.2f}"
    ends = f"{interval.value:+.2f} points, 95 % interval {ends}"
    if interval.low == interval.high == 0:
        return f"{what}: {first} and {second} are equal on every draw"
    if not interval.is_sure:
        return f"{what}: {first} and {second} cannot be told apart on these images ({ends})"
    word = "better" if interval.value > 0 else "worse"
    return f"{what}: {second} is {word} than {first} ({ends})"
