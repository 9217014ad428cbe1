"""Oracles and near misses of mIoU, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from frozenseg.evaluation.averages import class_groups
from frozenseg.evaluation.label_diagnosis import (
    COUNTS,
    LabelDiagnosis,
    connected_regions,
    label_counts,
    open_counts,
    renamed_regions,
)
from frozenseg.evaluation.segment_diagnosis import ORACLES
from frozenseg.evaluation.semantic_iou import confusion_matrix, semantic_scores
from frozenseg.evaluation.word_similarity import Similarity

NAMES = ("cat", "dog", "sky")
GROUPS = class_groups([True, True, False])
TRUTH = np.array([[0, 0, 1, 1], [2, 2, 2, 2]]).repeat(2, 0)


def diagnosed(truth, labels, cosine=None, **options):
    evaluator = LabelDiagnosis(NAMES, GROUPS, 255, cosine, **options)
    evaluator.diagnose(truth, labels)
    return evaluator.evaluate()


def miou(scores):
    return [scores["oracles"]["mIoU"][name]["all"] for name in ORACLES]


def test_perfect_renamed_and_blind_models():
    assert miou(diagnosed(TRUTH, TRUTH)) == [100, 100, 100]
    cats = np.where(TRUTH == 1, 0, TRUTH)
    assert cats.tolist() != TRUTH.tolist()
    # One region of cat and dog together; half of it is cat, which comes first.
    real = 100 * (1 / 2 + 0 + 1) / 3
    assert miou(diagnosed(TRUTH, cats))[:2] == pytest.approx([real, real])
    dogs_as_sky = np.where(TRUTH == 0, 1, TRUTH)
    dogs_as_sky[:, 2:][TRUTH[:, 2:] == 1] = 0  # cat and dog exchanged: names alone are wrong
    assert miou(diagnosed(TRUTH, dogs_as_sky)) == pytest.approx([100 / 3, 100 / 3, 100])
    assert miou(diagnosed(TRUTH, np.full_like(TRUTH, -1))) == [0, 0, 0]


def test_true_masks_mend_outlines():
    """A quarter of the cat is sky."""
    labels = TRUTH.copy()
    labels[1, 1] = 2
    scores = diagnosed(TRUTH, labels, with_confusions=True)
    assert miou(scores) == pytest.approx(
        [100 * (3 / 4 + 1 + 8 / 9) / 3, 100, 100 * (3 / 4 + 1 + 8 / 9) / 3]
    )
    assert scores["confusions"] == [
        {"truth": "cat", "predicted": "sky", "count": 1, "cosine": None}
    ]


def test_regions_are_connected_by_sides_and_have_one_label():
    labels = np.array([[0, 1, 1], [1, 0, -1], [1, 0, 2]])
    regions = connected_regions(labels)
    assert regions[1, 2] == 0
    assert len(np.unique(regions)) == 6
    assert regions[1, 1] == regions[2, 1] != regions[0, 0]


def test_regions_get_the_most_frequent_name_or_none():
    labels = np.array([[0, 0, 0, 1]])
    assert renamed_regions(labels, np.array([[2, 2, 1, -1]])).tolist() == [[2, 2, 2, -1]]


def test_one_invented_region():
    """A third of the sky is a cat, where no cat is: mIoU of dog 1, of sky 8/12."""
    truth, labels = np.where(TRUTH == 0, 2, TRUTH), np.where(TRUTH == 0, 2, TRUTH)
    labels[3] = 0
    real = 100 * (1 + 8 / 12) / 2
    assert miou(diagnosed(truth, labels)) == pytest.approx([real, 100, 100])


def test_unlabelled_pixels_count_nowhere():
    truth = np.where(TRUTH == 2, -1, TRUTH)
    assert miou(diagnosed(truth, TRUTH)) == [100, 100, 100]


def test_near_misses_of_labels():
    """4 pixels of dog called cat with similarity 1/4: 1 is correct, 3 are the cat's mistakes."""
    similarity = np.eye(3)
    similarity[1, 0] = 0.25
    pairs, pixels = np.array([[0, 0], [1, 0], [2, 2], [2, -1]]), np.array([4, 4, 6, 2])
    assert open_counts(pairs, pixels, similarity).tolist() == [[4, 4, 7], [1, 4, 1], [6, 8, 6]]


@given(st.integers(0, 2**16))
def test_counts_are_those_of_the_confusion_matrix_also_through_pairs(seed):
    generator = np.random.default_rng(seed)
    truth, labels = generator.integers(-1, 3, (2, 5, 6))
    counts = label_counts(truth, labels, 3)
    confusion = confusion_matrix(truth, labels, 3)
    assert counts[:, 0].tolist() == np.diag(confusion).tolist()
    same = Similarity("same", np.eye(3, dtype=np.float32))
    evaluator = LabelDiagnosis(NAMES, GROUPS, 255, None, [same])
    evaluator.diagnose(truth, labels)
    scores = evaluator.evaluate()
    plain = semantic_scores(confusion, GROUPS, NAMES)["ground_truth"]["all"]["mIoU"]
    assert scores["oracles"]["mIoU"]["real"]["all"] == pytest.approx(plain, nan_ok=True)
    if scores["open"]:
        assert scores["open"]["same"]["mIoU"]["all"] == pytest.approx(plain, nan_ok=True)


@given(st.integers(0, 2**16), st.permutations(range(3)))
def test_classes_have_no_order(seed, order):
    """Scores and near misses alike; oracles but for ties."""
    generator, order = np.random.default_rng(seed), np.array(order)
    truth, labels = generator.integers(-1, 3, (2, 5, 6))
    near = generator.random((3, 3)).astype(np.float32)
    renamed = np.empty_like(near)
    renamed[np.ix_(order, order)] = near
    new_truth, new_labels = (np.where(x < 0, -1, order[x.clip(0)]) for x in (truth, labels))
    before, after = (
        LabelDiagnosis(NAMES, class_groups([True] * 3), 255, None, [Similarity("random", each)])
        for each in (near, renamed)
    )
    before.diagnose(truth, labels)
    after.diagnose(new_truth, new_labels)
    assert (after.counts[order, : len(COUNTS)] == before.counts[:, : len(COUNTS)]).all()
    one, other = (each.evaluate()["open"].get("random") for each in (before, after))
    assert one is None or other["mIoU"]["all"] == pytest.approx(one["mIoU"]["all"])


def test_images_add_up():
    both = LabelDiagnosis(NAMES, GROUPS, 255)
    both.diagnose(TRUTH, TRUTH)
    both.diagnose(TRUTH, TRUTH[::-1])
    one, other = LabelDiagnosis(NAMES, GROUPS, 255), LabelDiagnosis(NAMES, GROUPS, 255)
    other.diagnose(TRUTH, TRUTH[::-1])
    one.diagnose(TRUTH, TRUTH)
    assert (one.counts + other.counts == both.counts).all()
    assert one.pairs + other.pairs == both.pairs
