"""Recall and class accuracy of regions on cases counted by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from frozenseg.evaluation.averages import class_groups
from frozenseg.evaluation.regions import count_image, region_ious, region_scores


def strip(*pixels: int) -> np.ndarray:
    mask = np.zeros(10, dtype=bool)
    mask[list(pixels)] = True
    return mask


REGIONS = np.stack([strip(0, 1, 2, 3), strip(5, 6, 7, 8, 9)])


def test_iou_of_every_pair():
    masks = np.stack([strip(0, 1, 2, 3), strip(2, 3, 4, 5), strip()])
    np.testing.assert_allclose(region_ious(masks, REGIONS), [[1, 2 / 6, 0], [0, 1 / 8, 0]])


def test_found_regions_and_right_names():
    # Region 0: IoU 3/4 with a proposal of the right class. Region 1: IoU 1, but another class.
    masks = np.stack([strip(0, 1, 2), strip(5, 6, 7, 8, 9), strip(5)])
    counts = count_image(masks, np.array([0, 2, 1]), REGIONS, np.array([0, 1]), 3)
    assert counts.tolist() == [[1, 1, 0, 0, 1], [1, 1, 1, 1, 0], [0, 0, 0, 0, 0]]


def test_the_largest_overlap_names_the_region():
    masks = np.stack([strip(0, 1, 2), strip(0, 1, 2, 3)])
    counts = count_image(masks, np.array([0, 1]), REGIONS[:1], np.array([0]), 2)
    assert counts[0].tolist() == [1, 1, 1, 1, 0]


@pytest.mark.parametrize("proposals", [0, 2])
def test_no_proposals_or_no_regions(proposals):
    masks, classes = np.zeros((proposals, 10), dtype=bool), np.zeros(proposals, dtype=np.int64)
    counts = count_image(masks, classes, REGIONS, np.array([1, 1]), 2)
    assert counts.tolist() == [[0] * 5, [2, 0, 0, 0, 0]]
    nothing = count_image(masks, classes, REGIONS[:0], np.zeros(0, dtype=np.int64), 2)
    assert not nothing.any()


def test_groups_pool_their_regions():
    counts = np.array([[3, 3, 2, 0, 1], [1, 0, 0, 0, 0], [0, 0, 0, 0, 0]], dtype=float)
    groups = class_groups([True, True, False], seen=[True, False, False])
    scores = region_scores(counts, groups, ("a", "b", "c"))
    assert scores["all"]["recall50"] == 75
    assert scores["seen"]["accuracy"] == pytest.approx(100 / 3)
    assert scores["unseen"]["recall50"] == 0
    assert math.isnan(scores["unseen"]["accuracy"])
    assert math.isnan(scores["stuff"]["recall50"])
    assert set(scores["per_class"]) == {"a", "b"}
