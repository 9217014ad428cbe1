"""Registering needs no files, can be repeated, and gives detectron2's catalogs what they need."""

from __future__ import annotations

from dataclasses import replace

import pytest
from detectron2.data import DatasetCatalog, MetadataCatalog

from frozenseg.data.catalog import find_benchmark
from frozenseg.data.register import register_benchmarks

SHAPES = "shapes_val_panoptic"
COCO = "openvocab_coco_2017_val_panoptic_with_sem_seg"


def test_registering_needs_no_files_and_loading_says_what_is_missing(tmp_path):
    assert register_benchmarks(root=tmp_path) == register_benchmarks(root=tmp_path)
    assert len(MetadataCatalog.get(COCO).vocabulary) == 133
    with pytest.raises(FileNotFoundError, match=r"panoptic_val\.json.*prepare_shapes\.py"):
        DatasetCatalog.get(SHAPES)


def test_another_root_moves_the_paths(tmp_path, shapes_root):
    register_benchmarks(root=tmp_path)
    register_benchmarks(root=shapes_root)
    assert MetadataCatalog.get(SHAPES).image_root == str(shapes_root / "shapes" / "val")
    assert len(DatasetCatalog.get(SHAPES)) == 4


def test_without_a_root_only_loading_fails(monkeypatch, tmp_path):
    monkeypatch.delenv("DETECTRON2_DATASETS", raising=False)
    monkeypatch.setattr("frozenseg.data.catalog.__file__", str(tmp_path / "a" / "b" / "c.py"))
    register_benchmarks()
    with pytest.raises(FileNotFoundError, match="DETECTRON2_DATASETS"):
        DatasetCatalog.get(COCO)


def test_a_class_file_of_a_row_lies_in_the_root_that_was_given(tmp_path):
    (tmp_path / "words.txt").write_text("cat\ndog")
    row = replace(find_benchmark(SHAPES), name="words_val", vocabulary="words.txt", category_ids=())
    register_benchmarks([row], root=tmp_path)
    assert MetadataCatalog.get("words_val").stuff_classes == ["cat", "dog"]
    DatasetCatalog.remove("words_val")


def test_metadata_agrees_with_the_vocabulary(registered):
    meta = MetadataCatalog.get(SHAPES)
    vocabulary = meta.vocabulary
    ids = meta.thing_dataset_id_to_contiguous_id | meta.stuff_dataset_id_to_contiguous_id
    assert ids == {i + 1: i for i in range(len(vocabulary))}
    assert [vocabulary.thing_mask[i] for i in meta.thing_dataset_id_to_contiguous_id.values()] == [
        True
    ] * len(meta.thing_classes)
    assert meta.ignore_label == 255
    assert not {"evaluator_type", "label_divisor"} & set(meta.as_dict())  # nothing would read them
