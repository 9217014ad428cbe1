"""PASCAL-5i: label maps of VOC and SBD, the index, and items that were counted by hand."""

from __future__ import annotations

import numpy as np
import pytest

from frozenseg.data.catalog.lookup import find_split, row_vocabulary
from frozenseg.data.records import load_records
from tests.data.preparation.conftest import content, counts, leftovers, pixels
from tests.data.raw_datasets import make_pascal_5i
from tests.data.raw_writers import save_palette

VOC, SBD = "VOCdevkit/VOC2012", "benchmark_RELEASE/dataset"
MADE = f"{VOC}/SegmentationClassAug"


def items(name, root):
    row = find_split(name)
    vocabulary = row_vocabulary(row)
    records = load_records(row, vocabulary, root)
    return [(r["image_id"], *(vocabulary.names[i] for i in r["asked"])) for r in records]


def test_voc_maps_are_taken_as_they_are(tmp_path, run):
    make_pascal_5i(tmp_path)
    assert run("pascal_5i") == 0
    for stem in ("2007_000033", "2007_000042"):
        raw = pixels(tmp_path / VOC / "SegmentationClass" / f"{stem}.png")
        assert (pixels(tmp_path / MADE / f"{stem}.png") == raw).all()
    assert len(list((tmp_path / MADE).iterdir())) == 2  # the third image is in no list
    # Four objects of 58 x 78 pixels, of which the aeroplane lends the cat 20 x 20 or 50 x 60; the
    # rest is border.
    others = {7: 4524, 12: 4524, 20: 4524, 255: 1104}
    assert counts(tmp_path / MADE / "2007_000033.png") == {1: 4124, 8: 400, **others}
    assert counts(tmp_path / MADE / "2007_000042.png") == {1: 1524, 8: 3000, **others}


def test_training_maps_are_voc_s_where_both_have_one_and_never_of_voc_val(tmp_path, run):
    make_pascal_5i(tmp_path, "train")
    assert run("pascal_5i", "--splits", "train") == 0
    assert sorted(p.name for p in (tmp_path / MADE).iterdir()) == [
        "2007_000032.png",
        "2008_000002.png",
    ]
    assert counts(tmp_path / MADE / "2007_000032.png")[255] == 1104  # SBD has no border
    assert counts(tmp_path / MADE / "2008_000002.png") == {
        1: 4400, 7: 4800, 8: 400, 12: 4800, 20: 4800
    }  # fmt: skip


def test_items_are_the_held_out_classes_of_at_least_2048_pixels(tmp_path, run):
    make_pascal_5i(tmp_path)
    assert run("pascal_5i") == 0
    # The aeroplane of the second image and the cat of the first are too small.
    assert items("pascal_5i_fold0_val", tmp_path) == [("2007_000033_1", "aeroplane")]
    assert items("pascal_5i_fold1_val", tmp_path) == [
        ("2007_000033_7", "car"),
        ("2007_000042_7", "car"),
        ("2007_000042_8", "cat"),
    ]
    assert items("pascal_5i_fold2_val", tmp_path) == [
        ("2007_000033_12", "dog"),
        ("2007_000042_12", "dog"),
    ]
    assert items("pascal_5i_fold3_seen_val", tmp_path) == [
        ("2007_000033_1", "aeroplane"),
        ("2007_000033_7", "car"),
        ("2007_000033_12", "dog"),
        ("2007_000042_7", "car"),
        ("2007_000042_8", "cat"),
        ("2007_000042_12", "dog"),
    ]


def test_training_asks_for_every_seen_class_of_an_image(tmp_path, run):
    make_pascal_5i(tmp_path, "train")
    assert run("pascal_5i", "--splits", "train") == 0
    everything = ("aeroplane", "car", "cat", "dog", "tvmonitor")
    for fold, held in enumerate(({"aeroplane"}, {"car", "cat"}, {"dog"}, {"tvmonitor"})):
        seen = [name for name in everything if name not in held]
        assert items(f"pascal_5i_fold{fold}_train", tmp_path) == [
            ("2007_000032", *seen),
            ("2008_000002", *seen),
        ]


def test_a_second_run_changes_nothing_and_keeps_maps_of_other_programs(tmp_path, run, capsys):
    make_pascal_5i(tmp_path, "train")
    splits = ("--splits", "train", "val")
    assert run("pascal_5i", *splits) == 0
    before = content(tmp_path)
    assert run("pascal_5i", *splits) == 0
    assert content(tmp_path) == before
    save_palette(tmp_path / MADE / "2007_000033.png", np.full((120, 160), 3))
    assert run("pascal_5i") == 0
    assert items("pascal_5i_fold0_val", tmp_path) == [("2007_000033_3", "bird")]
    assert run("pascal_5i", "--overwrite") == 0
    assert content(tmp_path) == before
    assert leftovers(tmp_path) == []


def test_wrong_labels_name_the_file_and_nothing_is_half_done(tmp_path, run, capsys):
    make_pascal_5i(tmp_path)
    path = tmp_path / VOC / "SegmentationClass/2007_000033.png"
    values = pixels(path)
    values[1, 2] = 21
    save_palette(path, values)
    assert run("pascal_5i") == 1
    error = capsys.readouterr().err
    assert f"{MADE}/2007_000033.png: label 21 at x=2, y=1 is out of range" in error
    assert "unpack the archive of the dataset again" in error
    assert not (tmp_path / "pascal_5i/val.json").exists()
    assert not (tmp_path / MADE / "2007_000033.png").exists()
    assert (tmp_path / MADE / "2007_000042.png").exists()


def test_training_needs_sbd_and_validation_does_not(tmp_path, run, capsys):
    make_pascal_5i(tmp_path, "train")
    (tmp_path / SBD / "cls/2008_000002.mat").write_bytes(b"")
    assert run("pascal_5i", "--splits", "train") == 1
    assert "2008_000002.mat: the annotation is empty (0 bytes)" in capsys.readouterr().err
    (tmp_path / SBD / "val.txt").unlink()
    with pytest.raises(FileNotFoundError, match=r"lacks benchmark_RELEASE/dataset/val\.txt"):
        run("pascal_5i", "--splits", "train")
    assert run("pascal_5i") == 0
