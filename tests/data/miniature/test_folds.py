"""The miniature folds and mosaics on disk: labels fit the pictures; deterministic, resumable."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from frozenseg.data.catalog.lookup import find_split, row_vocabulary
from frozenseg.data.miniature import folds as miniature_folds
from frozenseg.data.miniature.classes import CLASSES, COLORS, FOLDS, NOVEL_FOLDS, SHAPES, held_out
from frozenseg.data.miniature.folds import (
    draw_labelled_scene,
    draw_mosaic,
    write_folds,
    write_novel_folds,
)
from frozenseg.data.miniature.scenes import draw_scene
from frozenseg.data.records import load_records

COUNTS = {"train": 3, "val": 4, "mosaics": 5}


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("folds")
    write_folds(folder, COUNTS)
    return folder


def records(name, root):
    row = find_split(name)
    return load_records(row, row_vocabulary(row, root), root)


def read(path):
    with Image.open(path) as image:
        return np.array(image)


def content(root):
    return {p.relative_to(root): p.read_bytes() for p in root.rglob("*") if p.is_file()}


def test_labels_are_the_classes_of_the_scene_plus_1():
    scene, picture = draw_scene(22, 1), draw_labelled_scene(22, 1)
    assert (picture.image == scene.image).all()
    for segment in scene.segments:
        assert (picture.labels[scene.ids == segment["id"]] == segment["category"] + 1).all()
    assert picture.labels.min() > 0


@pytest.mark.slow
@pytest.mark.parametrize("fold", range(FOLDS))
def test_every_item_of_every_fold_and_no_other_one_is_in_the_maps(root, fold):
    for split, held in (("val", True), ("seen_val", False)):
        expected = [
            (f"{stem}_{label}", label)
            for stem in (f"{i:06d}" for i in range(COUNTS["val"]))
            for label in np.unique(read(root / f"miniature_folds/val_labels/{stem}.png")).tolist()
            if CLASSES[label - 1].is_thing and (label - 1 in held_out(fold)) == held
        ]
        row = find_split(f"miniature_fold{fold}_{split}")
        found = records(row.name, root)
        ids = row.category_ids
        assert [(r["image_id"], ids[r["asked"][0]]) for r in found] == expected
        assert {r["label_ids"] for r in found} == {ids}


def test_training_images_show_held_out_classes_that_are_never_asked_for(root):
    shown, asked = set(), set()
    for fold in range(FOLDS):
        row = find_split(f"miniature_fold{fold}_train")
        for record in records(row.name, root):
            shown |= set(np.unique(read(record["sem_seg_file_name"])).tolist()) & {
                index + 1 for index in held_out(fold)
            }
            asked |= {row.category_ids[i] - 1 for i in record["asked"]} & set(held_out(fold))
    assert shown
    assert not asked


@pytest.mark.parametrize("fold", range(FOLDS))
def test_only_mixed_training_images_show_new_shapes_or_colors(root, tmp_path, fold):
    write_novel_folds(tmp_path, 3)
    shapes, colors = NOVEL_FOLDS[fold]

    def new_things(split, folder):
        maps = [read(r["sem_seg_file_name"]) for r in records(split, folder)]
        rows = [CLASSES[label - 1] for labels in maps for label in np.unique(labels).tolist()]
        return [
            row.name
            for row in rows
            if row.is_thing
            and (tuple(SHAPES)[row.shape] in shapes or tuple(COLORS)[row.color] in colors)
        ]

    assert new_things(f"miniature_novel_fold{fold}_train", tmp_path) == []
    assert new_things(f"miniature_novel_fold{fold}_mixed_train", root)


@pytest.mark.slow
def test_a_mosaic_has_four_classes_of_one_fold_each_in_its_quarter(root):
    table = np.array([rgb for _, rgb in COLORS.values()], float)
    for number in range(8):
        mosaic = draw_mosaic(23, number)
        corners = [
            (slice(128 * y, 128 * y + 128), slice(128 * x, 128 * x + 128))
            for y in (0, 1)
            for x in (0, 1)
        ]
        classes = [set(np.unique(mosaic.labels[corner]).tolist()) for corner in corners]
        assert all(0 in found and len(found) == 2 for found in classes)
        labels = [max(found) for found in classes]
        assert len(set(labels)) == 4
        assert {label - 1 for label in labels} <= set(held_out(number % FOLDS))
        for label, corner in zip(labels, corners, strict=True):
            pixel = np.median(mosaic.image[corner][mosaic.labels[corner] == label], axis=0)
            order = np.abs(table - pixel).sum(1).argsort().tolist()
            assert order.index(CLASSES[label - 1].color) < 3


def test_mosaics_are_asked_for_their_four_classes_and_folds_share_them(root):
    everything = records("miniature_mosaic_4_val", root)
    assert [r["image_id"] for r in everything] == [f"{i:06d}" for i in range(5)]
    assert {len(r["asked"]) for r in everything} == {4}
    first = records("miniature_mosaic_4_fold0_val", root)
    assert [r["image_id"] for r in first] == ["000000", "000004"]
    assert {len(r["asked"]) for r in first} == {4}


def test_images_and_maps_are_those_that_are_drawn(root):
    picture = draw_labelled_scene(21, 2)
    assert (read(root / "miniature_folds/train_labels/000002.png") == picture.labels).all()
    image = read(root / "miniature_folds/train/000002.jpg").astype(int)
    assert np.abs(image - picture.image).mean() < 6  # JPEG
    mosaic = draw_mosaic(23, 3)
    assert (read(root / "miniature_mosaic_4/val_labels/000003.png") == mosaic.labels).all()


@pytest.mark.slow
def test_an_interrupted_run_goes_on_and_gives_the_same_files(root, tmp_path, monkeypatch):
    drawn = []

    def stop(seed, index):
        if index == 2:
            raise KeyboardInterrupt
        drawn.append(index)
        return draw_labelled_scene(seed, index)

    monkeypatch.setattr(miniature_folds, "draw_labelled_scene", stop)
    with pytest.raises(KeyboardInterrupt):
        write_folds(tmp_path, COUNTS)
    assert drawn == [0, 1]
    assert not list(tmp_path.rglob("train.json"))
    monkeypatch.undo()
    kept = tmp_path / "miniature_folds/train/000001.jpg"
    before = kept.stat().st_mtime_ns
    write_folds(tmp_path, COUNTS)
    assert kept.stat().st_mtime_ns == before
    assert content(tmp_path) == content(root)


def test_a_finished_part_is_left_alone_until_the_settings_change(tmp_path):
    counts = {"train": 0, "val": 1, "mosaics": 0}
    write_folds(tmp_path, counts)
    path = tmp_path / "miniature_folds/val/000000.jpg"
    path.write_bytes(b"kept")
    write_folds(tmp_path, counts)
    assert path.read_bytes() == b"kept"
    write_folds(tmp_path, counts, seed=1)
    assert path.read_bytes() != b"kept"
    index = json.loads((tmp_path / "miniature_folds/val.json").read_text())
    assert index["info"] == {"format": 1, "seed": 1, "images": 1, "size": 256}
    assert not (tmp_path / "miniature_folds/train.json").exists()


@pytest.mark.parametrize("counts", [{"test": 3}, {"train": -1}])
def test_wrong_numbers_are_an_error(tmp_path, counts):
    with pytest.raises(ValueError, match="train, val and mosaics"):
        write_folds(tmp_path, counts)
