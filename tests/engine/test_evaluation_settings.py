"""What a model computes while a data set is scored, and that its scores stay the same."""

from __future__ import annotations

from dataclasses import replace

import pytest
from torch import nn

from frozenseg.data.catalog import find_benchmark
from frozenseg.engine.evaluation_settings import settings_for
from frozenseg.inference.task_heads import TaskSettings

ROW = find_benchmark("shapes_val_panoptic")
ALL = TaskSettings(proposals=True, object_mask_threshold=0.1, semantic_at_padded_size=True)


def inside(row, scored, settings=ALL):
    model = nn.Identity()
    model.task_settings = settings
    with settings_for(model, row, scored):
        found = model.task_settings
    assert model.task_settings is settings
    return found


def test_semantic_scores_become_labels_and_the_rest_stays():
    found = inside(ROW, ["panoptic", "instance", "semantic", "regions"])
    assert found == replace(ALL, semantic_argmax_only=True)


def test_tasks_without_ground_truth_are_left_out():
    found = inside(ROW, ["semantic"])
    assert (found.panoptic, found.instance, found.proposals) == (False, False, False)
    assert found.semantic
    assert found.semantic_at_padded_size
    assert not inside(ROW, ["panoptic"]).semantic


def test_instances_keep_the_panoptic_task_which_decides_about_stuff():
    assert inside(ROW, ["instance"]).panoptic
    assert not inside(ROW, ["instance"], replace(ALL, panoptic=False)).panoptic


def test_the_threshold_of_a_row_goes_before_the_models():
    bdd = find_benchmark("bdd10k_40_panoptic_val")
    assert inside(bdd, ["panoptic"]).object_mask_threshold == 0.4
    assert inside(ROW, ["panoptic"]).object_mask_threshold == 0.1


def test_the_settings_come_back_after_an_error_and_other_models_are_left_alone():
    model = nn.Identity()
    model.task_settings = ALL
    with pytest.raises(KeyError), settings_for(model, ROW, ["semantic"]):
        raise KeyError
    assert model.task_settings is ALL
    plain = nn.Identity()
    with settings_for(plain, ROW, ["semantic"]):
        assert not hasattr(plain, "task_settings")
