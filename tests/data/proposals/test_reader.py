"""The reader of proposals: round trip, which image is meant, damage."""

from __future__ import annotations

import gzip
import json
import pickle

import numpy as np
import pytest
import torch
from PIL import Image
from pycocotools import mask as coco_mask

from frozenseg.data.proposals.reader import (
    ProposalFolder,
    file_digest,
    read_members,
    shard_path,
)
from frozenseg.data.proposals.writer import ProposalWriter, append_record

SIZE = (12, 17)
COUNTS = {
    "a.png": 3,
    "bad.png": None,
    "none.png": 0,
    "u/é x.png": 2,
    "u/same.png": 1,
    "v/same.png": 4,
}


def masks_of(key):
    """Random masks, the same for every call."""
    generator = np.random.default_rng(sum(key.encode()))
    return generator.random((COUNTS[key], *SIZE)) < 0.5


def record_of(root, key):
    if COUNTS[key] is None:
        return {"image": key, "error": "damaged"}
    rles = [coco_mask.encode(np.asfortranarray(mask)) for mask in masks_of(key).astype(np.uint8)]
    rows = [{"segmentation": {**rle, "counts": rle["counts"].decode()}} for rle in rles]
    height, width = SIZE
    digest = file_digest(root / key)
    return {"image": key, "sha256": digest, "height": height, "width": width, "masks": rows}


@pytest.fixture
def images(tmp_path):
    """The images of COUNTS, all different."""
    root = tmp_path / "data" / "images"
    for number, key in enumerate(COUNTS):
        (root / key).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", SIZE[::-1], (number, 0, 0)).save(root / key)
    return root


@pytest.fixture
def folder(images, tmp_path):
    """Their proposals, two images per shard."""
    folder = tmp_path / "proposals"
    writer = ProposalWriter(folder, list(COUNTS), {"sam": "test"}, shard_size=2)
    for key in COUNTS:
        append_record(folder, writer.shard_of(key), "run", record_of(images, key))
    assert writer.finish()
    return folder


@pytest.mark.parametrize("key", [key for key, count in COUNTS.items() if count is not None])
def test_masks_are_those_written(folder, images, key):
    reader = ProposalFolder(str(folder))
    for name in (key, images / key, str(images / key)):
        masks = reader.masks(name, SIZE)
        assert masks.dtype == torch.bool
        np.testing.assert_array_equal(masks.numpy(), masks_of(key))


def test_a_copy_for_another_process_reads_the_same(folder):
    reader = pickle.loads(pickle.dumps(ProposalFolder(folder)))
    assert reader.masks("a.png").shape == (3, *SIZE)


def test_a_shard_is_a_gzip_file_of_json_lines(folder):
    with gzip.open(shard_path(folder, 0), "rt", encoding="utf-8") as file:
        rows = [json.loads(line) for line in file]
    assert [row["image"] for row in rows] == ["a.png", "bad.png"]


def test_the_longest_end_of_a_path_counts(folder):
    find = ProposalFolder(folder).find
    assert find("/elsewhere/images/v/same.png") == "v/same.png"
    assert find("/elsewhere/images/a.png") == "a.png"
    assert find("é x.png") == "u/é x.png"


def test_a_name_that_fits_several_images_is_refused(folder):
    with pytest.raises(ValueError, match=r"could be 2 images.*u/same\.png and v/same\.png"):
        ProposalFolder(folder).find("same.png")


@pytest.mark.parametrize("name", ["b.png", "/w/same.png", "x.png", "w/é x.png", "A.png"])
def test_an_unknown_image_is_named_with_the_remedy(folder, name):
    with pytest.raises(ValueError, match=rf"{name}.*6 images.*tools/export_sam_masks\.py"):
        ProposalFolder(folder).masks(name)


def test_an_image_that_failed_says_why(folder):
    with pytest.raises(ValueError, match=r"no masks of bad\.png: damaged; export"):
        ProposalFolder(folder).masks("bad.png")


