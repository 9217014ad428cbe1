"""PASCAL: the border and the background of VOC, and the .mat files of PASCAL Context."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from scipy.io import savemat

from tests.data.preparation.conftest import content, counts, leftovers, pixels
from tests.data.raw_datasets import context_names, make_pascal_context, make_pascal_voc
from tests.data.raw_writers import save_palette

VOC, CONTEXT = "VOCdevkit/VOC2012", "VOCdevkit/VOC2010"


def test_voc_keeps_the_border_and_drops_the_background(tmp_path, run):
    make_pascal_voc(tmp_path)
    assert run("pascal_voc") == 0
    made = tmp_path / "pascal_voc_d2"
    first, second = "2007_000033.png", "2007_000042.png"
    assert counts(made / "annotations_pascal21/validation" / first) == {0: 456, 1: 100, 255: 44}
    assert counts(made / "annotations_pascal20/validation" / first) == {0: 100, 255: 500}
    assert counts(made / "annotations_pascal21/validation" / second) == {0: 300, 15: 200, 20: 100}
    assert counts(made / "annotations_pascal20/validation" / second) == {14: 200, 19: 100, 255: 300}
    raw = tmp_path / VOC / "JPEGImages"
    placed = sorted((made / "images/validation").iterdir())
    assert [path.name for path in placed] == ["2007_000033.jpg", "2007_000042.jpg"]
    assert all(path.read_bytes() == (raw / path.name).read_bytes() for path in placed)


def test_voc_second_run_changes_nothing(tmp_path, run, capsys):
    make_pascal_voc(tmp_path)
    assert run("pascal_voc") == 0
    before = content(tmp_path)
    assert run("pascal_voc") == 0
    assert content(tmp_path) == before
    (tmp_path / "pascal_voc_d2/images/validation/2007_000042.jpg").unlink()
    assert run("pascal_voc") == 0
    assert content(tmp_path) == before
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(": ", 2)[2] for line in lines] == [
        "2 made, 0 already there, 0 failed",
        "0 made, 2 already there, 0 failed",
        "1 made, 1 already there, 0 failed",
    ]


def test_voc_values_between_classes_and_border_are_errors(tmp_path, run, capsys):
    make_pascal_voc(tmp_path)
    path = tmp_path / VOC / "SegmentationClass/2007_000033.png"
    values = pixels(path)
    values[1, 2] = 21
    save_palette(path, values)
    other = path.with_name("2007_000042.png")
    save_palette(other, np.where(pixels(other) > 0, 255, 0))  # background and border only
    assert run("pascal_voc") == 1
    error = capsys.readouterr().err
    assert f"{path}: label 21 at x=2, y=1 is out of range: VOC has 0 (background)" in error
    assert f"{other}: no pixel is labelled" in error
    assert not list(tmp_path.glob("pascal_voc_d2/*/*/*"))


def test_voc_lists_and_folders_are_checked(tmp_path, run, capsys):
    make_pascal_voc(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"Segmentation/train\.txt.*host\.robots"):
        run("pascal_voc", "--splits", "train")
    path = tmp_path / VOC / "ImageSets/Segmentation/val.txt"
    path.write_text("2007_000033\n2007_999999\n")
    assert run("pascal_voc") == 1
    assert "SegmentationClass/2007_999999.png does not exist" in capsys.readouterr().err
    path.write_text("\n")
    with pytest.raises(ValueError, match=r"val\.txt: the list of images is empty"):
        run("pascal_voc")


def test_context_has_459_classes_in_16_bits_and_59_by_name(tmp_path, run):
    make_pascal_context(tmp_path)
    assert run("pascal_context") == 0
    made = tmp_path / "pascal_ctx_d2"
    first = made / "annotations_ctx459/validation/2008_000002.tif"
    assert counts(first) == {359: 300, 65535: 100, 457: 100, 458: 100}
    assert pixels(first).dtype == np.uint16
    assert (cv2.imread(str(first), cv2.IMREAD_UNCHANGED) == pixels(first)).all()
    assert counts(first.with_name("2008_000003.tif")) == {1: 400, 0: 200}
    frequent = made / "annotations_ctx59/validation/2008_000002.png"
    assert counts(frequent) == {46: 300, 58: 100, 255: 200}  # sky, wood
    assert counts(frequent.with_name("2008_000003.png")) == {0: 400, 255: 200}  # aeroplane
    assert len(list((made / "images/validation").iterdir())) == 2


def test_context_can_be_prepared_in_parts(tmp_path, run):
    make_pascal_context(tmp_path)
    assert run("pascal_context", "--classes", "459") == 0
    made = tmp_path / "pascal_ctx_d2"
    assert not (made / "annotations_ctx59").exists()
    path = tmp_path / CONTEXT / "trainval/2008_000003.mat"
    savemat(path, {"LabelMap": np.full((20, 30), 1, np.uint16)})
    assert run("pascal_context", "--classes", "59") == 0
    # An image with none of the 59 is no empty annotation: it has others of the 459.
    assert counts(made / "annotations_ctx59/validation/2008_000003.png") == {255: 600}
    before = content(made)
    assert run("pascal_context") == 0
    assert content(made) == before


@pytest.mark.slow
def test_broken_mat_files_are_named(tmp_path, run, capsys):
    make_pascal_context(tmp_path)
    path = tmp_path / CONTEXT / "trainval/2008_000002.mat"
    whole = path.read_bytes()
    image = tmp_path / CONTEXT / "JPEGImages/2008_000002.jpg"
    for write, message in (
        (lambda: path.write_bytes(whole[: len(whole) // 2]), "damaged or incomplete"),
        (lambda: path.write_bytes(whole[:60]), "damaged or incomplete"),
        (lambda: path.write_bytes(b""), "the annotation is empty (0 bytes)"),
        (lambda: path.write_bytes(b"\x89HDF" + whole), "damaged or incomplete"),
        (lambda: savemat(path, {"Other": np.ones((20, 30))}), "has no LabelMap"),
        (lambda: savemat(path, {"LabelMap": np.ones((20, 30))}), "has no LabelMap"),
        (
            lambda: savemat(path, {"LabelMap": np.full((20, 30), 460, np.uint16)}),
            "label 460 at x=0, y=0 is out of range: PASCAL Context has 0",
        ),
        (
            lambda: savemat(path, {"LabelMap": np.zeros((20, 30), np.uint16)}),
            "no pixel is labelled",
        ),
        (
            lambda: savemat(path, {"LabelMap": np.ones((30, 20), np.uint16)}),
            f"is 20x30 but its image {image} is 30x20",
        ),
        (path.unlink, "does not exist"),
    ):
        write()
        assert run("pascal_context") == 1
        error = capsys.readouterr().err
        assert str(path) in error
        assert message in error
        assert not leftovers(tmp_path)
        assert len(list(tmp_path.glob("pascal_ctx_d2/*/*/2008_000003.*"))) == 3
        assert not list(tmp_path.glob("pascal_ctx_d2/*/*/2008_000002.*"))
    path.write_bytes(whole)
    assert run("pascal_context") == 0
    assert "1 made, 1 already there, 0 failed" in capsys.readouterr().out


def test_the_lists_of_names_are_checked(tmp_path, run):
    make_pascal_context(tmp_path)
    path = tmp_path / CONTEXT / "labels.txt"
    lines = path.read_text().splitlines()
    other = "\n".join(line.replace(": wood", ": wood 2") for line in lines)
    for text, message in (
        ("\n".join(lines[:-1]), r"labels\.txt: has 458 names.*pascal-context"),
        (other, r"lacks the names .'wood'"),
        ("accordion\n", r"labels\.txt:1: 'accordion' is not of the form"),
    ):
        path.write_text(text)
        with pytest.raises(ValueError, match=message):
            run("pascal_context")
    path.write_text("\n".join(lines))
    frequent = tmp_path / CONTEXT / "59_labels.txt"
    frequent.write_text(frequent.read_text().replace("aeroplane", "zeppelin"))
    with pytest.raises(ValueError, match=r"has \['zeppelin'\], lacks \['aeroplane'\]"):
        run("pascal_context")
    frequent.unlink()
    assert run("pascal_context") == 0
    path.unlink()
    with pytest.raises(FileNotFoundError, match=r"lacks VOCdevkit/VOC2010/labels\.txt"):
        run("pascal_context")


def test_the_names_of_the_test_are_in_the_published_order():
    """detail-api's ids of the 59, in alphabetical order, are where our 59 names are."""
    names = context_names()
    assert names[360 - 1] == "sky"
    assert names[397 - 1] == "table"
    assert names[284 - 1] == "person"
