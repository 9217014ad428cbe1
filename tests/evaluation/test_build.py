"""Which evaluators a benchmark gets."""

from __future__ import annotations

from dataclasses import replace

import pytest

from frozenseg.data.catalog import find_benchmark, load_vocabulary
from frozenseg.evaluation.build import build_evaluators

ROW = find_benchmark("shapes_val_panoptic")
WORDS = load_vocabulary(ROW.vocabulary)


def kinds(row, tasks):
    return [type(one).__name__ for one in build_evaluators(row, WORDS, tasks)]


def test_tasks_of_the_model_and_of_the_ground_truth_meet():
    assert kinds(ROW, ["semantic", "panoptic"]) == ["PanopticEvaluator", "SemanticEvaluator"]
    only = replace(ROW, tasks=("semantic",))
    assert kinds(only, ["semantic", "panoptic", "instance"]) == ["SemanticEvaluator"]


def test_nothing_to_score_is_an_error_that_names_both():
    with pytest.raises(ValueError, match=r"'x'.*ground truth for semantic.*outputs panoptic"):
        kinds(replace(ROW, name="x", tasks=("semantic",)), ["panoptic"])
