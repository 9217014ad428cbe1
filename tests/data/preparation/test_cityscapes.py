"""Cityscapes: label ids against train ids, instances, groups, and the official names."""

from __future__ import annotations

import json

import numpy as np
import pytest
from panopticapi.evaluation import pq_compute
from panopticapi.utils import rgb2id

from frozenseg.files import file_digest
from tests.data.preparation.conftest import content, counts, leftovers, pixels, summary
from tests.data.raw_datasets import make_cityscapes
from tests.data.raw_writers import save

FINE = "cityscapes/gtFine"
FIRST = [
    (7, 7, 457, [0, 0, 30, 18], 0),  # 600 - 75 (cars) - 8 (caravan) - 60 (own vehicle)
    (26, 26, 25, [20, 0, 5, 5], 1),  # a group of cars
    (26000, 26, 25, [0, 0, 5, 5], 0),
    (26001, 26, 25, [10, 0, 5, 5], 0),
]
SECOND = [(22, 22, 357, [0, 8, 30, 12], 0), (23, 23, 240, [0, 0, 30, 8], 0)]


@pytest.fixture
def root(tmp_path, run):
    make_cityscapes(tmp_path)
    assert run("cityscapes") == 0
    return tmp_path / FINE


def test_masks_have_train_ids(root):
    first = root / "val/frankfurt/frankfurt_000000_000294_gtFine_labelTrainIds.png"
    assert counts(first) == {0: 457, 13: 75, 255: 68}
    second = root / "val/munster/munster_000001_000019_gtFine_labelTrainIds.png"
    assert counts(second) == {9: 357, 10: 240, 255: 3}


def test_the_panoptic_files_are_the_official_ones(root):
    made = json.loads((root / "cityscapes_panoptic_val.json").read_text())
    assert made["images"][0] == {
        "id": "frankfurt_000000_000294",
        "file_name": "frankfurt_000000_000294_gtFine_leftImg8bit.png",
        "height": 20,
        "width": 30,
    }
    first, second = made["annotations"]
    assert first["file_name"] == "frankfurt_000000_000294_gtFine_panoptic.png"
    assert first["image_id"] == "frankfurt_000000_000294"
    assert [summary(first), summary(second)] == [FIRST, SECOND]
    raw = pixels(root / "val/frankfurt/frankfurt_000000_000294_gtFine_instanceIds.png")
    ids = rgb2id(pixels(root / "cityscapes_panoptic_val" / first["file_name"]))
    assert (ids == np.where(np.isin(raw, (29000, 1)), 0, raw)).all()
    ids = [category["id"] for category in made["categories"]]
    assert ids == [7, 8, 11, 12, 13, 17, *range(19, 29), 31, 32, 33]
    things = [category["id"] for category in made["categories"] if category["isthing"]]
    assert things == [24, 25, 26, 27, 28, 31, 32, 33]


@pytest.mark.slow
def test_panopticapi_scores_the_annotations_against_themselves_with_100(root):
    index, folder = root / "cityscapes_panoptic_val.json", root / "cityscapes_panoptic_val"
    result = pq_compute(str(index), str(index), str(folder), str(folder))
    assert result["All"]["pq"] == 1
    assert result["All"]["n"] == 4  # road, car, terrain, sky


# file_digest of the images and annotations that cityscapesscripts 2.3.0 makes of the files below.
OFFICIAL = "6cdd37292f6c2063"


def test_the_official_converter_agrees(root, tmp_path):
    """With what it made in version 2.3.0; and with itself where it is installed."""
    name = "cityscapes_panoptic_val"
    ours = json.loads((root / f"{name}.json").read_text())
    made = json.dumps([ours["images"], ours["annotations"]], sort_keys=True)
    (tmp_path / "made.json").write_text(made, encoding="utf-8")
    assert file_digest(tmp_path / "made.json") == OFFICIAL
    official = pytest.importorskip("cityscapesscripts.preparation.createPanopticImgs")
    (tmp_path / "official").mkdir()
    for split in ("train", "test"):  # it wants all three
        make_cityscapes(tmp_path, split)
    official.convert2panoptic(str(root), str(tmp_path / "official"))
    theirs = json.loads((tmp_path / "official" / f"{name}.json").read_text())
    assert ours["images"] == theirs["images"]
    assert ours["annotations"] == theirs["annotations"]
    for annotation in ours["annotations"]:
        mine = pixels(root / name / annotation["file_name"])
        assert (mine == pixels(tmp_path / "official" / name / annotation["file_name"])).all()


