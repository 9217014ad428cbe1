"""The files that a visitor can download."""

import dataclasses
import json
import os

import numpy as np
import pytest
from PIL import Image

from frozenseg.predict.segmentation import from_label_map
from frozenseg.vocab import Vocabulary
from frozenseg.web.limits import Limits
from frozenseg.web.results import KEPT, ResultFolder, about_model, safe_name


@pytest.fixture
def segmentation():
    label_map = np.zeros((30, 3000), dtype=np.int32)
    label_map[10:] = 1
    found = from_label_map(label_map, {1: 0}, Vocabulary.parse("cat; dog"), "panoptic", {1: 0.5})
    return dataclasses.replace(found, image_HW3=np.zeros((30, 3000, 3), dtype=np.uint8))


def test_overlay_labels_and_json(segmentation, tmp_path):
    about = {"model": {"name": "m"}}
    overlay, labels, content = ResultFolder(tmp_path, Limits()).write(
        segmentation, "my cat.jpeg", about
    )
    assert [each.name for each in (overlay, labels, content)] == [
        "my_cat_overlay.png", "my_cat_labels.png", "my_cat.json",
    ]  # fmt: skip
    assert Image.open(overlay).size == (2048, 20)  # reduced
    assert np.array_equal(np.asarray(Image.open(labels)), segmentation.label_map_HW)
    found = json.loads(content.read_text(encoding="utf-8"))
    assert found["image"] == "my cat.jpeg"
    assert found["model"] == {"name": "m"}
    assert [each["category_name"] for each in found["segments"]] == ["cat"]


def files_in(folder):
    return {path for path in folder.rglob("*") if path.is_file()}


def test_only_the_last_results_of_a_visitor_stay_on_disk(segmentation, tmp_path):
    results = ResultFolder(tmp_path, Limits())
    other = results.write(segmentation, "a.png", {}, "other")
    written = [results.write(segmentation, f"{i}.png", {}, "me") for i in range(KEPT + 2)]
    assert files_in(tmp_path) == {path for paths in [other, *written[-KEPT:]] for path in paths}


def test_results_have_a_largest_size(segmentation, tmp_path):
    size = sum(path.stat().st_size for path in ResultFolder(tmp_path, Limits()).write(
        segmentation, "a.png", {}
    ))  # fmt: skip
    room = 3.5 * size / 2**20
    results = ResultFolder(tmp_path / "b", Limits(megabytes=room, disk_megabytes=room))
    written = [results.write(segmentation, "a.png", {}, visitor) for visitor in "abcde"]
    assert files_in(tmp_path / "b") == {path for paths in written[-3:] for path in paths}


def test_old_results_go(segmentation, tmp_path):
    results = ResultFolder(tmp_path, Limits())
    old, new = (results.write(segmentation, "a.png", {}) for _ in range(2))
    os.utime(old[0].parent, (0, 0))
    results.remove_older(60)
    assert files_in(tmp_path) == set(new)
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("a b.c.jpg", "a_b_c"),
        ("../../etc/passwd", "passwd"),
        ("日本.png", "日本"),
        ("???.png", "image"),
        ("", "image"),
        ("x" * 300 + ".png", "x" * 60),
    ],
)
def test_file_names_are_safe(name, safe):
    assert safe_name(name) == safe


def test_folders_of_the_server_stay_there():
    about = {"architecture": "FCCLIP", "name": "/srv/m.yaml", "weights": "/srv/w.pth"}
    assert about_model(about) == {"architecture": "FCCLIP", "name": "m.yaml", "weights": "w.pth"}
    assert about_model({"name": "fcclip-r50", "weights": None}) == {
        "name": "fcclip-r50", "weights": None,
    }  # fmt: skip
