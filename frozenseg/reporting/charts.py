"""Charts as SVG elements, in the colours of the page (report.css): run 0 and run 1.

Every mark has a title that a pointer shows. Lengths are pixels of the view box.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from frozenseg.reporting.elements import Content, Element, element

WIDTH, LEFT, RIGHT = 460, 120, 64
BAR, GAP, FOOT = 14, 8, 24
SIDE = 300  # of square charts
BINS = 10


class Bar(NamedTuple):
    """A value with, where it is known, its interval."""

    value: float
    low: float | None = None
    high: float | None = None


def figure(title: str, chart: Element) -> Element:
    """A chart under its title."""
    return element("figure", element("figcaption", title), chart)


def bars(rows: Mapping[str, Sequence[Bar | None]]) -> Element:
    """Bars from 0 to 100 percent. Args: rows: label -> a bar of each run, None without one."""
    scale = (WIDTH - LEFT - RIGHT) / 100
    marks: list[Content] = [_ticks(range(0, 101, 25), scale, _height(rows), 0)]
    top = 4
    for label, values in rows.items():
        marks.append(_label(label, top, len(values)))
        for run, bar in enumerate(values):
            y = top + run * BAR
            if bar is not None:
                told = element("title", f"{label}: {_told(bar)}")
                size = {"x": LEFT, "y": y + 1, "width": bar.value * scale, "height": BAR - 3}
                marks.append(element("rect", told, class_=f"fill-{run}", **size))
                end = max(bar.value, bar.high or 0)
                marks.append(_whisker(bar, lambda value: LEFT + value * scale, y + BAR / 2))
                text = f"{bar.value:.1f}"
                marks.append(element("text", text, x=LEFT + end * scale + 5, y=y + BAR - 3))
        top += len(values) * BAR + GAP
    return _svg(WIDTH, _height(rows), marks, "bars: " + ", ".join(rows))


def differences(rows: Mapping[str, Bar]) -> Element:
    """Differences in points as dots with their intervals around a line at 0."""
    reach = max([1.0, *(abs(end) for bar in rows.values() for end in bar if end is not None)])
    middle = (WIDTH + LEFT - RIGHT) / 2
    scale = (WIDTH - LEFT - RIGHT) / 2 / reach
    height = _height(dict.fromkeys(rows, (None,)))
    marks: list[Content] = [_ticks((-reach, 0, reach), scale, height, middle, "+.1f")]
    for number, (label, bar) in enumerate(rows.items()):
        top = 4 + number * (BAR + GAP)
        y, sure = top + BAR / 2, (bar.low or 0) > 0 or (bar.high or 0) < 0
        marks.append(_label(label, top, 1))
        marks.append(_whisker(bar, lambda value: middle + value * scale, y))
        told = element("title", f"{label}: {_told(bar, '+.2f')}")
        shade = "dim" if not sure else "fill-1" if bar.value > 0 else "fill-0"
        place = {"cx": middle + bar.value * scale, "cy": y, "r": 5}
        marks.append(element("circle", told, class_=shade, **place))
        marks.append(element("text", f"{bar.value:+.1f}", x=WIDTH - RIGHT + 8, y=y + 4))
    return _svg(WIDTH, height, marks, "differences: " + ", ".join(rows))


def scatter(points: Mapping[str, tuple[float, float]], names: tuple[str, str]) -> Element:
    """Percent of two runs against each other, a dot for each name; above the line the second."""
    frame = _Square(names)
    dots = [
        element(
            "circle",
            element("title", f"{name}: {x:.1f}, {y:.1f}"),
            cx=frame.x(x), cy=frame.y(y), r=4, fill_opacity=0.6,
            class_="dim" if x == y else "fill-1" if y > x else "fill-0",
        )
        for name, (x, y) in points.items()
    ]  # fmt: skip
    return frame.svg(dots, f"{len(points)} points")


def curve(points: Sequence[tuple[float, float, str]], names: tuple[str, str]) -> Element:
    """A line through (x, y, what the pointer is told), in percent, and the diagonal."""
    frame = _Square(names)
    line = " ".join(f"{frame.x(x):.1f},{frame.y(y):.1f}" for x, y, _ in points)
    dots = [
        element(
            "circle", element("title", said), cx=frame.x(x), cy=frame.y(y), r=4, class_="fill-0"
        )
        for x, y, said in points
    ]
    return frame.svg([element("polyline", points=line, class_="line-0", stroke_width=2), dots], "")


def histogram(runs: Sequence[Sequence[float]]) -> Element:
    """How many values lie in each tenth of 0 to 100 percent, the runs side by side."""
    counts = [[0] * BINS for _ in runs]
    for mine, values in zip(counts, runs, strict=True):
        for value in values:
            mine[min(int(value * BINS / 100), BINS - 1)] += 1
    most = max(1, *(count for mine in counts for count in mine))
    height, left, right = 150, 34, 20
    step = (WIDTH - left - right) / BINS
    marks: list[Content] = []
    for run, mine in enumerate(counts):
        width = (step - 4) / len(runs)
        for place, count in enumerate(mine):
            size = (height - 16) * count / most
            told = f"{place * 100 // BINS} to {(place + 1) * 100 // BINS} %: {count}"
            box = {"x": left + place * step + run * width, "y": height - size, "width": width - 1}
            marks.append(
                element("rect", element("title", told), class_=f"fill-{run}", height=size, **box)
            )
    for place in range(0, BINS + 1, 2):
        x = left + place * step
        marks.append(element("text", str(place * 100 // BINS), x=x, y=height + 16, **MIDDLE))
    marks.append(element("line", x1=left, x2=WIDTH - right, y1=height, y2=height, class_="axis"))
    marks.append(element("text", str(most), x=left - 5, y=26, text_anchor="end"))
    return _svg(WIDTH, height + FOOT, marks, "histogram")


MIDDLE = {"text_anchor": "middle"}


class _Square:
    """A frame with percent on both axes and the diagonal."""

    def __init__(self, names: tuple[str, str]) -> None:
        self.names = names
        self.left, self.top = 46, 8

    def x(self, value: float) -> float:
        return self.left + value * SIDE / 100

    def y(self, value: float) -> float:
        return self.top + (100 - value) * SIDE / 100

    def svg(self, marks: Content, label: str) -> Element:
        lines = []
        for tick in (0, 25, 50, 75, 100):
            x, y = self.x(tick), self.y(tick)
            lines += [
                element("line", x1=x, x2=x, y1=self.y(0), y2=self.y(100), class_="axis"),
                element("line", x1=self.x(0), x2=self.x(100), y1=y, y2=y, class_="axis"),
                element("text", str(tick), x=x, y=self.y(0) + 16, **MIDDLE),
                element("text", str(tick), x=self.left - 5, y=y + 4, text_anchor="end"),
            ]
        ends = {"x1": self.x(0), "y1": self.y(0), "x2": self.x(100), "y2": self.y(100)}
        lines.append(element("line", class_="zero", **ends))
        middle, turned = self.x(50), f"translate(12 {self.y(50)}) rotate(-90)"
        bottom = self.y(0) + 34
        across, up = (f"{name[:40]}" for name in self.names)
        lines.append(element("text", across, x=middle, y=bottom, **MIDDLE))
        lines.append(element("text", up, transform=turned, **MIDDLE))
        made = _svg(self.left + SIDE + 16, bottom + 6, [lines, marks], label)
        made.set("class", "square")
        return made


def _svg(width: float, height: float, marks: Content, label: str) -> Element:
    return element("svg", marks, viewBox=f"0 0 {width:g} {height:g}", role="img", aria_label=label)


def _height(rows: Mapping[str, Sequence[object]]) -> float:
    return sum(len(values) * BAR + GAP for values in rows.values()) + FOOT


def _label(text: str, top: float, lines: int) -> Element:
    y = top + lines * BAR / 2 + 4
    return element("text", text.replace("_", " "), x=LEFT - 8, y=y, text_anchor="end")


def _whisker(bar: Bar, x: Callable[[float], float], y: float) -> Element | None:
    if bar.low is None or bar.high is None:
        return None
    return element("line", x1=x(bar.low), x2=x(bar.high), y1=y, y2=y, class_="whisker")


def _ticks(
    values: Sequence[float], scale: float, height: float, middle: float, form: str = "g"
) -> list[Element]:
    """Upright lines with their values below. Args: middle: where 0 is; 0: at the left."""
    marks = []
    for value in values:
        x = (middle or LEFT) + value * scale
        shade = "zero" if middle and not value else "axis"
        marks.append(element("line", x1=x, x2=x, y1=0, y2=height - FOOT + 4, class_=shade))
        marks.append(
            element("text", f"{value:{form}}" if value else "0", x=x, y=height - 6, **MIDDLE)
        )
    return marks


def _told(bar: Bar, form: str = ".2f") -> str:
    ends = "" if bar.low is None else f" ({bar.low:{form}} to {bar.high:{form}})"
    return f"{bar.value:{form}}{ends}"
