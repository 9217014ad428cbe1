"""The rows of the episodic benchmarks: which classes each fold holds out, by hand."""

from __future__ import annotations

import pytest

from frozenseg.data.catalog.episode_rows import COCO_NAMES, EPISODIC, PASCAL_NAMES
from frozenseg.data.catalog.lookup import find_split, row_vocabulary
from frozenseg.data.miniature.classes import CLASSES, COLORS, NOVEL_FOLDS, SHAPES

FAMILIES = {"pascal_5i": 20, "coco_20i": 80, "miniature": 64}
# The first and the last class that folds 0 to 3 hold out.
HELD_OUT = {
    "pascal_5i": [("aeroplane", "bottle"), ("bus", "cow"), ("diningtable", "person"),
                  ("pottedplant", "tvmonitor")],
    "coco_20i": [("person", "scissors"), ("bicycle", "teddy bear"), ("car", "hair drier"),
                 ("motorcycle", "toothbrush")],
    "miniature": [("red circle", "pink moon"), ("yellow circle", "white moon"),
                  ("green circle", "black moon"), ("blue circle", "purple moon")],
}  # fmt: skip


def the_row(family, fold, split):
    return find_split(f"{family}_fold{fold}_{split}")


def names(row):
    return row_vocabulary(row).names


@pytest.mark.parametrize("fold", range(4))
@pytest.mark.parametrize("family", FAMILIES)
def test_seen_and_held_out_classes_are_all_classes_without_overlap(family, fold):
    train, val, seen_val = (the_row(family, fold, s) for s in ("train", "val", "seen_val"))
    assert names(train) == names(seen_val)
    assert train.category_ids == seen_val.category_ids
    assert not set(train.category_ids) & set(val.category_ids)
    ids = {*train.category_ids, *val.category_ids}
    assert ids == set(range(1, FAMILIES[family] + 1))
    assert (names(val)[0], names(val)[-1]) == HELD_OUT[family][fold]


@pytest.mark.parametrize("family", FAMILIES)
def test_every_class_that_can_be_is_held_out_by_one_fold(family):
    ids = [i for fold in range(4) for i in the_row(family, fold, "val").category_ids]
    assert len(set(ids)) == len(ids) == FAMILIES[family]


def test_names_and_ids_belong_together():
    everything = {
        "pascal_5i": PASCAL_NAMES,
        "coco_20i": COCO_NAMES,
        "miniature": tuple(row.name for row in CLASSES),
    }
    for family, known in everything.items():
        for fold in range(4):
            for split in ("train", "val"):
                row = the_row(family, fold, split)
                assert names(row) == tuple(known[i - 1] for i in row.category_ids)


def test_what_is_asked_for_in_training_and_in_tests():
    for row in EPISODIC:
        train, mosaic = row.split.endswith("train"), "mosaic" in row.name
        assert row.kind == "episodes"
        assert row.asks_per_image == (train or mosaic)
        assert row.asked_together == mosaic
        most = {"coco": 1000, "mini": 400}.get(row.name[:4], 0)
        assert row.max_items == (0 if train or mosaic else most)
        pascal_tests = row.benchmark == "pascal_5i" and not train
        assert row.min_pixels == (2048 if pascal_tests else 1)


def test_nobody_asks_for_stuff_and_every_word_is_in_several_seen_classes():
    for fold in range(4):
        seen = row_vocabulary(the_row("miniature", fold, "train"))
        assert all(seen.thing_mask)
        words = [word for name in seen.names for word in name.split()]
        assert {words.count(word) for word in words} == {6}
        assert [len(synonyms) for synonyms in seen.synonyms] == [1] * 48


def test_folds_of_novel_shapes_partition_the_shapes_and_the_colours():
    shapes, colors = zip(*NOVEL_FOLDS, strict=True)
    assert sorted(word for pair in shapes for word in pair) == sorted(SHAPES)
    assert sorted(word for pair in colors for word in pair) == sorted(COLORS)


@pytest.mark.parametrize("fold", range(4))
def test_training_on_a_fold_of_novel_shapes_asks_for_no_held_out_shape_or_colour(fold):
    def words(split):
        """The shapes and the colours of the classes that are asked for."""
        pairs = [name.split() for name in names(the_row("miniature_novel", fold, split))]
        return tuple({pair[i] for pair in pairs} for i in (1, 0))

    shapes, colors = map(set, NOVEL_FOLDS[fold])
    others = set(SHAPES) - shapes, set(COLORS) - colors
    assert words("train") == words("seen_val") == others
    assert words("val") == (shapes, colors)
    assert words("shape_val") == (shapes, others[1])
    assert words("color_val") == (others[0], colors)
    tests = [the_row("miniature_novel", fold, f"{s}val").category_ids
             for s in ("", "shape_", "color_", "seen_")]  # fmt: skip
    assert [len(ids) for ids in tests] == [4, 12, 12, 36]
    assert sorted(i for ids in tests for i in ids) == list(range(1, 65))


def test_the_mosaics_of_the_folds_have_the_classes_that_these_hold_out():
    union = set()
    for fold in range(4):
        row = find_split(f"miniature_mosaic_4_fold{fold}_val")
        assert names(row) == names(the_row("miniature", fold, "val"))
        union |= set(row.category_ids)
    assert union == set(find_split("miniature_mosaic_4_val").category_ids)
