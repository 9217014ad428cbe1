"""The rows of the catalog are complete, consistent and name what detectron2's users know."""

from __future__ import annotations

from pathlib import Path

import pytest

from frozenseg.data.catalog import (
    BENCHMARKS,
    SHAPES_SEEN_IDS,
    datasets_root,
    find_benchmark,
    load_vocabulary,
)
from frozenseg.data.register import class_of_category


def test_names_are_unique():
    names = [row.name for row in BENCHMARKS]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("row", BENCHMARKS, ids=lambda row: row.name)
def test_every_row_is_usable(row):
    vocabulary = load_vocabulary(row.vocabulary)
    classes = class_of_category(row, vocabulary)
    assert sorted(classes.values()) == list(range(len(vocabulary)))
    assert set(row.tasks) <= {"panoptic", "instance", "semantic"}
    assert row.prepare
    paths = (row.images, row.panoptic_json, row.panoptic_masks, row.semantic_masks)
    assert not any(Path(path).is_absolute() for path in paths)


def test_coco_ids_and_things_are_those_of_detectron2():
    from detectron2.data.datasets.builtin_meta import COCO_CATEGORIES

    row = find_benchmark("openvocab_coco_2017_val_panoptic_with_sem_seg")
    vocabulary = load_vocabulary(row.vocabulary)
    assert list(class_of_category(row, vocabulary)) == [c["id"] for c in COCO_CATEGORIES]
    assert vocabulary.thing_mask == [bool(c["isthing"]) for c in COCO_CATEGORIES]


def test_training_shapes_are_a_part_of_the_validation_ones():
    train, val = (
        load_vocabulary(find_benchmark(f"shapes_{split}_panoptic").vocabulary)
        for split in ("train", "val")
    )
    assert train.synonyms == tuple(val.synonyms[i - 1] for i in SHAPES_SEEN_IDS)
    assert len(train) < len(val)


def test_an_unknown_name_gets_a_suggestion():
    with pytest.raises(ValueError, match="openvocab_ade20k_panoptic_val"):
        find_benchmark("ade20k_panoptic_val")


def test_a_class_file_lies_in_the_root_not_in_the_working_directory(monkeypatch, tmp_path):
    for folder, words in (("root", "cat\ndog"), ("other", "sun"), ("here", "moon\nrain\nsea")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "words.txt").write_text(words)
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path / "root"))
    assert load_vocabulary("words.txt").names == ("cat", "dog")
    assert load_vocabulary("words.txt", tmp_path / "other").names == ("sun",)
    assert load_vocabulary(str(tmp_path / "other" / "words.txt")).names == ("sun",)


def test_the_root_is_the_environment_variable_or_the_checkout(monkeypatch, tmp_path):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    assert datasets_root() == tmp_path
    monkeypatch.delenv("DETECTRON2_DATASETS")
    monkeypatch.chdir(tmp_path)
    assert datasets_root().is_absolute()
    assert tmp_path not in datasets_root().parents


def test_without_variable_and_checkout_the_error_names_the_variable(monkeypatch, tmp_path):
    monkeypatch.delenv("DETECTRON2_DATASETS", raising=False)
    elsewhere = tmp_path / "site-packages" / "frozenseg" / "data" / "catalog.py"
    monkeypatch.setattr("frozenseg.data.catalog.__file__", str(elsewhere))
    with pytest.raises(ValueError, match="DETECTRON2_DATASETS"):
        datasets_root()
