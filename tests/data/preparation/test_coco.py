"""COCO: gaps in the ids, crowds, unlabelled pixels; COCO-Stuff: value is the label id minus 1."""

from __future__ import annotations

import json

import numpy as np
import pytest
from panopticapi.utils import rgb2id

from tests.data.preparation.conftest import content, counts, leftovers, pixels
from tests.data.raw_datasets import make_coco, make_coco_stuff
from tests.data.raw_writers import save, save_photo


def index_of(root):
    return root / "coco/annotations/panoptic_val2017.json"


def test_semantic_masks_have_the_index_of_the_category(tmp_path, run):
    make_coco(tmp_path)
    assert run("coco") == 0
    folder = tmp_path / "coco/panoptic_semseg_val2017"
    # person and crowd 0, sky-other-merged 119, unlabelled 255; bridge 82, rug-merged 132
    assert counts(folder / "000000000139.png") == {119: 300, 0: 200, 255: 100}
    assert counts(folder / "000000000285.png") == {82: 50, 132: 550}


def test_panopticapi_reads_the_same_segments(tmp_path, run):
    make_coco(tmp_path)
    assert run("coco") == 0
    made = json.loads(index_of(tmp_path).read_text())
    order = sorted(category["id"] for category in made["categories"])
    for annotation in made["annotations"]:
        ids = rgb2id(pixels(tmp_path / "coco/panoptic_val2017" / annotation["file_name"]))
        mask = pixels(tmp_path / "coco/panoptic_semseg_val2017" / annotation["file_name"])
        for segment in annotation["segments_info"]:
            assert (mask[ids == segment["id"]] == order.index(segment["category_id"])).all()
        assert (mask[ids == 0] == 255).all()


def test_a_second_run_changes_nothing(tmp_path, run, capsys):
    make_coco(tmp_path)
    assert run("coco") == 0
    before = content(tmp_path)
    assert run("coco") == 0
    assert content(tmp_path) == before
    assert "COCO semantic val: 2 images: 0 made, 2 already there" in capsys.readouterr().out


def test_png_and_json_must_belong_together(tmp_path, run, capsys):
    make_coco(tmp_path)
    path = tmp_path / "coco/panoptic_val2017/000000000139.png"
    values = pixels(path)
    values[0, 0] = (9, 9, 9)
    save(path, values)
    other = path.with_name("000000000285.png")
    save(other, pixels(other)[:, :20])
    assert run("coco") == 1
    error = capsys.readouterr().err
    assert f"{path}: has segments [592137] that the JSON does not describe" in error
    assert f"{other}: is 20x20 but its image is 30x20" in error
    assert not (tmp_path / "coco/panoptic_semseg_val2017").exists() or not leftovers(tmp_path)
    assert not list(tmp_path.glob("coco/panoptic_semseg_val2017/*"))


def test_an_image_without_segments_needs_consent(tmp_path, run, capsys):
    make_coco(tmp_path)
    made = json.loads(index_of(tmp_path).read_text())
    made["annotations"][0]["segments_info"] = []
    index_of(tmp_path).write_text(json.dumps(made))
    path = tmp_path / "coco/panoptic_val2017/000000000139.png"
    save(path, np.zeros((20, 30, 3), np.uint8))
    assert run("coco") == 1
    assert f"{path}: no pixel is labelled" in capsys.readouterr().err
    assert run("coco", "--allow-empty") == 0
    assert counts(tmp_path / "coco/panoptic_semseg_val2017/000000000139.png") == {255: 600}


def test_broken_json_is_named(tmp_path, run):
    make_coco(tmp_path)
    index = index_of(tmp_path)
    whole = index.read_text()
    for text, message in (
        (whole[:50], "not valid JSON"),
        ('{"images": []}', "missing required field annotations"),
        ('{"images": [], "annotations": []}', "has no annotations"),
        (
            whole.replace('"category_id": 200', '"category_id": 12'),
            "refers to 12, which is not an image or category",
        ),
        (whole.replace('"image_id": 285', '"image_id": 286'), "refers to 286, which"),
    ):
        index.write_text(text)
        with pytest.raises(ValueError, match=rf"panoptic_val2017\.json.*{message}"):
            run("coco")


def test_missing_folders_are_explained(tmp_path, run):
    make_coco(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"lacks coco/annotations/panoptic_train2017.json"):
        run("coco", "--splits", "val", "train")
    with pytest.raises(FileNotFoundError, match=r"stuffthingmaps/val2017/.*nightrome/cocostuff"):
        run("coco_stuff")


def test_stuff_labels_lose_their_gaps(tmp_path, run):
    make_coco_stuff(tmp_path)
    assert run("coco_stuff") == 0
    folder = tmp_path / "coco/stuffthingmaps_detectron2/val2017"
    # person 0, wood 170; stop sign 11 (after the gap at 12), banner 80 (after 80 things)
    assert counts(folder / "000000000139.png") == {0: 300, 255: 100, 170: 200}
    assert counts(folder / "000000000285.png") == {11: 300, 80: 300}


@pytest.mark.parametrize("value", [11, 182, 254])
def test_stuff_labels_in_a_gap_or_beyond_are_errors(tmp_path, run, capsys, value):
    make_coco_stuff(tmp_path)
    path = tmp_path / "coco/stuffthingmaps/val2017/000000000285.png"
    values = pixels(path)
    values[7, 4] = value
    save(path, values)
    assert run("coco_stuff") == 1
    assert f"{path}: label {value} at x=4, y=7 is out of range" in capsys.readouterr().err


def test_an_image_without_its_map_is_an_error(tmp_path, run, capsys):
    make_coco_stuff(tmp_path)
    save_photo(tmp_path / "coco/val2017/000000000632.jpg")
    (tmp_path / "coco/val2017/000000000139.jpg").unlink()
    assert run("coco_stuff") == 1
    captured = capsys.readouterr()
    assert "3 images: 1 made, 0 already there, 2 failed" in captured.out
    assert "stuffthingmaps/val2017/000000000632.png does not exist" in captured.err
    assert "val2017/000000000139.jpg does not exist" in captured.err
