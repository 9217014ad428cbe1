"""The synthetic dataset is real COCO panoptic data, deterministic, and seen classes stay seen."""

from __future__ import annotations

import json

import numpy as np
from PIL import Image

from frozenseg.data.catalog.lookup import load_vocabulary
from frozenseg.data.catalog.own_datasets import read_dataset_file
from tests.shapes_world import FILE, ROWS, SHAPES_SEEN_IDS, draw_scene, write_shapes

ALL_IDS = tuple(range(1, 12))


def scenes(count=60, ids=ALL_IDS):
    return [draw_scene(np.random.default_rng(i), ids, (48, 64)) for i in range(count)]


def test_segments_describe_the_pixels():
    for scene in scenes():
        listed = {segment["id"] for segment in scene.segments}
        assert set(np.unique(scene.ids)) - {0} == listed
        for segment in scene.segments:
            rows, columns = np.nonzero(scene.ids == segment["id"])
            x, y, width, height = segment["bbox"]
            assert segment["area"] == len(rows)
            assert (x, y) == (columns.min(), rows.min())
            assert (x + width - 1, y + height - 1) == (columns.max(), rows.max())


def test_crowds_unlabelled_pixels_and_every_class_occur():
    drawn = scenes()
    assert any(segment["iscrowd"] for scene in drawn for segment in scene.segments)
    assert any((scene.ids == 0).any() for scene in drawn)
    assert {s["category_id"] for scene in drawn for s in scene.segments} == set(ALL_IDS)


def test_training_scenes_hold_seen_classes_only():
    found = {s["category_id"] for scene in scenes(40, SHAPES_SEEN_IDS) for s in scene.segments}
    assert found == set(SHAPES_SEEN_IDS)


def test_writing_twice_gives_the_same_bytes_and_leaves_finished_files_alone(tmp_path):
    for name in ("a", "b"):
        write_shapes(tmp_path / name, train=2, val=1, size=(32, 40), seed=1)
    files = sorted(p.relative_to(tmp_path / "a") for p in (tmp_path / "a").rglob("*.*"))
    assert len(files) == 3 * 3 + 3
    for path in files:
        assert (tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes()
    marked = tmp_path / "a" / "train" / "000000.jpg"
    marked.write_bytes(b"kept")
    write_shapes(tmp_path / "a", train=2, val=1, size=(32, 40), seed=1)
    assert marked.read_bytes() == b"kept"
    write_shapes(tmp_path / "a", train=2, val=1, size=(32, 40), seed=2)
    assert marked.read_bytes() != b"kept"


def test_the_files_have_the_official_form(tmp_path):
    write_shapes(tmp_path, train=1, val=2, size=(32, 40))
    content = json.loads((tmp_path / "panoptic_val.json").read_text())
    assert {"images", "annotations", "categories"} <= set(content)
    assert [category["id"] for category in content["categories"]] == list(ALL_IDS)
    annotation = content["annotations"][1]
    assert annotation["image_id"] == content["images"][1]["id"]
    with Image.open(tmp_path / "panoptic_val" / annotation["file_name"]) as png:
        assert (png.mode, png.size) == ("RGB", (40, 32))
    with Image.open(tmp_path / "semantic_val" / annotation["file_name"]) as png:
        assert png.mode == "L"


def test_training_classes_are_a_part_of_the_validation_ones():
    train, val = (load_vocabulary(row.vocabulary) for row in ROWS)
    assert train.synonyms == tuple(val.synonyms[i - 1] for i in SHAPES_SEEN_IDS)
    assert len(train) < len(val)


def test_the_file_beside_the_folders_has_the_rows(tmp_path):
    write_shapes(tmp_path / "shapes", train=1, val=1, size=(32, 40))
    for own, row in zip(read_dataset_file(tmp_path / "shapes" / FILE), ROWS, strict=True):
        paths = {field: str(tmp_path / getattr(row, field)) for field, path in row.paths()}
        assert (own.name, own.category_ids, own.tasks) == (row.name, row.category_ids, row.tasks)
        assert dict(own.paths()) == paths