def test_another_image_of_that_name_is_refused(folder, tmp_path):
    other = tmp_path / "train" / "a.png"
    other.parent.mkdir()
    Image.new("RGB", SIZE[::-1], "white").save(other)
    with pytest.raises(ValueError, match=r"train/a\.png is not the image .* 'a\.png'"):
        ProposalFolder(folder).masks(other)


def test_another_size_is_refused(folder):
    with pytest.raises(ValueError, match=r"is 12x17, but its masks .* are 17x12"):
        ProposalFolder(folder).masks("a.png", SIZE[::-1])


def test_no_index_says_how_to_make_one(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"index\.json.*tools/export_sam_masks\.py"):
        ProposalFolder(tmp_path)


def test_an_interrupted_export_is_refused(folder):
    ProposalWriter(folder.parent / "begun", ["a.png"], {})
    with pytest.raises(ValueError, match="interrupted: run its command"):
        ProposalFolder(folder.parent / "begun")


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"format": "x", "version": 1}', '{"format": "frozenseg proposals"}']
)
def test_another_json_file_is_refused(tmp_path, text):
    (tmp_path / "index.json").write_text(text)
    with pytest.raises(ValueError, match=r"index\.json is not an index of frozenseg proposals"):
        ProposalFolder(tmp_path)


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (
            {"images": {"a.png": [0, 0, "x", 1, 1, 1]}},
            r"\$\.images\[\.\.\.\]\[2\]: Expected int, got",
        ),
        ({"images": {"a.png": [0, -1, 1, 1, 1, 1]}}, r"\[1\]: Expected int >= 0"),
        ({"images": [1]}, r"\$\.images: Expected object, got array"),
        ({"shard_size": 0}, r"\$\.shard_size: Expected int >= 1"),
        ({"failures": {"a": None}}, r"\$\.failures\[\.\.\.\]: Expected str, got null"),
    ],
)
def test_an_index_of_a_wrong_structure_is_named_with_the_place(folder, change, place):
    path = folder / "index.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(ValueError, match=rf"index\.json is not an index .*{place}.*make it again"):
        ProposalFolder(folder)


@pytest.mark.parametrize(
    ("masks", "problem"),
    [
        (3, r"\$\.masks: Expected array, got int"),
        ([{}], r"\$\.masks\[0\]: Object missing required field segmentation"),
        (
            [{"segmentation": {"size": [12, 17], "counts": "garbage"}}],
            "mask 0 of a.png: its counts",
        ),
        ([{"segmentation": {"size": [10**6] * 2, "counts": "0"}}], "mask 0 of a.png: its size is"),
    ],
)
def test_a_record_is_checked_before_its_masks_are_decoded(folder, masks, problem):
    path = folder / "index.json"
    content = json.loads(path.read_text())
    record = {"image": "a.png", "sha256": "0", "height": 12, "width": 17, "masks": masks}
    packed = gzip.compress(json.dumps(record).encode())
    shard_path(folder, 9).write_bytes(packed)
    content["images"]["a.png"] = [9, 0, len(packed), 12, 17, 1]
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=problem):
        ProposalFolder(folder).masks("a.png")


def test_damage_is_noticed(folder):
    path = shard_path(folder, 2)
    whole = path.read_bytes()
    for damaged in (whole[:-40], whole[:-40] + b"\0\0\0\0" + whole[-36:], b""):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match=r"shard_00002\.jsonl\.gz is damaged .*delete"):
            ProposalFolder(folder).masks("v/same.png")
        if damaged:
            with pytest.raises(ValueError, match="delete the file and run the export again"):
                list(read_members(path))
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"shard_00002\.jsonl\.gz does not exist"):
        ProposalFolder(folder).masks("v/same.png")


def test_a_shard_of_another_export_is_noticed(folder):
    path = shard_path(folder, 2)
    first, second = (content for _, content in read_members(path))
    path.write_bytes(gzip.compress(second) + gzip.compress(first))
    with pytest.raises(ValueError, match=r"shard_00002\.jsonl\.gz (does not fit|is damaged)"):
        ProposalFolder(folder).masks("v/same.png")
