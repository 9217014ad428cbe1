"""Pairs of images and masks by name, and masks that hold ids."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from frozenseg.data.catalog.split import DatasetSplit, Origin
from frozenseg.data.image_mask_pairs import find_pairs, read_semantic_labels
from frozenseg.data.records import load_records
from frozenseg.vocab import Vocabulary


def touch(folder, *names):
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_pairs_agree_in_subfolder_and_name_up_to_the_suffix(tmp_path):
    touch(tmp_path / "i", "b/b_1_x.png", "a/a_1_x.png", "a/a_2_x.png", "a/.hidden_x.png", "a/r.txt")
    touch(tmp_path / "m", "a/a_1_y.png", "a/a_1_ids.png", "b/b_1_y.png", "b/b_9_y.png")
    pairs = find_pairs(tmp_path / "i", "_x.png", tmp_path / "m", "_y.png")
    assert list(pairs.both) == ["a/a_1", "b/b_1"]
    assert pairs.both["b/b_1"] == (tmp_path / "i/b/b_1_x.png", tmp_path / "m/b/b_1_y.png")
    assert pairs.images_only == (tmp_path / "i/a/a_2_x.png",)
    assert pairs.masks_only == (tmp_path / "m/b/b_9_y.png",)


def test_without_a_suffix_every_image_file_counts_but_a_name_only_once(tmp_path):
    touch(tmp_path / "i", "a.jpg", "b.c.PNG", "notes.txt")
    touch(tmp_path / "m", "a.png", "b.c.png")
    assert list(find_pairs(tmp_path / "i", "", tmp_path / "m", ".png").both) == ["a", "b.c"]
    touch(tmp_path / "i", "a.png")
    with pytest.raises(ValueError, match=r"a\.jpg and .*a\.png have the same name"):
        find_pairs(tmp_path / "i", "", tmp_path / "m", ".png")


ROW = DatasetSplit(
    name="x_val",
    benchmark="x",
    split="val",
    tasks=("semantic",),
    vocabulary="cat; dog",
    images="i",
    semantic_masks="m",
    origin=Origin("frozenseg data prepare x", images_made=True),
)


def load(tmp_path):
    return load_records(ROW, Vocabulary.parse(ROW.vocabulary), tmp_path)


def test_a_missing_partner_or_folder_is_an_error_with_the_remedy(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"i does not exist.*; run frozenseg"):
        load(tmp_path)
    touch(tmp_path / "i", "a.jpg", "b.jpg")
    touch(tmp_path / "m", "a.png")
    with pytest.raises(FileNotFoundError, match=r"b\.jpg: an image has no mask; run frozenseg"):
        load(tmp_path)
    touch(tmp_path / "m", "b.png", "c.png")
    with pytest.raises(FileNotFoundError, match=r"c\.png: a mask has no image; run frozenseg"):
        load(tmp_path)
    (tmp_path / "m" / "c.png").unlink()
    assert [record["image_id"] for record in load(tmp_path)] == ["a", "b"]


def test_empty_folders_are_an_error(tmp_path):
    for folder in ("i", "m"):
        (tmp_path / folder).mkdir()
    with pytest.raises(ValueError, match=r"i: the folder has no image \*\.jpg; run frozenseg"):
        load(tmp_path)


@pytest.fixture
def record(tmp_path):
    """A record whose mask has the values 7, 0, 4 and 255."""
    Image.fromarray(np.array([[7, 0], [4, 255]], np.uint8)).save(tmp_path / "m.png")
    return {"sem_seg_file_name": str(tmp_path / "m.png")}


def test_masks_of_indices_are_kept_but_for_what_is_ignored(record):
    np.testing.assert_array_equal(read_semantic_labels(record, 255), [[7, 0], [4, -1]])
    np.testing.assert_array_equal(read_semantic_labels(record, 0), [[7, -1], [4, 255]])


def test_masks_of_ids_become_class_indices(record):
    record["label_ids"] = (4, 0, 7)
    np.testing.assert_array_equal(read_semantic_labels(record, 255), [[2, 1], [0, -1]])
    record["label_ids"] = (4, 900, 7, 255)
    np.testing.assert_array_equal(read_semantic_labels(record, 0), [[2, -1], [0, 3]])


def test_a_value_that_is_no_id_is_an_error(record):
    record["label_ids"] = (4, 7)
    with pytest.raises(ValueError, match=r"m\.png: has label 0, which is neither .* nor 255"):
        read_semantic_labels(record, 255)
