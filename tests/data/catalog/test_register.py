"""Registering needs no files, can be repeated, and gives detectron2's catalogs what they need."""

from __future__ import annotations

import copy
import json
from dataclasses import replace

import numpy as np
import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog
from PIL import Image

from frozenseg.data.catalog.lookup import DATASET_SPLITS, find_split
from frozenseg.data.catalog.register import register_splits, registered_split
from frozenseg.vocab import Vocabulary
from tests.shapes_world import VAL, register_shapes

SHAPES = VAL.name
COCO = "openvocab_coco_2017_val_panoptic_with_sem_seg"
LVIS = "openvocab_lvis_v1_val"


def test_registering_needs_no_files_and_loading_says_what_is_missing(tmp_path):
    assert register_splits(root=tmp_path) == register_splits(root=tmp_path)
    assert len(MetadataCatalog.get(COCO).vocabulary) == 133
    with pytest.raises(FileNotFoundError, match=r"panoptic_val2017\.json.*section COCO"):
        DatasetCatalog.get(COCO)


@pytest.mark.parametrize("row", DATASET_SPLITS, ids=lambda row: row.name)
def test_every_row_says_what_is_missing_and_what_to_do(row, tmp_path):
    register_splits([row], root=tmp_path)
    with pytest.raises(FileNotFoundError) as error:
        DatasetCatalog.get(row.name)
    assert str(tmp_path) in str(error.value)
    assert row.origin.remedy in str(error.value)


def test_aliases_are_registered_with_the_same_row(tmp_path):
    names = register_splits(root=tmp_path)
    for row in DATASET_SPLITS:
        assert set(row.names) <= set(names)
        for name in row.names:
            assert registered_split(name) is row
            assert MetadataCatalog.get(name).name == name
    assert "coco_2017_train_panoptic" in names


def test_another_root_moves_the_paths(tmp_path, shapes_root):
    register_shapes(tmp_path)
    register_shapes(shapes_root)
    assert MetadataCatalog.get(SHAPES).image_root == str(shapes_root / "shapes" / "val")
    assert len(DatasetCatalog.get(SHAPES)) == 4


def test_without_a_root_only_loading_fails(monkeypatch, tmp_path):
    monkeypatch.delenv("DETECTRON2_DATASETS", raising=False)
    monkeypatch.setattr("frozenseg.files.PACKAGE", tmp_path / "a" / "frozenseg")
    register_splits()
    with pytest.raises(FileNotFoundError, match="DETECTRON2_DATASETS"):
        DatasetCatalog.get(COCO)


def test_a_class_file_of_a_row_lies_in_the_root_that_was_given(tmp_path):
    (tmp_path / "words.txt").write_text("cat\ndog")
    row = replace(VAL, name="words_val", vocabulary="words.txt", category_ids=())
    register_splits([row], root=tmp_path)
    assert MetadataCatalog.get("words_val").stuff_classes == ["cat", "dog"]
    DatasetCatalog.remove("words_val")


def test_class_names_are_read_from_the_dataset_when_they_are_asked_for(tmp_path):
    row = replace(find_split(LVIS), classes=0)
    register_splits([row], root=tmp_path)
    meta = MetadataCatalog.get(LVIS)
    assert meta.image_root == str(tmp_path / "coco")
    assert meta.get("no_such_key") is None
    with pytest.raises(FileNotFoundError, match=r"lvis_v1_val\.json.*section LVIS"):
        _ = meta.vocabulary
    path = tmp_path / row.instance_json
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"categories": [{"id": 4, "name": "b"}, {"id": 2, "name": "a_c"}]}))
    assert meta.thing_classes == ["a c", "b"]  # the same object: nothing was remembered
    assert meta.thing_dataset_id_to_contiguous_id == {2: 0, 4: 1}
    assert {"vocabulary", "json_file", "evaluator_type"} <= set(meta.as_dict())


