"""Every image once, in one process and in two."""

from __future__ import annotations

from collections import Counter

import pytest

from frozenseg.evaluation import evaluators as coverage
from frozenseg.evaluation.evaluators import CoverageCheck


def records(*names):
    return [{"file_name": name} for name in names]


def test_all_images_once_is_in_order():
    check = CoverageCheck(2)
    check.process(records("a.jpg"), [{}])
    check.process(records("b.jpg"), [{}])
    assert check.evaluate() == {}


def test_missing_images_are_reported():
    check = CoverageCheck(3)
    check.process(records("a.jpg", "b.jpg"), [{}, {}])
    with pytest.raises(ValueError, match="2 of 3 images were scored"):
        check.evaluate()


def test_an_image_that_two_processes_scored_is_reported(monkeypatch):
    """PyTorch's DistributedSampler gives 3 images to 2 processes as (0, 2) and (1, 0)."""
    check = CoverageCheck(3)
    check.process(records("0.jpg", "2.jpg"), [{}, {}])
    other = Counter({"1.jpg": 1, "0.jpg": 1})
    monkeypatch.setattr(coverage.comm, "gather", lambda mine: [mine, other])
    with pytest.raises(ValueError, match=r"1 images were scored more than once, such as 0\.jpg"):
        check.evaluate()


def test_classes_of_an_image_that_are_asked_for_one_by_one_are_items():
    items = [{"file_name": "a.jpg", "asked": (index,)} for index in (0, 4)]
    check = CoverageCheck(2)
    check.process(items, [{}, {}])
    assert check.evaluate() == {}
    check.process(items[:1], [{}])
    with pytest.raises(ValueError, match=r"more than once, such as a\.jpg \(0,\)"):
        check.evaluate()
