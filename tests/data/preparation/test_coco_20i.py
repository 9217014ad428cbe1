"""COCO-20i: label maps of polygons and crowds, counted by hand."""

from __future__ import annotations

import json

import numpy as np
import pytest

from frozenseg.data.catalog.lookup import find_split, row_vocabulary
from frozenseg.data.preparation.coco_20i import Objects, draw_objects
from frozenseg.data.preparation.episodes import EpisodeJob
from frozenseg.data.records import load_records
from tests.data.preparation.conftest import content, counts, pixels
from tests.data.raw_datasets import make_coco_20i

MADE = "coco/annotations_coco_20i/val2014"
STEMS = ("COCO_val2014_000000000042", "COCO_val2014_000000000073")


def items(name, root):
    row = find_split(name)
    vocabulary = row_vocabulary(row)
    records = load_records(row, vocabulary, root)
    return [(r["image_id"], *(vocabulary.names[i] for i in r["asked"])) for r in records]


def edit(root, change):
    path = root / "coco/annotations/instances_val2014.json"
    annotation = json.loads(path.read_text())
    change(annotation)
    path.write_text(json.dumps(annotation))
    return path


def test_small_objects_lie_on_large_ones_and_crowds_count(tmp_path, run):
    make_coco_20i(tmp_path)
    assert run("coco_20i") == 0
    assert counts(tmp_path / MADE / f"{STEMS[0]}.png") == {0: 100, 1: 100, 42: 20, 61: 380}
    assert counts(tmp_path / MADE / f"{STEMS[1]}.png") == {0: 420, 2: 50, 3: 30, 80: 100}
    first = pixels(tmp_path / MADE / f"{STEMS[0]}.png")
    assert (first[2:6, 2:7] == 42).all()
    assert (first[:, 25:] == 1).all()
    assert len(list((tmp_path / MADE).iterdir())) == 2  # an image without objects has none


def test_items_of_every_fold(tmp_path, run):
    make_coco_20i(tmp_path)
    assert run("coco_20i") == 0
    first, second = STEMS
    held_out = [
        [(f"{first}_1", "person"), (f"{first}_61", "dining table")],
        [(f"{first}_42", "cup"), (f"{second}_2", "bicycle")],
        [(f"{second}_3", "car")],
        [(f"{second}_80", "toothbrush")],
    ]
    for fold, expected in enumerate(held_out):
        assert items(f"coco_20i_fold{fold}_val", tmp_path) == expected
        others = sorted(
            (i for f, found in enumerate(held_out) if f != fold for i in found),
            key=lambda item: (item[0][:25], int(item[0][26:])),
        )
        assert items(f"coco_20i_fold{fold}_seen_val", tmp_path) == others


def test_objects_of_one_size_lie_in_the_order_of_their_ids_whatever_that_of_the_file(tmp_path, run):
    make_coco_20i(tmp_path)
    assert run("coco_20i") == 0
    before = content(tmp_path / MADE)
    edit(tmp_path, lambda annotation: annotation["annotations"].reverse())
    assert run("coco_20i", "--overwrite") == 0
    assert content(tmp_path / MADE) == before


def test_an_object_of_several_parts_is_their_union():
    parts = [[0, 0, 4, 0, 4, 2, 0, 2], [3, 0, 6, 0, 6, 2, 3, 2]]
    job = EpisodeJob("a.jpg", "a.png", Objects((4, 8), ((7, parts),)))
    expected = np.zeros((4, 8))
    expected[:2, :6] = 7
    assert (draw_objects(job) == expected).all()


def test_a_mask_of_another_size_than_its_image_is_named(tmp_path, run):
    make_coco_20i(tmp_path)
    edit(tmp_path, lambda a: a["annotations"][4]["segmentation"].update(size=[30, 20]))
    with pytest.raises(
        ValueError, match=r"annotation 5: the RLE .* its size is \[30, 20\], its im"
    ):
        run("coco_20i")
    assert not (tmp_path / "coco_20i/val.json").exists()


def test_other_categories_are_refused(tmp_path, run):
    make_coco_20i(tmp_path)
    path = edit(tmp_path, lambda annotation: annotation["categories"].pop())
    with pytest.raises(ValueError, match=f"{path}: has the 79 categories .*, not the 80 of COCO"):
        run("coco_20i")


def test_missing_files_are_named_with_their_source(tmp_path, run):
    with pytest.raises(FileNotFoundError, match=r"instances_train2014\.json.*cocodataset"):
        run("coco_20i", "--splits", "train")
