"""MATLAB files: read as they are, damage never reaches scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.io import savemat

from frozenseg.data.preparation.label_map import read_label_map, read_segmentation

VALUES = np.arange(600, dtype=np.uint16).reshape(20, 30)


@pytest.mark.parametrize("compressed", [True, False])
def test_label_maps_are_read_as_they_are(tmp_path, compressed):
    path = tmp_path / "a.mat"
    savemat(path, {"Other": [1.5], "LabelMap": VALUES}, do_compression=compressed)
    assert (read_label_map(path) == VALUES).all()


@pytest.mark.parametrize("compressed", [True, False])
def test_segmentations_are_read_from_their_struct(tmp_path, compressed):
    path, values = tmp_path / "a.mat", VALUES.astype(np.uint8)
    truth = {"Boundaries": [1.5], "Segmentation": values, "CategoriesPresent": [3]}
    savemat(path, {"Other": [1.5], "GTcls": truth}, do_compression=compressed)
    assert (read_segmentation(path) == values).all()
    assert read_segmentation(path).dtype == np.uint8


@pytest.mark.parametrize(
    "content",
    [
        {"LabelMap": VALUES},
        {"GTcls": VALUES},
        {"GTcls": {"Boundaries": VALUES}},
        {"GTcls": {"Segmentation": VALUES / 2}},
    ],
)
def test_files_of_another_kind_are_no_segmentations(tmp_path, content):
    path = tmp_path / "a.mat"
    savemat(path, content)
    with pytest.raises(ValueError, match=r"a\.mat: has no GTcls\.Segmentation of whole numbers"):
        read_segmentation(path)


@pytest.mark.slow
@pytest.mark.parametrize("compressed", [True, False])
def test_every_truncation_is_noticed(tmp_path, compressed):
    path = tmp_path / "a.mat"
    savemat(path, {"LabelMap": VALUES}, do_compression=compressed)
    whole = path.read_bytes()
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"a\.mat: (damaged or incomplete|the annotation is)"):
            read_label_map(path)


@pytest.mark.slow
def test_changed_bytes_of_a_compressed_file_are_noticed(tmp_path):
    """Among others those that crash scipy 1.17."""
    path = tmp_path / "a.mat"
    savemat(path, {"LabelMap": VALUES}, do_compression=True)
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(300):
        data = bytearray(whole)
        data[rng.integers(136, len(data))] ^= 1 << rng.integers(8)
        path.write_bytes(data)
        with pytest.raises(ValueError, match="damaged or incomplete"):
            read_label_map(path)
