"""The miniature world on disk: COCO panoptic files that read back as drawn; resumable."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from frozenseg.data.catalog.lookup import find_split, row_vocabulary
from frozenseg.data.miniature import dataset as miniature_files
from frozenseg.data.miniature.classes import (
    ALL,
    CLASSES,
    NOVEL_SEEN,
    SEEN,
    SHAPES,
    vocabulary_text,
)
from frozenseg.data.miniature.dataset import SPLITS, write_miniature
from frozenseg.data.miniature.scenes import draw_scene
from frozenseg.data.reading import ids_of_rgb
from frozenseg.data.records import load_records
from frozenseg.vocab import seen_classes

COUNTS = {"train": 3, "dev": 1, "val": 2}


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("miniature")
    write_miniature(folder, COUNTS)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("split", SPLITS, ids=lambda split: split.name)
def test_files_read_back_as_drawn(root, split):
    classes = split.classes(SEEN)
    row = replace(
        find_split(f"miniature_{split.name}_panoptic"),
        vocabulary=vocabulary_text(classes),
        category_ids=tuple(c + 1 for c in classes),
        images=split.name,
        panoptic_json=f"panoptic_{split.name}.json",
        panoptic_masks=f"panoptic_{split.name}",
        semantic_masks=f"semantic_{split.name}",
    )
    records = load_records(row, row_vocabulary(row), root)
    assert len(records) == COUNTS[split.name]
    scene = draw_scene(split.world, 0, classes=classes)
    record = records[0]
    ids = ids_of_rgb(np.array(Image.open(record["pan_seg_file_name"])))
    labels = np.array(Image.open(record["sem_seg_file_name"]))
    assert len(record["segments_info"]) == len(scene.segments)
    for entry, segment in zip(record["segments_info"], scene.segments, strict=True):
        mask = scene.ids == segment["id"]
        assert ((ids == entry["id"]) == mask).all()
        assert (labels[mask] == entry["category_id"]).all()
        assert classes[entry["category_id"]] == segment["category"]
        assert entry["isthing"] == segment["isthing"]
    image = np.array(Image.open(record["file_name"])).astype(int)
    assert np.abs(image - scene.image).mean() < 6  # JPEG


def test_training_splits_hold_seen_classes_only(root):
    for name in ("train", "dev"):
        content = json.loads((root / f"panoptic_{name}.json").read_text())
        used = {s["category_id"] - 1 for a in content["annotations"] for s in a["segments_info"]}
        assert used <= set(SEEN)
        assert [c["id"] for c in content["categories"]] == [i + 1 for i in ALL]


def test_the_novel_split_trains_without_a_star_ring_moon_or_wood(tmp_path):
    write_miniature(tmp_path, {"train": 40, "dev": 20, "val": 40}, seen=NOVEL_SEEN)
    segments = {}
    for name in ("train", "dev", "val"):
        content = json.loads((tmp_path / f"panoptic_{name}.json").read_text())
        assert content["info"].get("classes") == (None if name == "val" else list(NOVEL_SEEN))
        rows = [
            CLASSES[segment["category_id"] - 1]
            for each in content["annotations"]
            for segment in each["segments_info"]
        ]
        words = [tuple(SHAPES)[row.shape] if row.is_thing else row.name for row in rows]
        segments[name] = Counter(words)
    novel = {"star", "ring", "moon", "wood"}
    others = {"circle", "square", "triangle", "cross", "heart"}
    others |= {"grass", "water", "brick", "sand", "gravel"}
    assert set(segments["train"]) == set(segments["dev"]) == others
    assert set(segments["val"]) == others | novel
    assert min(segments["val"][word] for word in novel) >= 8
    train, val = (find_split(f"miniature_novel_{name}_panoptic") for name in ("train", "val"))
    words = row_vocabulary(val)
    seen = seen_classes(words, row_vocabulary(train))
    unseen = [word for word, known in zip(words.names, seen, strict=True) if not known]
    assert unseen == [row.name for row in CLASSES if row.name.split()[-1] in novel]
    assert len(unseen) == 25


@pytest.mark.slow
def test_validation_scenes_are_the_same_whatever_training_shows(root, tmp_path):
    write_miniature(tmp_path, {"train": 1, "dev": 0, "val": 1}, seen=NOVEL_SEEN)
    for file, same in (("val/000000.jpg", True), ("train/000000.jpg", False)):
        assert ((tmp_path / file).read_bytes() == (root / file).read_bytes()) == same


def test_finished_splits_are_left_alone_until_the_settings_change(tmp_path):
    counts = {"train": 0, "dev": 1, "val": 0}
    write_miniature(tmp_path, counts)
    image = tmp_path / "dev" / "000000.jpg"
    first = image.read_bytes()
    image.write_bytes(b"kept")
    write_miniature(tmp_path, counts)
    assert image.read_bytes() == b"kept"
    write_miniature(tmp_path, counts, seed=1)
    assert image.read_bytes() not in (b"kept", first)


@pytest.mark.slow
def test_an_interrupted_split_goes_on(tmp_path, monkeypatch):
    counts = {"train": 0, "dev": 3, "val": 0}
    drawn = draw_scene

    def fail_at_two(seed, index, **kwargs):
        if index == 2:
            raise KeyboardInterrupt
        return drawn(seed, index, **kwargs)

    monkeypatch.setattr(miniature_files, "draw_scene", fail_at_two)
    with pytest.raises(KeyboardInterrupt):
        write_miniature(tmp_path, counts)
    assert not (tmp_path / "panoptic_dev.json").exists()
    monkeypatch.setattr(miniature_files, "draw_scene", drawn)
    before = (tmp_path / "dev" / "000001.jpg").stat().st_mtime_ns
    write_miniature(tmp_path, counts)
    assert (tmp_path / "dev" / "000001.jpg").stat().st_mtime_ns == before
    assert len(json.loads((tmp_path / "panoptic_dev.json").read_text())["images"]) == 3
    assert not list(tmp_path.rglob("*unfinished*"))


def test_unknown_splits_are_an_error(tmp_path):
    with pytest.raises(ValueError, match="train, dev and val"):
        write_miniature(tmp_path, {"test": 3})
