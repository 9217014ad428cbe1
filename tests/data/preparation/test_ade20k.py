"""ADE20K: 0 is unlabelled, instances lie on top of stuff, areas are those of the pixels."""

from __future__ import annotations

import json
import re
import shutil

import numpy as np
import pytest
from panopticapi.evaluation import pq_compute
from panopticapi.utils import rgb2id
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from frozenseg.data.preparation.ade20k import thing_ids
from tests.data.preparation.conftest import content, counts, leftovers, pixels, summary
from tests.data.raw_datasets import make_ade20k
from tests.data.raw_writers import save

FOLDER = "ADEChallengeData2016"
FIRST = [
    (768, 2, 286, [0, 0, 30, 10], 0),  # sky: 300 - 4 (chair) - 10 (bed)
    (1024, 3, 135, [10, 10, 20, 10], 0),  # floor: 200 - 15 (bed) - 50 (persons)
    (2049, 7, 25, [12, 8, 5, 5], 0),
    (3330, 12, 25, [20, 15, 5, 5], 0),
    (3331, 12, 25, [25, 15, 5, 5], 0),
]
SECOND = [(256, 0, 584, [0, 0, 30, 20], 0), (38655, 149, 16, [0, 0, 4, 4], 0)]


@pytest.fixture
def root(tmp_path, run):
    make_ade20k(tmp_path)
    assert run("ade20k") == 0
    return tmp_path / FOLDER


@pytest.mark.slow
def test_semantic_masks_are_shifted_by_one(root):
    folder = root / "annotations_detectron2/validation"
    first = counts(folder / "ADE_val_00000001.png")
    assert first == {2: 296, 3: 135, 7: 15, 12: 50, 19: 4, 255: 100}
    assert counts(folder / "ADE_val_00000002.png") == {0: 584, 149: 16}
    assert pixels(folder / "ADE_val_00000001.png").dtype == np.uint8


@pytest.mark.slow
def test_panoptic_segments_are_the_pixels_of_the_png(root):
    made = json.loads((root / "ade20k_panoptic_val.json").read_text())
    assert [image["file_name"] for image in made["images"]] == [
        "ADE_val_00000001.jpg",
        "ADE_val_00000002.jpg",
    ]
    assert made["images"][0] == {
        "id": "ADE_val_00000001", "file_name": "ADE_val_00000001.jpg", "height": 20, "width": 30
    }  # fmt: skip
    assert [summary(annotation) for annotation in made["annotations"]] == [FIRST, SECOND]
    for annotation in made["annotations"]:
        ids = rgb2id(pixels(root / "ade20k_panoptic_val" / annotation["file_name"]))
        for identity, _, area, (x, y, width, height), _ in summary(annotation):
            assert (ids == identity).sum() == area
            assert (ids[y : y + height, x : x + width] == identity).sum() == area
    ids = rgb2id(pixels(root / "ade20k_panoptic_val/ADE_val_00000001.png"))
    assert (ids == 0).sum() == 104  # 100 unlabelled, and the chair that is no instance
    assert [c["id"] for c in made["categories"]] == list(range(150))
    assert sum(c["isthing"] for c in made["categories"]) == 100


@pytest.mark.slow
def test_panopticapi_scores_the_annotations_against_themselves_with_100(root):
    index, folder = root / "ade20k_panoptic_val.json", root / "ade20k_panoptic_val"
    result = pq_compute(str(index), str(index), str(folder), str(folder))
    assert result["All"]["pq"] == 1
    assert result["All"]["n"] == 6  # sky, floor, bed, person, wall, flag
    assert result["Things"]["n"] == 3


@pytest.mark.slow
def test_pycocotools_reads_the_instances(root):
    data = COCO(str(root / "ade20k_instance_val.json"))
    found = [
        (a["image_id"], a["category_id"], a["area"], a["bbox"], int(data.annToMask(a).sum()))
        for a in data.loadAnns(data.getAnnIds())
    ]
    assert found == [
        ("ADE_val_00000001", 7, 25, [12, 8, 5, 5], 25),
        ("ADE_val_00000001", 12, 25, [20, 15, 5, 5], 25),
        ("ADE_val_00000001", 12, 25, [25, 15, 5, 5], 25),
        ("ADE_val_00000002", 149, 16, [0, 0, 4, 4], 16),
    ]
    bed = data.annToMask(data.loadAnns([1])[0])
    assert bed[8:13, 12:17].all()
    assert sorted(data.getCatIds()) == thing_ids()
    keys = ("image_id", "category_id", "segmentation")
    results = [{k: a[k] for k in keys} | {"score": 1.0} for a in data.dataset["annotations"]]
    scores = COCOeval(data, data.loadRes(results), "segm")
    scores.evaluate()
    scores.accumulate()
    scores.summarize()
    assert scores.stats[0] == 1


