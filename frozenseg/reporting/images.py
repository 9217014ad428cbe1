"""The images of a report: those with the lowest scores, or the largest differences."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from frozenseg.evaluation.bootstrap import paired
from frozenseg.evaluation.per_image import KINDS, PerImage
from frozenseg.reporting.charts import figure, histogram
from frozenseg.reporting.elements import Element, element
from frozenseg.reporting.runs import Part

MOST_NAMES = 12  # of classes that a line names


class Ranked(NamedTuple):
    """An image: its place among the ids, and its scores, None without any."""

    place: int
    scores: tuple[float, ...]


def image_section(part: Part, worst: int) -> list[Element]:
    """The `worst` images of one run; of two those that lose and gain most. [] without counts."""
    if not part.counts or len(part.counts) < len(part.entries):
        return []
    first, *others = part.counts.values()
    runs = dict(zip(part.counts, [first, *(paired(first, other) for other in others)], strict=True))
    kind = next((kind for kind in KINDS if all(kind in run.rows for run in runs.values())), None)
    if kind is None:
        return []
    scores = np.stack([run.image_scores(kind) for run in runs.values()])
    ranked = [
        Ranked(int(place), tuple(scores[:, place].tolist()))
        for place in np.flatnonzero(np.isfinite(scores).all(0))
    ]
    score = KINDS[kind].score
    spread = histogram([[one.scores[run] for one in ranked] for run in range(len(runs))])
    content = [
        element("h3", "Images"),
        element("div", figure(f"number of images by {score}", spread), class_="charts"),
    ]
    for title, chosen in _chosen(ranked, list(runs), score, worst):
        cards = [_card(part, runs, kind, one) for one in chosen]
        content += [element("h3", title), element("div", cards, class_="images")]
    return content


def _chosen(
    ranked: list[Ranked], runs: list[str], score: str, worst: int
) -> list[tuple[str, list[Ranked]]]:
    """(Title, images) of the groups that are shown."""
    if len(runs) == 1:
        lowest = sorted(ranked, key=lambda one: one.scores[0])[:worst]
        return [(f"Images with the lowest {score}", lowest)] if lowest else []
    by_gain = sorted(ranked, key=lambda one: one.scores[1] - one.scores[0])
    less = [one for one in by_gain[:worst] if one.scores[1] < one.scores[0]]
    more = [one for one in by_gain[::-1][:worst] if one.scores[1] > one.scores[0]]
    titles = [f"{score}: images on which {runs[1]} has {word}" for word in ("less", "more")]
    return [pair for pair in zip(titles, (less, more), strict=True) if pair[1]]


def _card(part: Part, runs: dict[str, PerImage], kind: str, one: Ranked) -> Element:
    first = next(iter(runs.values()))
    image, file = first.images[one.place], first.files[one.place]
    name = file if str(image) in (file, file.rpartition(".")[0]) else f"{file} (id {image})"
    lines = []
    for number, (run, counts) in enumerate(runs.items()):
        missed, wrong = _mistakes(counts, kind, one.place)
        told = [f"{KINDS[kind].score} {one.scores[number]:.1f}"]
        told += [f"missed: {_names(missed)}"] if missed else []
        told += [f"wrong: {_names(wrong)}"] if wrong else []
        label = element("b", f"{run}: ", class_=f"run-{number}") if len(runs) > 1 else None
        lines.append(element("p", label, "; ".join(told)))
    pictures = part.painter.pictures(image) if part.painter else []
    shown = [
        element(
            "figure",
            element(
                "img", src=each.address, width=each.width, height=each.height,
                alt=f"{file}: {each.title}",
            ),
            element("figcaption", each.title),
        )
        for each in pictures
    ]  # fmt: skip
    pictures_below = element("div", shown, class_="pictures") if shown else None
    return element("div", element("h4", name), lines, pictures_below, class_="image")


def _mistakes(counts: PerImage, kind: str, place: int) -> tuple[list[str], list[str]]:
    """Classes of an image of which something was missed, and of which something is wrong.

    Of label maps: classes without a right pixel, and predicted ones that the image does not have.
    """
    image, classes, rows = counts.rows[kind]
    here = image == place
    columns = dict(zip(KINDS[kind].columns, rows[here].T, strict=True))
    if kind == "panoptic":
        missed, wrong = columns["fn"] > 0, columns["fp"] > 0
    elif kind == "semantic":
        missed = (columns["truth"] > 0) & (columns["right"] == 0)
        wrong = (columns["predicted"] > 0) & (columns["truth"] == 0)
    else:
        missed, wrong = columns["intersection"] == 0, np.zeros(int(here.sum()), bool)
    return (
        [counts.classes[index] for index in classes[here][missed]],
        [counts.classes[index] for index in classes[here][wrong]],
    )


def _names(names: list[str]) -> str:
    more = len(names) - MOST_NAMES
    return ", ".join(names[:MOST_NAMES]) + (f" and {more} more" if more > 0 else "")
