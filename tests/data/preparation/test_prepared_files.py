"""Writing prepared files: lossless, reproducible, complete; images are not copied twice."""

from __future__ import annotations

import os

import numpy as np
import pytest
from PIL import Image

from frozenseg.data.preparation.prepared_files import (
    is_complete,
    place_image,
    write_mask,
)


@pytest.mark.parametrize(("name", "dtype"), [("a.png", np.uint8), ("a.tif", np.uint16)])
def test_masks_are_lossless_and_the_same_each_time(tmp_path, name, dtype):
    mask = np.arange(600).reshape(20, 30).astype(dtype)
    first, second = tmp_path / "1" / name, tmp_path / "2" / name
    write_mask(first, mask)
    write_mask(second, mask.T.copy().T)  # not contiguous
    assert first.read_bytes() == second.read_bytes()
    with Image.open(first) as image:
        array = np.array(image)
    assert array.dtype == dtype
    assert (array == mask).all()
    assert is_complete(first)


def test_text_is_kept_beside_the_pixels(tmp_path):
    path = tmp_path / "a.png"
    write_mask(path, np.zeros((2, 3), np.uint8), {"key": "[1]"})
    with Image.open(path) as image:
        assert image.info["key"] == "[1]"


def test_cut_files_are_not_complete(tmp_path):
    path = tmp_path / "a.png"
    assert not is_complete(path)
    write_mask(path, np.zeros((2, 3), np.uint8))
    whole = path.read_bytes()
    for length in (0, 5, 12, len(whole) - 1):
        path.write_bytes(whole[:length])
        assert not is_complete(path)
    (tmp_path / "a.tif").touch()
    assert not is_complete(tmp_path / "a.tif")


def test_images_are_linked_or_copied(tmp_path, monkeypatch):
    source = tmp_path / "a.jpg"
    source.write_bytes(b"image")
    link = tmp_path / "link.jpg"
    link.symlink_to(source)
    place_image(link, tmp_path / "made/a.jpg")
    place_image(link, tmp_path / "made/a.jpg")
    assert os.path.samefile(source, tmp_path / "made/a.jpg")
    assert not (tmp_path / "made/a.jpg").is_symlink()

    def refuse(*args):
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    place_image(source, tmp_path / "made/b.jpg")
    assert (tmp_path / "made/b.jpg").read_bytes() == b"image"
    assert not os.path.samefile(source, tmp_path / "made/b.jpg")
