"""The oracles of AP, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from frozenseg.evaluation.averages import class_groups
from frozenseg.evaluation.instance_ap import InstanceEvaluator
from frozenseg.evaluation.instance_truth import encode
from frozenseg.evaluation.object_diagnosis import ObjectDiagnosis, oracle_predictions
from frozenseg.evaluation.segment_diagnosis import ORACLES

NAMES = ("cat", "dog")


def box(left, width=10):
    mask = np.zeros((20, 40), dtype=bool)
    mask[5:15, left : left + width] = True
    return encode(mask)


def found(left, label, score=0.9, width=10):
    one = {"image_id": 1, "category_id": label, "score": score}
    return {**one, "segmentation": box(left, width)}


TRUTH = [
    {"image_id": 1, "category_id": 0, "iscrowd": 0, "area": 100, "segmentation": box(0)},
    {"image_id": 1, "category_id": 1, "iscrowd": 0, "area": 100, "segmentation": box(20)},
]


def ap(*predictions):
    scored = InstanceEvaluator(NAMES, class_groups([True, True], stuff=False))
    scored.images = [{"id": 1, "height": 20, "width": 40}]
    scored.truth, scored.predictions = TRUTH, list(predictions)
    scores = ObjectDiagnosis(scored).evaluate()["oracles"]["AP"]
    return [scores[name]["all"] for name in ORACLES]


def test_perfect_blind_and_renaming_models():
    assert ap(found(0, 0), found(20, 1)) == pytest.approx([100, 100, 100])
    assert ap() == pytest.approx([0, 0, 0])
    assert ap(found(0, 0), found(20, 0)) == pytest.approx([50, 50, 100])


def test_bad_outlines_are_what_oracle_masks_gain():
    assert ap(found(0, 0), found(24, 1)) == pytest.approx([50, 100, 50])


def test_one_invented_object():
    """Surer than the cat: its AP is 50. It touches no object that could give it a name."""
    invented = found(33, 0, score=0.95, width=5)
    assert ap(found(0, 0), found(20, 1), invented) == pytest.approx([75, 100, 75])
    assert ap(invented, found(20, 1), found(0, 0)) == pytest.approx([75, 100, 75])


def test_one_query_under_many_names_is_one_mask_under_the_true_one():
    masked, named = oracle_predictions(
        TRUTH, [found(0, 1, 0.4), found(0, 0, 0.3), found(33, 1, 0.2, 5)]
    )
    assert [(one["category_id"], one["score"]) for one in named] == [(0, 0.4), (1, 0.2)]
    assert [(one["category_id"], one["score"]) for one in masked] == [(1, 0.4)]


def test_crowds_give_no_names():
    crowd = [{**TRUTH[0], "iscrowd": 1}]
    assert oracle_predictions(crowd, [found(0, 1)]) == ([], [found(0, 1)])
