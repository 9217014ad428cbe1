"""Which evaluators a benchmark gets."""

from __future__ import annotations

from dataclasses import replace

import pytest

from frozenseg.data.catalog.lookup import find_split, load_vocabulary, row_vocabulary
from frozenseg.evaluation.evaluators import build_evaluators, instance_sources, scored_tasks
from tests.data import raw_datasets
from tests.shapes_world import VAL

ROW = VAL
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


def test_ap_on_the_official_instances_needs_their_file(tmp_path, caplog):
    row = find_split("openvocab_ade20k_panoptic_val")
    words, file = row_vocabulary(row), tmp_path / row.instance_json
    missing = build_evaluators(row, words, ["instance"], json_file=str(file))
    assert [one.key for one in missing] == ["instance"]
    assert f"{file} is not there" in caplog.text
    assert list(instance_sources(row, str(file))) == ["instance"]
    raw_datasets.make_ade20k(tmp_path)
    assert raw_datasets.run_prepare("ade20k", tmp_path) == 0
    both = build_evaluators(row, words, ["instance"], json_file=str(file))
    assert [one.key for one in both] == ["instance", "instance_official"]
    assert instance_sources(row, str(file)) == {
        "instance": "thing segments of the panoptic annotation",
        "instance_official": row.instance_json,
    }


def test_the_ground_truth_of_ap_is_named():
    sources = {
        name: instance_sources(find_split(name), None)
        for name in (
            "ade20k_instance_val",
            "cityscapes_fine_instance_seg_val",
            "bdd10k_val_sem_seg",
        )
    }
    assert sources["ade20k_instance_val"] == {
        "instance": "ADEChallengeData2016/ade20k_instance_val.json"
    }
    assert "groups count as crowds" in sources["cityscapes_fine_instance_seg_val"]["instance"]
    assert sources["bdd10k_val_sem_seg"] == {}


def test_episodes_score_the_labels_of_what_is_asked_for():
    row = replace(ROW, name="x", tasks=("episodes",))
    with pytest.raises(ValueError, match=r"outputs semantic: only Fusioner"):
        kinds(row, ["semantic"])
    assert kinds(row, ["semantic", "episodes"]) == ["EpisodeEvaluator"]
    assert scored_tasks(row, ["semantic", "episodes"]) == ["episodes"]
    with pytest.raises(ValueError, match=r"'x'.*ground truth for episodes.*outputs panoptic"):
        kinds(row, ["panoptic"])
    with pytest.raises(ValueError, match=r"ground truth for panoptic.*outputs episodes"):
        kinds(replace(ROW, tasks=("panoptic",)), ["episodes"])
