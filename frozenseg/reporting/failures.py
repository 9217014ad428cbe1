"""The "diagnosis" of an entry of results.json as parts of a report; see `evaluation.diagnosis`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from frozenseg.reporting.charts import curve, figure
from frozenseg.reporting.elements import Element, element
from frozenseg.reporting.runs import Part
from frozenseg.reporting.scores import GROUPS
from frozenseg.reporting.tables import difference, minus, table

MOST = 25  # confusions that are listed
CURVES = 3  # groups of classes whose calibration is drawn
MISTAKES = ("missed", "misnamed", "invented", "inexact", "taken_for")
Diagnosis = Mapping[str, Any]


def failure_section(part: Part) -> list[Element]:
    """Every part of every run's diagnosis; [] where there is none."""
    content: list[Element] = []
    for number, (run, entry) in enumerate(part.entries.items()):
        found = [made for show in SHOWN for made in show(entry.get("diagnosis") or {})]
        if found:
            several = len(part.entries) > 1
            title, shade = (f": {run}", f"run-{number}") if several else ("", None)
            content += [element("h3", f"Where it fails{title}", class_=shade), *found]
    return content


def _oracles(diagnosis: Diagnosis) -> list[Element]:
    rows = []
    for score, each in diagnosis.get("oracles", {}).items():
        for group, real in each["real"].items():
            masks, names = (each[key].get(group) for key in ("oracle_masks", "oracle_names"))
            gains = [masks, difference(minus(masks, real)), names, difference(minus(names, real))]
            rows.append([f"{score}, {_plain(group)}", real, *gains])
    headers = ["score, classes", "as it is", "true masks", "gain", "true names", "gain"]
    return _shown(
        headers, rows, "What perfect masks, or perfect names of its own masks, would gain."
    )


def _confusions(diagnosis: Diagnosis) -> list[Element]:
    rows = [
        [each["truth"], each["predicted"], each["count"], each["cosine"]]
        for each in diagnosis.get("confusions", ())[:MOST]
    ]
    told = "Segments that were found but named otherwise; the cosine is that of the words."
    return _shown(["truth", "named", "segments", "cosine"], rows, told, sorts=True)


def _recall(diagnosis: Diagnosis) -> list[Element]:
    rows = [
        [
            f"{_plain(group)}, {'any size' if size == 'all' else size}",
            *(each["regions"], each["found"], each["named"]),
        ]
        for group, sizes in diagnosis.get("recall", {}).items()
        for size, each in sizes.items()
        if each["regions"]
    ]
    told = "Percent of regions that a mask finds (IoU above 0.5), and that it names rightly."
    return _shown(["classes, size", "regions", "found", "named"], rows, told)


def _calibration(diagnosis: Diagnosis) -> list[Element]:
    charts, calibration = [], diagnosis.get("calibration", {})
    for group in [group for group in GROUPS if group in calibration][:CURVES]:
        each = calibration[group]
        points = [
            (x, y, f"{one['segments']} segments: score {x:.1f}, right {y:.1f}")
            for one in each["bins"]
            if (x := one["confidence"]) is not None and (y := one["precision"]) is not None
        ]
        error = "" if each["ECE"] is None else f" (ECE {each['ECE']:.1f})"
        chart = curve(points, ("mean score, percent", "right, percent"))
        charts.append(figure(f"scores against what is right, {_plain(group)}{error}", chart))
    return [element("div", charts, class_="charts")] if charts else []


def _boundary(diagnosis: Diagnosis) -> list[Element]:
    rows = [
        [_plain(group), each["boundary_IoU"], each["boundary_PQ"]]
        for group, each in diagnosis.get("boundary", {}).items()
    ]
    return _shown(["classes", "boundary IoU", "boundary PQ"], rows, "How exact outlines are.")


def _classes(diagnosis: Diagnosis) -> list[Element]:
    per_class = diagnosis.get("per_class", {})
    keys = list(next(iter(per_class.values()), ()))
    worst = sorted(per_class, key=lambda name: -sum(per_class[name][key] for key in MISTAKES))
    rows = [
        [element("td", name, data_value=name), *(per_class[name][key] for key in keys)]
        for name in worst
    ]
    told = "Segments by class, most mistakes first. A click on a header sorts."
    return _shown(["class", *map(_plain, keys)], rows, told, sorts=True)


def _open(diagnosis: Diagnosis) -> list[Element]:
    judged = diagnosis.get("open", ())
    unknown = [
        f"{n} classes unknown to {j['similarity']}"
        for j in judged
        if (n := j.get("unknown_classes"))
    ]
    rows = [
        [f"{score}, {_plain(group)}", real, *(each.get(score, {}).get(group) for each in judged)]
        for score, oracle in diagnosis.get("oracles", {}).items()
        for group, real in oracle["real"].items()
        if any(score in each for each in judged)
    ]
    told = "Scores in which a near miss in words counts by the similarity of both, judged by each."
    headers = ["score, classes", "as it is", *(each["similarity"] for each in judged)]
    return _shown(headers, rows, "; ".join([told, *unknown]))


def _absent_words(diagnosis: Diagnosis) -> list[Element]:
    rows = diagnosis.get("absent_words", ())
    told = "With words added that no image holds."
    return _records(rows, told)


def _queries(diagnosis: Diagnosis) -> list[Element]:
    queries = diagnosis.get("queries")
    return _records(
        [queries] if queries else (), "One word at a time, on images with and without it."
    )


def _prompts(diagnosis: Diagnosis) -> list[Element]:
    prompts = diagnosis.get("prompts")
    if not prompts:
        return []
    rows = [{**each, "scores": "", **each["scores"]} for each in prompts["prompts"]]
    for row in rows:
        del row["scores"]
    told = "; ".join(
        f"{key} {value:.2f}" for key, value in prompts["spread"].items() if value is not None
    )
    return [
        *_records(rows, f"Ways of writing the words; spread in points: {told}"),
        *_records(prompts["cheapest"], "Classes that another prompt would help most."),
    ]


def _records(rows: Sequence[Mapping[str, Any]], caption: str) -> list[Element]:
    keys = list(dict.fromkeys(key for row in rows for key in row))
    return _shown(
        [_plain(key) for key in keys], [[row.get(key) for key in keys] for row in rows], caption
    )


def _shown(
    headers: Sequence[str], rows: Sequence[Sequence[Any]], caption: str, *, sorts: bool = False
) -> list[Element]:
    return [table(headers, rows, caption, sorts=sorts)] if rows else []


def _plain(name: str) -> str:
    return name.replace("_", " ")


SHOWN = (
    *(_oracles, _recall, _confusions, _calibration, _boundary, _classes, _open),
    *(_absent_words, _queries, _prompts),
)
