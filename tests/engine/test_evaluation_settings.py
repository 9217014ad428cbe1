"""What a model computes while a dataset is scored, and that its scores stay the same."""

from __future__ import annotations

from dataclasses import replace

import pytest
from torch import nn

from frozenseg.config import get_config
from frozenseg.data.catalog.lookup import find_split
from frozenseg.engine.evaluate import settings_for, with_row
from frozenseg.structures import TaskSettings
from tests.shapes_world import VAL

ROW = VAL
ALL = TaskSettings(query_masks=True, object_mask_threshold=0.1, semantic_at_padded_size=True)


def config():
    cfg = get_config()
    cfg.MODEL.MASK_FORMER.TEST.OBJECT_MASK_THRESHOLD = 0.1
    return cfg


def inside(row, scored, settings=ALL):
    model = nn.Identity()
    model.task_settings = settings
    with settings_for(model, with_row(config(), row), scored):
        found = model.task_settings
    assert model.task_settings is settings
    return found


def test_semantic_scores_become_labels_and_the_rest_stays():
    found = inside(ROW, ["panoptic", "instance", "semantic", "regions"])
    assert found == replace(ALL, semantic_argmax_only=True)


def test_tasks_without_ground_truth_are_left_out():
    found = inside(ROW, ["semantic"])
    assert (found.panoptic, found.instance, found.query_masks) == (False, False, False)
    assert found.semantic
    assert found.semantic_at_padded_size
    assert not inside(ROW, ["panoptic"]).semantic


def test_instances_keep_the_panoptic_task_which_decides_about_stuff():
    assert inside(ROW, ["instance"]).panoptic
    assert not inside(ROW, ["instance"], replace(ALL, panoptic=False)).panoptic


def test_the_threshold_of_a_row_goes_before_the_models():
    bdd = find_split("bdd10k_40_panoptic_val")
    assert inside(bdd, ["panoptic"]).object_mask_threshold == 0.4
    assert inside(ROW, ["panoptic"]).object_mask_threshold == 0.1


def test_the_settings_come_back_after_an_error_and_other_models_are_left_alone():
    model = nn.Identity()
    model.task_settings = ALL
    with pytest.raises(KeyError), settings_for(model, config(), ["semantic"]):
        raise KeyError
    assert model.task_settings is ALL
    plain = nn.Identity()
    with settings_for(plain, config(), ["semantic"]):
        assert not hasattr(plain, "task_settings")


def test_a_row_takes_precedence_over_the_config_which_stays_as_it_is():
    cfg = config()
    found = with_row(cfg, replace(ROW, test_size=(0, 0), object_mask_threshold=0.0))
    assert (found.INPUT.MIN_SIZE_TEST, found.INPUT.MAX_SIZE_TEST) == (0, 0)
    assert found.MODEL.MASK_FORMER.TEST.OBJECT_MASK_THRESHOLD == 0.0
    assert (cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST) == (800, 1333)
    assert with_row(cfg, replace(ROW, test_size=None, object_mask_threshold=None)) == cfg
