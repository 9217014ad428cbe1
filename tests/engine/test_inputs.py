"""Datasets are looked at before anything is computed."""

from __future__ import annotations

import shutil

import pytest

from frozenseg.engine.inputs import check_datasets
from frozenseg.engine.run import check_inputs


@pytest.fixture
def root(stand_in_cfg, shapes_root, tmp_path, monkeypatch):
    """A copy of the datasets that may be damaged."""
    shutil.copytree(shapes_root, tmp_path / "datasets")
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "datasets"))
    return tmp_path / "datasets" / "shapes"


def test_datasets_that_are_whole_pass(stand_in_cfg, root):
    check_datasets(stand_in_cfg, training=True)


def test_a_test_set_that_is_not_there_stops_at_once_with_three_remedies(stand_in_cfg, root):
    shutil.rmtree(root / "val")
    remedies = (
        r"python make_shapes\.py.*; or evaluate on another dataset \(DATASETS\.TEST "
        r"\"\('NAME',\)\"\), or train without evaluation \(DATASETS\.TEST \"\(\)\"\)"
    )
    with pytest.raises(
        ValueError, match=rf"TEST: shapes_val_panoptic: the folder.*val.*{remedies}"
    ):
        check_inputs(stand_in_cfg, eval_only=False)
    with pytest.raises(ValueError, match=r"\('NAME',\)\"\)$"):
        check_inputs(stand_in_cfg, eval_only=True)
    stand_in_cfg.DATASETS.TEST = ()
    check_inputs(stand_in_cfg, eval_only=False)


def test_a_training_set_that_is_not_there_stops_at_once(stand_in_cfg, root):
    (root / "panoptic_train.json").unlink()
    message = r"DATASETS\.TRAIN: shapes_train_panoptic: .*panoptic_train\.json.*another dataset"
    with pytest.raises(ValueError, match=message):
        check_inputs(stand_in_cfg, eval_only=False)
    check_datasets(stand_in_cfg, training=False)


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_single_file_that_is_missing_or_empty_stops_at_once(stand_in_cfg, root, split):
    image = sorted((root / split).iterdir())[-1]
    content = image.read_bytes()
    image.write_bytes(b"")
    with pytest.raises(ValueError, match=rf"{image.name}: a file is empty"):
        check_datasets(stand_in_cfg, training=True)
    image.unlink()
    with pytest.raises(ValueError, match=rf"{image.name}: the image of an annotation is missing"):
        check_datasets(stand_in_cfg, training=True)
    image.write_bytes(content)
    check_datasets(stand_in_cfg, training=True)


def test_a_damaged_annotation_file_of_a_test_set_stops_at_once(stand_in_cfg, root):
    (root / "panoptic_val.json").write_text("{")
    with pytest.raises(ValueError, match=r"DATASETS\.TEST: .*panoptic_val\.json"):
        check_datasets(stand_in_cfg, training=True)


def test_a_test_set_that_cannot_score_the_model_stops_at_once(stand_in_cfg, root):
    for task in ("PANOPTIC", "INSTANCE", "SEMANTIC"):
        stand_in_cfg.MODEL.MASK_FORMER.TEST[f"{task}_ON"] = False
    with pytest.raises(ValueError, match="the model outputs nothing"):
        check_datasets(stand_in_cfg, training=True)