def test_a_second_run_changes_nothing(root, run, capsys):
    before = content(root)
    capsys.readouterr()
    assert run("cityscapes") == 0
    assert content(root) == before
    assert capsys.readouterr().out.count("0 made, 2 already there, 0 failed") == 2


@pytest.mark.parametrize("value", [34, 999, 34000, 65535])
def test_instance_ids_of_no_label_stop_the_json(tmp_path, run, capsys, value):
    make_cityscapes(tmp_path)
    stale = tmp_path / FINE / "cityscapes_panoptic_val.json"
    stale.write_text("{}")
    path = tmp_path / FINE / "val/munster/munster_000001_000019_gtFine_instanceIds.png"
    values = pixels(path)
    values[3, 3] = value
    save(path, values)
    assert run("cityscapes", "--parts", "panoptic") == 1
    captured = capsys.readouterr()
    assert f"{path}: instance id {value} is out of range" in captured.err
    assert "cityscapes_panoptic_val.json: not written, because images failed" in captured.out
    assert not stale.exists()
    made = [file.name for file in (tmp_path / FINE / "cityscapes_panoptic_val").iterdir()]
    assert made == ["frankfurt_000000_000294_gtFine_panoptic.png"]


def test_a_label_that_cityscapes_does_not_have_is_an_error(tmp_path, run, capsys):
    make_cityscapes(tmp_path)
    path = tmp_path / FINE / "val/munster/munster_000001_000019_gtFine_labelIds.png"
    values = pixels(path)
    values[3, 5] = 255
    save(path, values)
    assert run("cityscapes", "--parts", "semantic") == 1
    assert f"{path}: label 255 at x=5, y=3 is out of range" in capsys.readouterr().err
    assert not leftovers(tmp_path)


def test_images_without_annotations_and_empty_splits_are_errors(tmp_path, run, capsys):
    make_cityscapes(tmp_path)
    (tmp_path / FINE / "val/munster/munster_000001_000019_gtFine_instanceIds.png").unlink()
    assert run("cityscapes") == 1
    assert "munster_000001_000019_gtFine_instanceIds.png does not exist" in capsys.readouterr().err
    with pytest.raises(FileNotFoundError, match=r"leftImg8bit/train/, .*cityscapes-dataset\.com"):
        run("cityscapes", "--splits", "train")
    for kind in ("leftImg8bit", "gtFine"):
        (tmp_path / "cityscapes" / kind / "train/aachen").mkdir(parents=True)
    with pytest.raises(FileNotFoundError, match=r"labelIds\.png"):
        run("cityscapes", "--splits", "train")


def test_the_withheld_annotations_of_a_split_need_consent(tmp_path, run, capsys):
    """Those of the test split are all 0 or 3 (out of the region of interest)."""
    make_cityscapes(tmp_path)
    path = tmp_path / FINE / "val/munster/munster_000001_000019_gtFine_instanceIds.png"
    save(path, np.full((20, 30), 3, np.uint16))
    assert run("cityscapes", "--parts", "panoptic") == 1
    assert f"{path}: no pixel is labelled" in capsys.readouterr().err
    assert run("cityscapes", "--parts", "panoptic", "--allow-empty") == 0
    made = json.loads((tmp_path / FINE / "cityscapes_panoptic_val.json").read_text())
    assert made["annotations"][1]["segments_info"] == []
    assert run("cityscapes", "--parts", "panoptic") == 1  # consent is for one run
