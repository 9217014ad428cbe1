"""Intervals against cases counted by hand, and their coverage on simulated runs."""

from __future__ import annotations

import numpy as np
import pytest

from frozenseg.evaluation.bootstrap import (
    Interval,
    difference_over_folds,
    draw_images,
    draw_scores,
    intervals,
    intervals_of_means,
    paired,
    statement,
)
from frozenseg.evaluation.per_image import PerImage, sorted_rows

ABOUT = {"benchmark": "b", "dataset": "d", "split": "val", "config_hash": "1"}


def record(counts_NCK, kind="panoptic", images=None, groups=None):
    """The counts of N images, C classes; rows of zeros are left out, as an evaluation does."""
    counts = np.asarray(counts_NCK, dtype=float)
    image, classes = np.nonzero(counts.any(-1))
    names = list(range(len(counts))) if images is None else images
    return PerImage(
        {**ABOUT, "checkpoint_hash": None},
        [f"class {i}" for i in range(counts.shape[1])],
        groups or {"all": list(range(counts.shape[1]))},
        names,
        [f"{name}.png" for name in names],
        {kind: sorted_rows(image, classes, counts[image, classes])},
    )


# Two images, two classes: tp, fp, fn, iou.
FIRST = [[[1, 0, 0, 0.8], [0, 0, 0, 0]], [[0, 0, 1, 0], [0, 1, 1, 0]]]
SECOND = [[[1, 0, 0, 0.8], [0, 0, 0, 0]], [[1, 0, 0, 0.6], [0, 0, 1, 0]]]


def test_scores_of_every_draw_of_two_images_by_hand():
    """Both images once; the first one twice; the second one twice."""
    times_ND = np.array([[1, 2, 0], [1, 0, 2]], dtype=float)
    scores = draw_scores(record(FIRST), "panoptic", times_ND)["all"]
    # Class 0: 0.8 / 1.5; 1.6 / 2; 0. Class 1: 0; does not occur; 0.
    np.testing.assert_allclose(scores, [100 * 0.8 / 1.5 / 2, 80, 0])
    scores = draw_scores(record(SECOND), "panoptic", times_ND)["all"]
    np.testing.assert_allclose(scores, [35, 80, 30])


def test_a_difference_lies_between_those_of_the_draws_by_hand():
    """A quarter of the draws has difference 0, a quarter 30, the others 35 - 26.67."""
    [found] = intervals(record(FIRST), record(SECOND), draws=400)
    assert (found.score, found.group) == ("PQ", "all")
    np.testing.assert_allclose(found.runs, [80 / 3, 35])
    np.testing.assert_allclose([found.value, found.low, found.high], [25 / 3, 0, 30])
    assert not found.is_sure


def test_a_difference_over_folds_draws_the_pictures_that_they_share_by_hand():
    """One class, one item on each of two pictures: intersection, union, items.

    In draws with both pictures, the first or the second alone fold 0 differs by 25, 50 and 0
    points, fold 1 by 0, -25 and 25.
    """
    fold_0 = (
        record([[[2, 4, 1]], [[2, 4, 1]]], "episodes"),
        record([[[4, 4, 1]], [[2, 4, 1]]], "episodes"),
    )
    fold_1 = (
        record([[[2, 4, 1]], [[1, 4, 1]]], "episodes"),
        record([[[1, 4, 1]], [[2, 4, 1]]], "episodes"),
    )
    alone = difference_over_folds([[fold_0]], draws=400)
    assert alone == Interval("mIoU of items", "all", (50, 75), 25, 0, 50)
    both = difference_over_folds([[fold_0], [fold_1]], draws=400)
    assert both == Interval("mIoU of items", "all", (43.75, 56.25), 12.5, 12.5, 12.5)
    # Two trainings in fold 0: 25 points and none; a fold weighs as much as the other.
    twice = difference_over_folds([[fold_0, (fold_0[0], fold_0[0])], [fold_1]], draws=400)
    assert (twice.value, twice.low, twice.high) == (6.25, 0, 12.5)


def test_means_of_several_trainings_by_hand():
    """Means of the runs on each draw; the runs' order of images and number do not matter."""
    first, second = record(FIRST), record(SECOND)
    turned = record(SECOND[::-1], images=[1, 0])
    [found] = intervals_of_means([[first, first], [second, turned, first]], draws=400)
    np.testing.assert_allclose(found.runs, [80 / 3, (2 * 35 + 80 / 3) / 3])
    np.testing.assert_allclose([found.value, found.low, found.high], [50 / 9, 0, 20])
    [alone] = intervals_of_means([[first, second]])
    np.testing.assert_allclose([alone.value, alone.low, alone.high], [(80 / 3 + 35) / 2, 15, 80])


def test_iou_by_hand():
    """Right, truth and predicted pixels; a class that is only predicted takes no part."""
    counts = [[[6, 8, 10], [0, 0, 4]], [[0, 4, 0], [5, 5, 5]]]
    times_ND = np.array([[1, 2, 0], [1, 0, 2]], dtype=float)
    scores = draw_scores(record(counts, "semantic"), "semantic", times_ND)["all"]
    np.testing.assert_allclose(scores, [100 * (6 / 16 + 5 / 9) / 2, 50, 50])


