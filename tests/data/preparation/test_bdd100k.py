"""BDD100K: the four channels of a bitmask, crowds and ignored instances, stuff in pieces."""

from __future__ import annotations

import json

import numpy as np
import pytest
from panopticapi.evaluation import pq_compute

from tests.data.preparation.conftest import content, pixels, summary
from tests.data.raw_datasets import make_bdd100k
from tests.data.raw_writers import save

LABELS = "bdd100k/labels/pan_seg"
STEP = 65536
FIRST = [
    (30 * STEP, 30, 125, [0, 0, 25, 5], 0),  # sky: two pieces, one segment
    (31 * STEP + 8, 31, 50, [0, 10, 10, 5], 1),  # crowd
    (32 * STEP + 9, 32, 50, [10, 10, 10, 5], 1),  # ignored
    (35 * STEP + 1, 35, 50, [0, 5, 10, 5], 0),
    (35 * STEP + 259, 35, 50, [10, 5, 10, 5], 0),  # blue 1, alpha 3; occluded is no crowd
]
SECOND = [(7 * STEP, 7, 500, [0, 0, 30, 20], 0), (40 * STEP + 2, 40, 100, [0, 0, 10, 10], 0)]


@pytest.fixture
def root(tmp_path, run):
    make_bdd100k(tmp_path)
    assert run("bdd100k") == 0
    return tmp_path / LABELS


def test_segments_are_those_of_the_bitmasks(root):
    made = json.loads((root / "panoptic_val.json").read_text())
    assert [summary(annotation) for annotation in made["annotations"]] == [FIRST, SECOND]
    assert made["images"][1]["file_name"] == "7d15b18b-1e0d6e3f.jpg"
    bitmask = pixels(root / "bitmasks/val/7d06fefd-f7be05a6.png")
    rgb = pixels(root / "panoptic_val/7d06fefd-f7be05a6.png")
    assert (rgb[..., 2] == bitmask[..., 0]).all()  # blue is the category, 0 for unlabelled
    assert [c["id"] for c in made["categories"] if c["isthing"]] == list(range(31, 41))


def test_panopticapi_scores_the_annotations_against_themselves_with_100(root):
    index, folder = root / "panoptic_val.json", root / "panoptic_val"
    result = pq_compute(str(index), str(index), str(folder), str(folder))
    assert result["All"]["pq"] == 1
    assert result["All"]["n"] == 4  # sky, car, road, truck; the crowds do not count


def test_stuff_is_a_crowd_only_where_all_of_it_is(tmp_path, run):
    make_bdd100k(tmp_path)
    path = tmp_path / LABELS / "bitmasks/val/7d06fefd-f7be05a6.png"
    values = pixels(path)
    values[:5, :10, 1] = 1
    save(path, values)
    assert run("bdd100k") == 0
    index = tmp_path / LABELS / "panoptic_val.json"
    assert summary(json.loads(index.read_text())["annotations"][0])[0][-1] == 0
    values[:5, :25, 1] = 1
    save(path, values)
    assert run("bdd100k", "--overwrite") == 0
    assert summary(json.loads(index.read_text())["annotations"][0])[0][-1] == 1


def test_a_second_run_changes_nothing(root, run, capsys):
    before = content(root)
    capsys.readouterr()
    assert run("bdd100k") == 0
    assert content(root) == before
    assert "BDD100K panoptic val: 2 images: 0 made, 2 already there" in capsys.readouterr().out


def test_wrong_categories_and_files_are_named(tmp_path, run, capsys):
    make_bdd100k(tmp_path)
    path = tmp_path / LABELS / "bitmasks/val/7d06fefd-f7be05a6.png"
    values = pixels(path)
    values[19, 29, 0] = 41
    save(path, values)
    other = path.with_name("7d15b18b-1e0d6e3f.png")
    save(other, np.full((20, 30), 7, np.uint8))
    assert run("bdd100k") == 1
    error = capsys.readouterr().err
    assert f"{path}: category 41 (red) at x=29, y=19 is out of range" in error
    assert f"{other}: is of mode L, but the benchmark publishes RGBA" in error
    with pytest.raises(FileNotFoundError, match=r"images/10k/train/.*section BDD100K"):
        run("bdd100k", "--splits", "train")
