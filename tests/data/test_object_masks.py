"""RLE and polygons are checked as pycocotools draws them, and before it does."""

from __future__ import annotations

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from frozenseg.data.object_masks import polygon_problems, rle_problem, run_lengths_of

SIZE = (2, 3)


def test_the_runs_of_every_mask_that_pycocotools_writes_are_read():
    generator = np.random.default_rng(0)
    for _ in range(200):
        size = tuple(generator.integers(1, 90, 2))
        mask = generator.random(size) < generator.choice([0, 0.01, 0.5, 1])
        rle = coco_mask.encode(np.asfortranarray(mask, np.uint8))
        flat = mask.ravel(order="F")
        runs = np.diff([0, *(np.flatnonzero(np.diff(flat)) + 1), flat.size])
        np.testing.assert_array_equal(
            run_lengths_of(rle["counts"]), [0] * int(flat[0]) + list(runs)
        )
        assert rle_problem(rle, size) == ""
        assert rle_problem({**rle, "counts": rle["counts"].decode()}, size) == ""


@pytest.mark.parametrize(
    "counts", ["garbage", "", "~", "o" * 40, "é", b"\xff", "o", "0 1", "\0", "\ud800"]
)
def test_texts_that_are_no_counts(counts):
    assert rle_problem({"size": SIZE, "counts": counts}, SIZE) == "its counts are no run lengths"


@pytest.mark.parametrize(
    ("counts", "problem"),
    [
        ([], "its runs are 0 pixels, its image 6"),
        ([7], "its runs are 7 pixels"),
        ([-1, 7], "a run of -1 pixels"),
        ([2**70], "pixels, its image 6"),
        ("6", ""),
        ("N8", "a run of -2 pixels"),
        ([1, 5], ""),
    ],
)
def test_counts_must_fill_the_image(counts, problem):
    found = rle_problem({"size": [2, 3], "counts": counts}, SIZE)
    assert problem in found
    assert bool(problem) == bool(found)


def test_the_size_must_be_that_of_the_image_and_possible():
    assert "(height, width)" in rle_problem({"size": [3, 2], "counts": [6]}, SIZE)
    huge = (10**6, 10**6)
    assert "more than" in rle_problem({"size": huge, "counts": [10**12]}, huge)


def test_polygons_are_judged_one_by_one():
    polygons = [
        [0, 0, 3, 0, 3, 2],
        [0, 0, 3, np.nan, 3, 2, 0, 2],
        [0, 0, -np.inf, 0, 3, 2],
        [0, 0, 1e9, 0, 3, 2],
        [0, 0, 9, 0, 3, 2],
        [1, 1, 1, 1, 1, 1],
        [-9, -9, -8, -9, -8, -8],
        [-1, -1, 4, 0, 4, 3],
    ]
    found = polygon_problems([np.array(p, float) for p in polygons], SIZE)
    assert [(index, level) for index, level, _ in found] == [
        *((index, "error") for index in (1, 2, 3)),
        *((index, "warning") for index in (4, 5, 6)),
    ]
    words = ["finite", "finite", "far out", "reaches out", "no pixel", "no pixel"]
    assert all(word in problem for word, (*_, problem) in zip(words, found, strict=True))
    assert polygon_problems([], SIZE) == []
