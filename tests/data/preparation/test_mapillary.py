"""Mapillary Vistas: 65 is unlabelled in the palette files."""

from __future__ import annotations

import pytest

from tests.data.preparation.conftest import counts, pixels
from tests.data.raw_datasets import make_mapillary
from tests.data.raw_writers import save_palette


def test_unlabelled_pixels_become_255(tmp_path, run):
    make_mapillary(tmp_path)
    assert run("mapillary") == 0
    folder = tmp_path / "mapillary_vistas/annotations_detectron2/validation"
    # sky 10 x 25, road 10 x 25 - 40, cars 4 x 10, unlabelled 20 x 5
    assert counts(folder / "aaBB-11.png") == {27: 250, 13: 210, 55: 40, 255: 100}
    assert counts(folder / "ccDD_22.png") == {64: 588, 0: 12}


def test_labels_of_version_2_are_refused(tmp_path, run, capsys):
    make_mapillary(tmp_path)
    path = tmp_path / "mapillary_vistas/validation/labels/aaBB-11.png"
    values = pixels(path)
    values[0, 0] = 123
    save_palette(path, values)
    assert run("mapillary") == 1
    error = capsys.readouterr().err
    assert f"{path}: label 123 at x=0, y=0 is out of range: Mapillary Vistas v1.2 has 0 to" in error


def test_a_missing_split_is_explained(tmp_path, run):
    make_mapillary(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"training/images/.*v1\.2/labels"):
        run("mapillary", "--splits", "train")