def test_things_are_the_100_of_the_instance_release():
    assert len(thing_ids()) == 100
    assert thing_ids()[:5] == [7, 8, 10, 12, 14]  # bed, windowpane, cabinet, person, door
    assert thing_ids()[-1] == 149


@pytest.mark.slow
def test_a_second_run_makes_nothing_and_changes_nothing(root, run, capsys):
    before = content(root)
    capsys.readouterr()
    assert run("ade20k") == 0
    assert content(root) == before
    printed = capsys.readouterr().out
    assert "ADE20K semantic val: 2 images: 0 made, 2 already there, 0 failed" in printed
    assert "ADE20K panoptic val: 2 images: 0 made, 2 already there, 0 failed" in printed


@pytest.mark.slow
def test_what_was_made_by_another_tool_is_made_again(root, run):
    before = content(root)
    path = root / "ade20k_panoptic_val/ADE_val_00000001.png"
    save(path, np.zeros((20, 30, 3), np.uint8))  # complete, but without our description
    assert run("ade20k", "--parts", "panoptic") == 0
    assert content(root) == before


def test_parts_and_splits_need_only_their_own_files(tmp_path, run):
    make_ade20k(tmp_path, "train")
    shutil.rmtree(tmp_path / FOLDER / "annotations_instance")
    (tmp_path / FOLDER / "categoryMapping.txt").unlink()
    assert run("ade20k", "--parts", "semantic", "--splits", "train") == 0
    assert (tmp_path / FOLDER / "annotations_detectron2/training/ADE_train_00000002.png").is_file()
    assert not list((tmp_path / FOLDER).glob("ade20k_*"))
    with pytest.raises(FileNotFoundError, match=r"lacks ADEChallengeData2016/annotations_instance"):
        run("ade20k", "--splits", "train")
    with pytest.raises(FileNotFoundError, match=r"images/validation/.*sceneparsing.*on ADE20K"):
        run("ade20k", "--parts", "semantic")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("color", "message"),
    [
        ((101, 7, 0), r"instance category 101 \(red\) of instance 7 at x=3, y=2 is out of range"),
        ((0, 7, 0), r"instance category 0 \(red\) of instance 7"),
        ((100, 1, 0), r"one instance number \(green\) has two categories"),
    ],
)
def test_wrong_instances_stop_the_json_and_nothing_else(tmp_path, run, capsys, color, message):
    make_ade20k(tmp_path)
    path = tmp_path / FOLDER / "annotations_instance/validation/ADE_val_00000001.png"
    values = pixels(path)
    values[2, 3] = color
    save(path, values)
    assert run("ade20k") == 1
    captured = capsys.readouterr()
    assert str(path) in captured.err
    assert re.search(message, captured.err)
    assert "ade20k_panoptic_val.json: not written" in captured.out
    assert not list((tmp_path / FOLDER).glob("ade20k_*.json"))
    assert (tmp_path / FOLDER / "ade20k_panoptic_val/ADE_val_00000002.png").is_file()
    assert not (tmp_path / FOLDER / "ade20k_panoptic_val/ADE_val_00000001.png").exists()
    assert not leftovers(tmp_path)


def test_an_instance_map_of_another_size_is_an_error(tmp_path, run, capsys):
    make_ade20k(tmp_path)
    path = tmp_path / FOLDER / "annotations_instance/validation/ADE_val_00000002.png"
    save(path, np.zeros((20, 29, 3), np.uint8))
    assert run("ade20k", "--parts", "panoptic") == 1
    assert f"{path}: is 29x20 but its image" in capsys.readouterr().err


def test_a_mapping_of_another_release_is_an_error(tmp_path, run):
    make_ade20k(tmp_path)
    path = tmp_path / FOLDER / "categoryMapping.txt"
    path.write_text("header\n1\t8\t165\n2\t10\t3055\n")
    with pytest.raises(ValueError, match=r"instance category 2 is label 10, but in ADE20K it is 9"):
        run("ade20k")
    path.write_text("header\nbed 8 165\n")
    with pytest.raises(ValueError, match="not a line of numbers"):
        run("ade20k")


def test_images_without_instances_are_no_error_for_the_instance_json(tmp_path, run):
    make_ade20k(tmp_path)
    path = tmp_path / FOLDER / "annotations_instance/validation/ADE_val_00000002.png"
    save(path, np.zeros((20, 30, 3), np.uint8))
    assert run("ade20k", "--parts", "instance") == 0
    made = json.loads((tmp_path / FOLDER / "ade20k_instance_val.json").read_text())
    assert len(made["images"]) == 2
    assert len(made["annotations"]) == 3
