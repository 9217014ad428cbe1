"""Words that no image holds, and single words, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from frozenseg.data.reading import rgb_of_ids
from frozenseg.evaluation.absent_words import (
    QueryScores,
    WordScores,
    absent_pool,
    draw_words,
    matthews,
    presence_scores,
)
from frozenseg.evaluation.averages import class_groups
from frozenseg.evaluation.segment_table import segment_table

IDS = np.kron(np.array([[1, 2]]), np.ones((10, 10), dtype=np.int64))
TRUTH = [{"id": 1, "category_id": 0, "iscrowd": 0}, {"id": 2, "category_id": 1, "iscrowd": 0}]


def test_words_that_share_a_part_with_a_class_may_be_there():
    pool = ["polar bear", "Bears", "tree", "tree ", "bus", "top of the hat", "hat"]
    assert absent_pool([("bear", "teddy"), ("coach", "bus")], pool) == [
        "tree",
        "top of the hat",
        "hat",
    ]


def test_draws_are_seeded_nested_and_near_or_far():
    closest = np.linspace(0, 1, 100)
    near, far = (draw_words(closest, 10, distance, seed=3) for distance in ("near", "far"))
    assert min(near) >= 50 > max(far)
    assert draw_words(closest, 40, "near", seed=3)[:10] == near
    assert draw_words(closest, 10, "near", seed=4) != near
    assert sorted(draw_words(closest, 100, "far", seed=3)) == list(range(100))


@pytest.fixture
def record(tmp_path):
    path = tmp_path / "1.png"
    Image.fromarray(rgb_of_ids(IDS)).save(path)
    return {"pan_seg_file_name": str(path), "file_name": "1.jpg", "segments_info": TRUTH}


def answer(*labels):
    """The right masks under these names."""
    found = [{"id": i, "category_id": label, "score": 0.5} for i, label in enumerate(labels, 1)]
    return {
        "panoptic_seg": (torch.from_numpy(IDS), found),
        "semantic_labels": torch.tensor(labels)[torch.from_numpy(IDS) - 1],
    }


def scores(record, *outputs):
    evaluator = WordScores(("cat", "dog", "sky"), class_groups([True, True, False]), 255)
    for output in outputs:
        evaluator.process([record], [output])
    return evaluator.evaluate()


def test_further_words_take_what_they_take(record):
    right = scores(record, answer(0, 1))
    assert (right["PQ"], right["mIoU"], right["false_segments"]) == (100, 100, 0)
    lost = scores(record, answer(0, 1), answer(0, 4))  # the second time, the dog is a further word
    assert lost["PQ"] == pytest.approx(100 * (1 + 2 / 3) / 2)
    assert lost["mIoU"] == pytest.approx(100 * (1 + 1 / 2) / 2)
    assert (lost["false_segments"], lost["of_absent_words"], lost["absent_pixels"]) == (
        0.5,
        0.5,
        25,
    )
    own = scores(record, answer(0, 2))
    assert (own["false_segments"], own["of_absent_words"]) == (1, 0)
    assert own["per_class"] == {"cat": 100, "dog": 0, "sky": 0}


def test_images_have_no_order(record):
    answers = [answer(0, 1), answer(0, 4), answer(2, 1), answer(1, 0)]
    assert scores(record, *answers) == scores(record, *answers[::-1])


def test_queries_by_hand():
    """Asked for the cat: found, with one mask too many; for sky, which is not there: nothing."""
    queries = QueryScores()
    found = [{"id": i, "category_id": 0, "score": s} for i, s in ((1, 0.9), (2, 0.4))]
    queries.add(segment_table(IDS, TRUTH, IDS, found), 0)
    queries.add(segment_table(IDS, TRUTH, np.zeros_like(IDS), []), 2)
    result = queries.evaluate()
    assert result["pmF1"] == pytest.approx(100 * 2 / 3)  # one hit, one wrong, none missed
    assert result["cgF1"] == pytest.approx(100 * 2 / 3)
    assert {key: result[key] for key in ("precision", "recall", "presence_AUC", "IL_MCC")} == {
        **{"precision": 100, "recall": 100, "presence_AUC": 100},
        "IL_MCC": pytest.approx(100),
    }
    assert QueryScores().evaluate() is None


def test_a_model_that_always_says_yes_has_no_correlation():
    present, said = np.array([True, False, True, False]), np.ones(4, dtype=bool)
    assert matthews(present, said) == 0
    found = presence_scores(present, said, np.array([0.5, 0.5, 0.9, 0.1]))
    assert (found["precision"], found["recall"]) == (50, 100)
    assert found["presence_AUC"] == pytest.approx(100 * 3.5 / 4)
    assert matthews(present, present) == 1
    assert matthews(present, ~present) == -1
