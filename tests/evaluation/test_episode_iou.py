"""mIoU and FB-IoU of items: hand-computed cases, order, processes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from frozenseg.evaluation.episode_iou import EpisodeEvaluator, item_confusion
from frozenseg.structures import BACKGROUND, IGNORED, OTHER_CLASS

NAMES = ("cat", "dog", "bus")
B, I, O = BACKGROUND, IGNORED, OTHER_CLASS


def item(truth, predicted, *asked):
    """(input, output) of an item."""
    truth, predicted = (torch.tensor(labels, dtype=torch.int32) for labels in (truth, predicted))
    sample = {"file_name": "a.jpg", "image_id": "a", "labels": truth, "asked": asked}
    return sample, {"semantic_labels": predicted}


def counts_of(items):
    evaluator = EpisodeEvaluator(NAMES)
    for sample, output in items:
        evaluator.process([sample], [output])
    return evaluator


def scores_of(*items):
    return counts_of(items).evaluate()["episodes"]


def test_two_items_of_one_class_and_one_of_another_by_hand():
    found = scores_of(
        item([[0, 0, B, B]], [[0, B, 0, B]], 0),  # cat: 1 of 3; background 1 of 3
        item([[0, 0, 0, 0]], [[0, 0, 0, B]], 0),  # cat: 3 of 4; background 0 of 1
        item([[1, B, B, B]], [[1, 1, B, B]], 1),  # dog: 1 of 2; background 2 of 3
    )
    assert found["per_class"] == {
        "cat": {"IoU": pytest.approx(100 * 4 / 7), "items": 2},
        "dog": {"IoU": pytest.approx(100 * 1 / 2), "items": 1},
    }
    assert found["mIoU"] == pytest.approx(100 * (4 / 7 + 1 / 2) / 2)
    assert found["foreground_IoU"] == pytest.approx(100 * 5 / 9)
    assert found["background_IoU"] == pytest.approx(100 * 3 / 7)
    assert found["FB_IoU"] == pytest.approx(100 * (5 / 9 + 3 / 7) / 2)
    assert (found["items"], found["classes"]) == (3, 2)


def test_ignored_pixels_count_nowhere_and_other_classes_are_background():
    found = scores_of(item([[0, 1, O, I, I, B]], [[0, 0, B, 0, B, 2]], 0))
    # cat: right at 1 pixel, wrongly at dog's; held-out class, dog and a wrong bus: background
    assert found["per_class"] == {"cat": {"IoU": 50.0, "items": 1}}
    assert found["foreground_IoU"] == 50
    assert found["background_IoU"] == pytest.approx(100 * 2 / 3)


def test_classes_asked_together_confuse_each_other_but_not_foreground():
    found = scores_of(item([[0, 0, 1, 1, B]], [[0, 1, 1, 0, 1]], 0, 1))
    assert found["per_class"]["cat"]["IoU"] == pytest.approx(100 / 3)
    assert found["per_class"]["dog"]["IoU"] == pytest.approx(100 / 4)
    assert found["foreground_IoU"] == pytest.approx(100 * 4 / 5)
    assert found["background_IoU"] == 0


def test_the_same_image_scores_each_class_in_its_own_item():
    truth = [[0, 1]]
    found = scores_of(item(truth, [[0, B]], 0), item(truth, [[B, B]], 1))
    assert {name: row["IoU"] for name, row in found["per_class"].items()} == {"cat": 100, "dog": 0}
    assert found["mIoU"] == 50


def test_a_perfect_model_scores_100():
    truth = np.random.default_rng(0).integers(-3, 3, (3, 20, 20))
    perfect = [
        item(labels, np.where(labels == asked, asked, B), asked)
        for asked, labels in enumerate(truth)
    ]
    found = scores_of(*perfect)
    assert all(found[key] == 100 for key in ("mIoU", "FB_IoU", "foreground_IoU"))
    assert found["classes"] == 3


def test_nothing_to_score_is_not_a_number():
    nothing = scores_of()
    assert all(math.isnan(nothing[key]) for key in ("mIoU", "FB_IoU", "background_IoU"))
    ignored = scores_of(item([[I, I]], [[0, B]], 0))
    assert math.isnan(ignored["mIoU"])
    assert ignored["per_class"] == {}
    absent = scores_of(item([[B, B]], [[B, B]], 2), item([[0]], [[0]], 0))
    assert absent["mIoU"] == 100
    assert list(absent["per_class"]) == ["cat"]


@pytest.fixture
def many():
    generator = np.random.default_rng(1)

    def labels(low):
        return generator.integers(low, 3, (6, 7))

    return [
        item(labels(-3), labels(-1), *generator.permutation(3)[: 1 + k % 3].tolist())
        for k in range(9)
    ]


def test_order_does_not_matter_and_counts_equal_a_plain_loop(many):
    found = scores_of(*many)
    assert scores_of(*many[::-1]) == found
    intersection, union = np.zeros(3), np.zeros(3)
    for sample, output in many:
        truth, predicted = sample["labels"].numpy(), output["semantic_labels"].numpy()
        for index in sample["asked"]:
            true, guess = (labels[truth != I] == index for labels in (truth, predicted))
            intersection[index] += (true & guess).sum()
            union[index] += (true | guess).sum()
    for index, name in enumerate(NAMES):
        value = 100 * intersection[index] / union[index]
        assert found["per_class"][name]["IoU"] == pytest.approx(value)


@pytest.mark.parametrize("parts", [2, 3, 9])
def test_processes_together_score_as_one(many, parts, monkeypatch):
    whole = scores_of(*many)
    split = [counts_of(many[rank::parts]) for rank in range(parts)]

    def gather(mine):
        return [mine, *(one.counts for one in split[1:])]

    monkeypatch.setattr("detectron2.utils.comm.gather", gather)
    assert split[0].evaluate()["episodes"] == whole
    monkeypatch.setattr("detectron2.utils.comm.is_main_process", lambda: False)
    assert split[0].evaluate() is None


@settings(max_examples=50)
@given(seed=st.integers(0, 999), asked=st.permutations(range(5)), count=st.integers(1, 5))
def test_every_scored_pixel_is_counted_once(seed, asked, count):
    generator = np.random.default_rng(seed)
    truth, predicted = generator.integers(-3, 6, (2, 8, 9))
    confusion = item_confusion(truth, predicted, asked[:count], 5)
    assert confusion.shape == (count + 1, count + 1)
    assert confusion.sum() == (truth != I).sum()
    first = asked[0]
    assert confusion[0, 0] == ((truth == first) & (predicted == first)).sum()


def test_scores_of_all_classes_serve_where_a_model_gives_no_labels():
    sample, output = item([[0, 1]], [[0, 1]], 0)
    one_hot = torch.eye(3)[output["semantic_labels"].long()].permute(2, 0, 1)
    evaluator = EpisodeEvaluator(NAMES)
    evaluator.process([sample], [{"sem_seg": one_hot}])
    assert evaluator.evaluate()["episodes"]["FB_IoU"] == 100


def test_outputs_and_items_that_do_not_fit_are_errors():
    with pytest.raises(ValueError, match=r"a\.jpg: .*shape \(1, 2\).*has \(2, 1\)"):
        scores_of(item([[0], [0]], [[0, 0]], 0))
    for asked in ((), (1, 1)):
        with pytest.raises(ValueError, match=r"a\.jpg: asks for the classes"):
            scores_of(item([[0]], [[0]], *asked))
