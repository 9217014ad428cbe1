"""The table of MESS: mIoU of every set that was scored, the mean of each domain and of all sets.

As in the paper (arXiv:2306.15521), the last mean is that over sets, not over domains. Every mean
says of how many of MESS's sets it is.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from tabulate import tabulate

from frozenseg.data.catalog.lookup import mess_splits
from frozenseg.data.catalog.mess_rows import DOMAINS, MESS_ROWS
from frozenseg.data.catalog.split import DatasetSplit
from frozenseg.evaluation.results import column

ALL = sum(DOMAINS.values())


class MessScore(NamedTuple):
    """A set of MESS, how many images were scored, and its mIoU in percent."""

    row: DatasetSplit
    images: int
    percent: float


class MessMean(NamedTuple):
    """A mean mIoU in percent: of `scored` sets of the `sets` that MESS has in a domain, or all."""

    title: str
    scored: int
    sets: int
    percent: float


def mess_scores(entries: Iterable[Mapping[str, Any]]) -> list[MessScore]:
    """The entries of results.json that are of a set of MESS and have a score, by domain.

    Of two entries of one set the last one counts.
    """
    row_of = {name: row for row in mess_splits() for name in row.names}
    found = {}
    for entry in entries:
        row, percent = row_of.get(entry["dataset"]), column(entry["metrics"], "mIoU").get("all")
        if row and percent is not None:
            found[row.name] = MessScore(row, entry["images"], percent)
    return sorted(found.values(), key=lambda score: list(DOMAINS).index(score.row.mess_domain))


def mess_means(scores: Sequence[MessScore]) -> list[MessMean]:
    """The mean of every domain of which a set was scored; the last one is that of all sets."""
    means = []
    for title, sets in (*DOMAINS.items(), ("all", ALL)):
        values = [score.percent for score in scores if title in (score.row.mess_domain, "all")]
        if values:
            means.append(MessMean(title, len(values), sets, sum(values) / len(values)))
    return means


def mess_table(entries: Iterable[Mapping[str, Any]]) -> str:
    """The table as text; "" where no set was scored that is in the catalog for MESS alone."""
    scores = mess_scores(entries)
    if not any(score.row in MESS_ROWS for score in scores):
        return ""
    means = mess_means(scores)
    lines = [(row.benchmark, _images(row, images), percent) for row, images, percent in scores]
    lines += [(f"mean, {title}", f"{n} of {sets} sets", value) for title, n, sets, value in means]
    table = tabulate(
        [(name, scored, f"{percent:.2f}") for name, scored, percent in lines],
        headers=("MESS", "scored", "mIoU"),
        tablefmt="github",
        disable_numparse=True,
        colalign=("left", "right", "right"),
    )
    number = means[-1].scored
    note = f"The mean of {number} of the {ALL} sets is not the mean of MESS."
    return f"{table}\n\n{note}" if number < ALL else str(table)


def _images(row: DatasetSplit, images: int) -> str:
    official = row.image_counts or (images,)
    return f"{images} images" if images in official else f"{images} of {official[0]} images"