def test_draws_have_all_images_and_are_seeded():
    times = draw_images(7, 50, seed=3)
    assert times.shape == (7, 50)
    assert (times.sum(0) == 7).all()
    assert np.array_equal(times, draw_images(7, 50, seed=3))
    assert not np.array_equal(times, draw_images(7, 50, seed=4))


def test_equal_runs_have_the_interval_0_0_in_whatever_order_the_images_are():
    counts = np.random.default_rng(0).random((40, 5, 4)) * 3
    order = np.random.default_rng(1).permutation(40)
    shuffled = record(counts[order], images=order.tolist())
    for found in intervals(record(counts), shuffled):
        assert (found.value, found.low, found.high) == (0, 0, 0)
    assert "are equal on every draw" in statement(found, "a", "b")


def test_images_are_matched_by_id():
    first, second = record(FIRST), record(SECOND[::-1], images=[1, 0])
    assert intervals(first, second) == intervals(first, record(SECOND))
    assert paired(first, second).images == first.images


def test_swapping_the_runs_turns_the_interval_around():
    generator = np.random.default_rng(2)
    first, second = (record(generator.random((30, 4, 4))) for _ in range(2))
    [there], [back] = intervals(first, second), intervals(second, first)
    mirrored = [-there.value, -there.high, -there.low]
    np.testing.assert_allclose([back.value, back.low, back.high], mirrored)


def test_classes_that_a_draw_lacks_do_not_take_part():
    counts = [[[1, 0, 0, 0.5]], [[0, 0, 0, 0]]]
    scores = draw_scores(record(counts), "panoptic", np.array([[0.0], [2.0]]))["all"]
    assert np.isnan(scores).all()
    groups = {"all": [0], "unseen": []}
    assert [one.group for one in intervals(record(counts, groups=groups))] == ["all"]


def test_groups_that_the_runs_do_not_share_are_left_out():
    first = record(FIRST, groups={"all": [0, 1], "seen": [0]})
    second = record(SECOND, groups={"all": [0, 1], "seen": [1], "unseen": [0]})
    assert [one.group for one in intervals(first, second)] == ["all"]


def test_one_run_has_an_interval_around_its_score():
    generator = np.random.default_rng(5)
    [found] = intervals(record(generator.random((50, 3, 4))))
    assert found.runs == (found.value,)
    assert found.low < found.value < found.high


def test_runs_that_cannot_be_compared_are_named_with_their_counts():
    three = [*FIRST, FIRST[0]]
    for other, message in (
        (
            record(three),
            "2 and 3 images, of which 0 are only in the first and 1 only in the",
        ),
        (record(FIRST, images=[1, 7]), "1 are only in the first and 1 only in the second"),
        (record(np.zeros((2, 3, 4))), "2 and 3 classes"),
    ):
        with pytest.raises(ValueError, match=message):
            intervals(record(FIRST), other)


def simulate(generator, images, gain):
    """Runs of 6 classes: images differ in how hard they are; the second one finds `gain` more."""
    hard = generator.beta(4, 2, (images, 1))
    there = generator.random((images, 6)) < 0.6
    runs = []
    for more in (0.0, gain):
        found = there & (generator.random((images, 6)) < np.clip(hard + more, 0, 1))
        wrong = generator.random((images, 6)) < 0.1
        iou = found * generator.uniform(0.6, 1, (images, 6))
        runs.append(np.stack([found, wrong, there & ~found, iou], axis=-1).astype(float))
    return runs


@pytest.mark.slow
def test_the_interval_covers_the_true_difference_in_95_of_100_simulated_comparisons():
    generator, covered = np.random.default_rng(6), 0
    once = np.ones((200_000, 1))
    truth = np.subtract(
        *(
            draw_scores(record(run), "panoptic", once)["all"][0]
            for run in simulate(generator, len(once), 0.05)[::-1]
        )
    )
    repeats = 300
    for seed in range(repeats):
        first, second = simulate(generator, 80, 0.05)
        [found] = intervals(record(first), record(second), draws=300, seed=seed)
        covered += found.low <= truth <= found.high
    assert 0.91 <= covered / repeats <= 0.98  # 0.95, three standard errors


def test_statements():
    sure = Interval("PQ", "all", (50.0, 53.0), 3.0, 1.0, 5.0)
    assert statement(sure, "a", "b") == (
        "PQ of all classes: b is better than a (+3.00 points, 95 % interval +1.00 to +5.00)"
    )
    worse = Interval("PQ", "unseen_things", (50.0, 47.0), -3.0, -5.0, -1.0)
    assert "PQ of unseen things classes: b is worse than a (-3.00" in statement(worse, "a", "b")
    assert "cannot be told apart" in statement(sure._replace(low=-1.0), "a", "b")
