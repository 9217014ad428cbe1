"""The page of a report: its head, and for every dataset scores, classes, images and protocol."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from frozenseg import __version__
from frozenseg.evaluation.comparison import protocol_differences
from frozenseg.evaluation.results import warning_lines
from frozenseg.files import flatten
from frozenseg.reporting.elements import Content, Element, element, page
from frozenseg.reporting.failures import failure_section
from frozenseg.reporting.images import image_section
from frozenseg.reporting.runs import Part, parts_of, read_runs
from frozenseg.reporting.scores import (
    class_section,
    comparison,
    score_charts,
    score_table,
    sure_scores,
)
from frozenseg.reporting.tables import table

RECORDED = ("benchmark", "split", "images", "seconds", "checkpoint", "checkpoint_hash", "seed")


def report_page(paths: Sequence[Path], *, worst: int = 6, seed: int = 0) -> str:
    """The results of one or two results.json as a page of HTML.

    Args:
        worst: images that are shown of a dataset, of two runs for less and for more each.
        seed: of the bootstrap.
    Raises: the errors of `read_runs`, `parts_of`, and of pictures that cannot be read.
    """
    runs = read_runs(paths)
    parts = parts_of(runs)
    names = [run.name for run in runs]
    title = " and ".join(names)
    links = [
        element("li", element("a", part.dataset, href=f"#dataset-{number}"))
        for number, part in enumerate(parts)
    ]
    skipped = [
        element("li", f"{run.name}: {dataset} was skipped: {reason}")
        for run in runs
        for dataset, reason in run.skipped.items()
    ]
    head: list[Content] = [
        element("h1", f"Results: {title}"),
        _key(names),
        element("p", f"frozenseg {__version__}; scores in percent.", class_="soft"),
        element("ul", links) if len(links) > 1 else None,
        element("div", element("ul", skipped), class_="warnings") if skipped else None,
    ]
    sections = [_section(number, part, worst, seed) for number, part in enumerate(parts)]
    return page(f"{title}: results", element("header", head), element("main", sections))


def _key(names: Sequence[str]) -> Element | None:
    marks = [element("span", name, class_=f"run-{i}") for i, name in enumerate(names)]
    return element("p", marks, class_="key") if len(names) > 1 else None


def _section(number: int, part: Part, worst: int, seed: int) -> Element:
    sure = sure_scores(part, seed)
    entries = part.entries
    told = [text for entry in entries.values() for text in warning_lines(entry)]
    told = [text.removeprefix("warning: ") for text in dict.fromkeys(told)]
    about = [_about(run, entry) for run, entry in entries.items()]
    heading = {"id": f"dataset-{number}", "class_": None if number else "first"}
    return element(
        "section",
        element("h2", part.dataset, **heading),
        [element("p", text, class_="soft") for text in about],
        _list(told, "warnings"),
        score_table(part, sure),
        comparison(part, seed),
        element("div", score_charts(part, sure), class_="charts"),
        class_section(part),
        image_section(part, worst),
        failure_section(part),
        _list(part.notes, "soft"),
        _protocol(entries),
    )


def _about(run: str, entry: Mapping[str, Any]) -> str:
    what = "items" if "episodes" in entry["metrics"] else "images"
    seconds = f", {entry['seconds']:.0f} s" if "seconds" in entry else ""
    checkpoint = entry.get("checkpoint") or "no checkpoint"
    return f"{run}: {entry['images']} {what}{seconds}, {checkpoint}"


def _list(sentences: Sequence[str], shade: str) -> Element | None:
    if not sentences:
        return None
    return element("div", element("ul", [element("li", text) for text in sentences]), class_=shade)


def _protocol(entries: Mapping[str, Mapping[str, Any]]) -> list[Element]:
    """How the scores came about, key by key; of two runs what differs comes first."""
    known = [
        {
            **{key: entry.get(key) for key in RECORDED},
            **dict(flatten(entry["protocol"])),
            **{f"version of {name}": each for name, each in entry.get("versions", {}).items()},
        }
        for entry in entries.values()
    ]
    keys = list(dict.fromkeys(key for each in known for key in each))
    values = {key: [_told(each.get(key)) for each in known] for key in keys}
    keys.sort(key=lambda key: len(set(values[key])) == 1)
    rows = [[element("td", key), *values[key]] for key in keys]
    content = table(["", *entries], rows)
    for line, key in zip(content.iter("tr"), ["", *keys], strict=True):
        if key and len(set(values[key])) > 1:
            line.set("class", "differs")
    told = [element("h3", "Protocol")]
    if len(entries) > 1:
        first, second = entries.values()
        differing = protocol_differences(first, second)
        text = (
            f"The protocols differ in {'; '.join(differing)}." if differing else "Both are equal."
        )
        told.append(element("p", text))
    return [*told, element("details", element("summary", "All settings"), content)]


def _told(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return "–" if value is None else str(value)
