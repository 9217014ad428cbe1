"""The parts of a report that show scores: by group, their intervals, by class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from frozenseg.evaluation.bootstrap import DRAWS, LEVEL, Interval, intervals, statement
from frozenseg.evaluation.prediction_tables import CLASS_SCORES, class_rows
from frozenseg.evaluation.results import COLUMNS, column
from frozenseg.files import check_typed
from frozenseg.reporting.charts import Bar, bars, differences, figure, histogram, scatter
from frozenseg.reporting.elements import Content, Element, element
from frozenseg.reporting.runs import Part
from frozenseg.reporting.tables import cell, difference, minus, signed, table

PERCENT = f"{100 * LEVEL:.0f} %"
CHARTED = ("PQ", "AP", "mIoU", "mIoU of items", "FB-IoU")
GROUPS = ("all", "seen", "unseen", "things", "stuff", "unseen_things")
Sure = Mapping[tuple[str, str], Interval]  # by score and group


def sure_scores(part: Part, seed: int) -> dict[str, Sure]:
    """Run -> the intervals of its scores, of runs whose counts were kept."""
    return {
        run: {(one.score, one.group): one for one in intervals(counts, seed=seed)}
        for run, counts in part.counts.items()
    }


def score_table(part: Part, sure: Mapping[str, Sure]) -> Element:
    """One row per group of classes; of two runs every cell has both scores and the difference."""
    found = {
        name: [column(entry["metrics"], name) for entry in part.entries.values()]
        for name in COLUMNS
    }
    found = {name: values for name, values in found.items() if any(values)}
    groups = dict.fromkeys(group for each in found.values() for values in each for group in values)
    rows = []
    for group in groups:
        cells: list[Any] = [element("td", group.replace("_", " "))]
        for name, values in found.items():
            scores = [each.get(group) for each in values]
            ends = [sure.get(run, {}).get((name, group)) for run in part.entries]
            cells.append(_score_cell(scores, ends))
        rows.append(cells)
    lines = "Percent over groups of classes" + (
        ": the first run, the second one, and their difference." if len(part.entries) > 1 else "."
    )
    told = f" Small: the {PERCENT} interval over images." if sure and len(part.entries) == 1 else ""
    return table(["classes", *found], rows, lines + told)


def _score_cell(scores: Sequence[float | None], ends: Sequence[Interval | None]) -> Element:
    if all(score is None for score in scores):
        return cell(None)
    lines: list[Content] = [
        element("div", "–" if score is None else f"{score:.2f}", class_=f"run-{run}")
        for run, score in enumerate(scores)
    ]
    if len(scores) == 1:
        lines = [element("div", f"{scores[0]:.2f}")]
        if ends[0] is not None:
            lines.append(element("div", f"{ends[0].low:.1f} to {ends[0].high:.1f}", class_="soft"))
    gain = minus(scores[-1], scores[0]) if len(scores) > 1 else None
    return element("td", lines, element("div", signed(gain)) if gain is not None else None)


def score_charts(part: Part, sure: Mapping[str, Sure]) -> list[Element]:
    """Bars of the main scores by group, with the intervals that are known."""
    charts = []
    for name in CHARTED:
        values = {run: column(entry["metrics"], name) for run, entry in part.entries.items()}
        shown = [group for group in GROUPS if any(group in each for each in values.values())]
        rows = {
            group: [
                _bar(values[run].get(group), sure.get(run, {}).get((name, group))) for run in values
            ]
            for group in shown
        }
        if rows:
            charts.append(figure(f"{name}, percent", bars(rows)))
    return charts


def _bar(value: float | None, ends: Interval | None) -> Bar | None:
    if value is None:
        return None
    return Bar(value) if ends is None else Bar(value, ends.low, ends.high)


def comparison(part: Part, seed: int) -> list[Element]:
    """What the differences of two runs say: sentences, a chart and all intervals.

    [] unless the counts of both were kept. Raises: ValueError for runs on different images.
    """
    if len(part.counts) < 2:
        return []
    (first, before), (second, after) = part.counts.items()
    found = intervals(before, after, seed=seed)
    sentences = [statement(one, first, second) for one in found if one.is_main]
    rows = [
        [
            element("td", f"{one.score}, {one.group.replace('_', ' ')}"),
            *one.runs,
            difference(one.value) if one.is_sure else f"{one.value:+.2f}",
            f"{one.low:+.2f} to {one.high:+.2f}",
        ]
        for one in found
    ]
    charts = []
    for score in dict.fromkeys(one.score for one in found):
        dots = {one.group: Bar(one.value, one.low, one.high) for one in found if one.score == score}
        charts.append(figure(f"{score}: {second} less {first}, points", differences(dots)))
    told = (
        f"Paired bootstrap over {len(before.images)} images: both runs scored on the same "
        f"{DRAWS:,} draws with replacement; the interval holds the middle {PERCENT} of the "
        "differences. It speaks of other images like these, not of other trainings (seeds)."
    )
    headers = ["score, classes", first, second, "difference", f"{PERCENT} interval"]
    return [
        element("h3", "Is one of them better?"),
        element(
            "div", element("ul", [element("li", each) for each in sentences]), class_="statements"
        ),
        element("p", told, class_="soft"),
        element("div", charts, class_="charts"),
        element("details", element("summary", "All intervals"), table(headers, rows)),
    ]


def class_section(part: Part) -> list[Element]:
    """The scores of every class as a table that sorts, and charts of how they are spread."""
    runs = {}
    for run, entry in part.entries.items():
        runs[run] = {key: entry["metrics"].get(key, {}) for key, _ in CLASS_SCORES.values()}
        for key, metrics in runs[run].items():
            place = f"{run}: {part.dataset}: metrics: {key}: per_class"
            check_typed(metrics.get("per_class", {}), dict[str, dict[str, float | None]], place)
    rows = class_rows(runs)
    if not rows:
        return []
    scores = list(dict.fromkeys(row.score for row in rows))
    values = {(row.name, row.score, run): row.runs.get(run) for row in rows for run in runs}
    names = list(dict.fromkeys(row.name for row in rows))
    names.sort(key=lambda name: _sort_key([values.get((name, scores[0], run)) for run in runs]))
    badges = _badges(part)
    lines = []
    for name in names:
        marks = [element("span", mark, class_="badge") for mark in badges.get(name, ())]
        cells: list[Any] = [element("td", name, marks, data_value=name)]
        for score in scores:
            each = [values.get((name, score, run)) for run in runs]
            cells += each
            cells += [difference(minus(each[1], each[0]))] if len(each) > 1 else []
        lines.append(cells)
    headers = ["class"]
    for score in scores:
        headers += (
            [f"{score}, {run}" for run in runs] + ["difference"] if len(runs) > 1 else [score]
        )
    return [
        element("h3", "Classes"),
        element("div", _class_charts(values, names, scores, list(runs)), class_="charts"),
        table(headers, lines, f"{len(names)} classes. A click on a header sorts.", sorts=True),
    ]


def _sort_key(values: Sequence[float | None]) -> float:
    """Of one run the score, of two the difference; what is not known comes last."""
    key = values[0] if len(values) == 1 else minus(values[1], values[0])
    return 1e9 if key is None else key


def _class_charts(
    values: Mapping[tuple[str, str, str], float | None],
    names: Sequence[str],
    scores: Sequence[str],
    runs: Sequence[str],
) -> list[Element]:
    charts = []
    for score in scores:
        each = {name: [values.get((name, score, run)) for run in runs] for name in names}
        known = {name: tuple(v for v in row if v is not None) for name, row in each.items()}
        points = {name: (row[0], row[-1]) for name, row in known.items() if len(row) == len(runs)}
        if not points:
            continue
        if len(runs) > 1:
            title = f"{score} of every class"
            charts.append(figure(title, scatter(points, (runs[0], runs[1]))))
        else:
            chart = histogram([[row[0] for row in points.values()]])
            charts.append(figure(f"number of classes by {score}", chart))
    return charts


def _badges(part: Part) -> dict[str, list[str]]:
    """Class -> "unseen" and "stuff", where counts say what the classes of the groups are."""
    badges: dict[str, list[str]] = {}
    for counts in part.counts.values():
        for group in ("unseen", "stuff"):
            for index in counts.groups.get(group, ()):
                marks = badges.setdefault(counts.classes[index], [])
                if group not in marks:
                    marks.append(group)
    return badges