def test_metadata_can_be_copied(tmp_path):
    register_splits(root=tmp_path)
    meta = MetadataCatalog.get(COCO)
    twin = copy.deepcopy(meta)
    assert twin.as_dict() == meta.as_dict()
    assert len(twin.stuff_classes) == 133


def test_metadata_agrees_with_the_vocabulary(registered):
    meta = MetadataCatalog.get(SHAPES)
    vocabulary = meta.vocabulary
    ids = {i + 1: i for i in range(len(vocabulary))}
    assert meta.stuff_dataset_id_to_contiguous_id == ids
    things = meta.thing_dataset_id_to_contiguous_id
    assert things == {c: i for c, i in ids.items() if vocabulary.thing_mask[i]}
    assert [meta.thing_classes[i] for i in things.values()] == list(meta.thing_classes)
    assert meta.ignore_label == 255
    assert meta.evaluator_type == "coco_panoptic_seg"
    assert Vocabulary.from_metadata(meta) is vocabulary


@pytest.mark.parametrize(
    "row", [r for r in DATASET_SPLITS if not r.vocabulary_file], ids=lambda r: r.name
)
def test_detectron2_can_index_the_class_names_by_class(row, tmp_path):
    register_splits([row], root=tmp_path)
    meta = MetadataCatalog.get(row.name)
    vocabulary = meta.vocabulary
    assert meta.stuff_classes == list(vocabulary.names)
    for index in meta.thing_dataset_id_to_contiguous_id.values():
        assert meta.thing_classes[index] == vocabulary.names[index]
    assert sorted(meta.stuff_dataset_id_to_contiguous_id.values()) == list(range(len(vocabulary)))
    assert (meta.get("gt_dir") is None) == (row.benchmark != "cityscapes")


def test_detectron2_scores_our_records_with_its_own_panoptic_evaluator(registered):
    """A perfect prediction scores 100: names, ids and paths of the metadata are what it expects."""
    import torch
    from detectron2.evaluation import COCOPanopticEvaluator

    from frozenseg.data.reading import ids_of_rgb, read_panoptic_png

    evaluator = COCOPanopticEvaluator(SHAPES)
    evaluator.reset()
    for record in DatasetCatalog.get(SHAPES):
        ids = torch.from_numpy(ids_of_rgb(read_panoptic_png(record["pan_seg_file_name"])))
        segments = [s for s in record["segments_info"] if not s["iscrowd"]]
        for segment in record["segments_info"]:
            if segment["iscrowd"]:
                ids[ids == segment["id"]] = 0
        evaluator.process([record], [{"panoptic_seg": (ids, [dict(s) for s in segments])}])
    result = evaluator.evaluate()["panoptic_seg"]
    assert result["PQ"] == pytest.approx(100)


def test_detectron2_scores_our_records_with_its_own_semantic_evaluator(tmp_path):
    from detectron2.evaluation import SemSegEvaluator

    row = find_split("openvocab_pascal20_sem_seg_val")
    labels = np.array([[0, 19, 255], [3, 3, 7]], np.uint8)
    for folder, name, values in (
        (row.images, "a.jpg", np.zeros((2, 3, 3), np.uint8)),
        (row.semantic_masks, "a.png", labels),
    ):
        (tmp_path / folder).mkdir(parents=True)
        Image.fromarray(values).save(tmp_path / folder / name)
    register_splits([row], root=tmp_path)
    [record] = DatasetCatalog.get(row.name)
    evaluator = SemSegEvaluator(row.name, distributed=False)
    evaluator.reset()
    scores = np.zeros((20, 2, 3), np.float32)
    perfect = np.where(labels == 255, 0, labels)
    np.put_along_axis(scores, perfect[None].astype(np.int64), 1, axis=0)
    import torch

    evaluator.process([record], [{"sem_seg": torch.from_numpy(scores)}])
    assert evaluator.evaluate()["sem_seg"]["mIoU"] == pytest.approx(100)
