"""Marks are where their values say."""

from __future__ import annotations

import pytest

from frozenseg.reporting.charts import Bar, bars, curve, differences, histogram, scatter


def test_bars_are_as_long_as_their_values():
    chart = bars({"all": [Bar(50.0, 40.0, 60.0), Bar(25.0)], "unseen": [None, Bar(0.0)]})
    lengths = [float(bar.get("width")) for bar in chart.iter("rect")]
    assert lengths == pytest.approx([lengths[0], lengths[0] / 2, 0])
    [whisker] = [line for line in chart.iter("line") if line.get("class") == "whisker"]
    left, middle, right = 40, 50, 60
    start, end = float(whisker.get("x1")), float(whisker.get("x2"))
    assert (end - start) / lengths[0] == pytest.approx((right - left) / middle)
    assert "all: 50.00 (40.00 to 60.00)" in "".join(chart.itertext())


def test_differences_lie_on_both_sides_of_zero():
    chart = differences({"all": Bar(4.0, 1.0, 7.0), "seen": Bar(-4.0, -8.0, 0.5)})
    better, unsure = chart.iter("circle")
    assert better.get("class") == "fill-1"
    assert unsure.get("class") == "dim"
    [zero] = {line.get("x1") for line in chart.iter("line") if line.get("class") == "zero"}
    places = [float(dot.get("cx")) - float(zero) for dot in (better, unsure)]
    assert places[0] == pytest.approx(-places[1])


def test_a_point_is_above_the_diagonal_if_the_second_run_is_better():
    chart = scatter({"a": (10.0, 90.0), "b": (90.0, 10.0), "c": (5.0, 5.0)}, ("x", "y"))
    dots = {"".join(dot.itertext())[0]: dot for dot in chart.iter("circle")}
    assert float(dots["a"].get("cy")) < float(dots["b"].get("cy"))
    assert [dots[name].get("class") for name in "abc"] == ["fill-1", "fill-0", "dim"]


def test_a_histogram_counts_every_value_once():
    chart = histogram([[0, 9.9, 10, 100], [50]])
    told = [text for text in chart.itertext() if ": " in text]
    assert [text for text in told if not text.endswith(": 0")] == [
        "0 to 10 %: 2",
        "10 to 20 %: 1",
        "90 to 100 %: 1",
        "50 to 60 %: 1",
    ]


def test_charts_of_nothing():
    assert list(curve([], ("x", "y")).iter("circle")) == []
    assert list(histogram([[]]).iter("rect"))
    assert list(scatter({}, ("x", "y")).iter("circle")) == []
