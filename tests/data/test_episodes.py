"""Episodes: which items follow from an index is what a hand count says."""

from __future__ import annotations

import json
import random
import re
from dataclasses import replace

import numpy as np
import pytest

from frozenseg.data.catalog.split import DatasetSplit, Origin
from frozenseg.data.episodes import EpisodeImage, describe, index_content, read_index
from frozenseg.data.records import load_records
from frozenseg.vocab import Vocabulary

# Classes 3, 5 and 9 of the dataset are those of the row, under the indices 0, 1 and 2.
PIXELS = {
    "b": {3: 10, 9: 2047, 4: 5000},
    "a": {9: 2048, 5: 1, 3: 3000},
    "d": {4: 100},  # none of the row's
    "c": {5: 2049},
}


@pytest.fixture
def root(tmp_path):
    """A root with images, label maps (empty files) and an index in alphabetical order."""
    entries = []
    for name, pixels in PIXELS.items():
        entries.append(EpisodeImage(f"i/{name}.jpg", f"l/{name}.png", 80, 60, pixels))
        for path in (tmp_path / "i" / f"{name}.jpg", tmp_path / "l" / f"{name}.png"):
            path.parent.mkdir(exist_ok=True)
            path.touch()
    (tmp_path / "index.json").write_text(json.dumps(index_content(entries)))
    return tmp_path


ROW = DatasetSplit(
    name="x_val",
    benchmark="x",
    split="val",
    tasks=("episodes",),
    vocabulary="a; b; c",
    images="i",
    semantic_masks="l",
    episodes_json="index.json",
    category_ids=(3, 5, 9),
    origin=Origin("it", "--again"),
)


def load(root, **options):
    return load_records(replace(ROW, **options), Vocabulary.parse(ROW.vocabulary), root)


def items(records):
    return [(record["image_id"], record["asked"]) for record in records]


def test_items_are_sorted_by_file_name_then_by_class(root):
    records = load(root)
    assert items(records) == [
        ("a_3", (0,)),
        ("a_5", (1,)),
        ("a_9", (2,)),
        ("b_3", (0,)),
        ("b_9", (2,)),
        ("c_5", (1,)),
    ]
    assert records[3] == {
        "file_name": str(root / "i/b.jpg"),
        "sem_seg_file_name": str(root / "l/b.png"),
        "image_id": "b_3",
        "height": 60,
        "width": 80,
        "asked": (0,),
    }


def test_small_regions_are_no_items_and_only_the_first_items_are_kept(root):
    expected = [("a_3", (0,)), ("a_9", (2,)), ("c_5", (1,))]
    assert items(load(root, min_pixels=2048)) == expected
    assert items(load(root, min_pixels=2048, max_items=2)) == expected[:2]
    assert items(load(root, max_items=100)) == items(load(root))


def test_together_an_image_is_asked_for_all_its_classes_of_the_row(root):
    assert items(load(root, asked_together=True)) == [("a", (0, 1, 2)), ("b", (0, 2)), ("c", (1,))]
    large = load(root, asked_together=True, min_pixels=2048)
    assert items(large) == [("a", (0, 2)), ("c", (1,))]


def test_the_order_of_the_index_does_not_matter(root):
    before = load(root)
    content = json.loads((root / "index.json").read_text())
    random.Random(0).shuffle(content["images"])
    (root / "index.json").write_text(json.dumps(content))
    assert load(root) == before


def test_an_entry_counts_the_classes_of_a_map_and_nothing_else():
    labels_HW = np.array([[0, 0, 255], [7, 7, 254]], np.uint8)
    entry = describe("x/a.jpg", "a.png", labels_HW)
    assert entry == EpisodeImage("x/a.jpg", "a.png", 3, 2, {7: 2, 254: 1})
    assert entry.name == "a"


def test_an_index_reads_back_as_written(root):
    entries = read_index(root / "index.json")
    assert {entry.name: entry.pixels for entry in entries} == PIXELS
    assert [entry.image for entry in entries] == [f"i/{name}.jpg" for name in "abcd"]
    assert index_content(reversed(entries)) == index_content(entries)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", r"\$: Expected object, got array"),
        ('{"format": 2, "images": []}', "is not an index of episodes of format 1"),
        ('{"format": 1}', r"\$: Object missing required field images"),
        (
            '{"format": 1, "images": [{"image": "a.jpg"}]}',
            r"\$\.images\[0\]: Object missing required",
        ),
        ('{"format": 1, "images": []}', "no image has one of the 3 classes"),
    ],
)
def test_a_damaged_index_is_named_with_the_remedy(root, text, message):
    path = root / "index.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=f"{re.escape(str(path))}: {message}.*run it"):
        load(root)


def test_an_image_that_is_listed_twice_is_an_error(root):
    content = json.loads((root / "index.json").read_text())
    content["images"].append(content["images"][1])
    (root / "index.json").write_text(json.dumps(content))
    with pytest.raises(ValueError, match="lists the image 'b' 2 times; run it"):
        load(root)


@pytest.mark.parametrize("path", ["index.json", "i/a.jpg", "l/a.png"])
def test_a_missing_file_is_named_with_the_remedy(root, path):
    (root / path).unlink()
    with pytest.raises(FileNotFoundError, match=f"{re.escape(path)} does not exist; run it"):
        load(root)
