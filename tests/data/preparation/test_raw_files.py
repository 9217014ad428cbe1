"""Reading published files: modes, sizes with EXIF data, missing trees."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from frozenseg.data.preparation.raw_files import (
    Source,
    check_sizes,
    image_size,
    listed_stems,
    paired_stems,
    read_raw,
    require_tree,
    stems,
)
from tests.data.raw_writers import save, save_palette, save_photo, save_text

SOURCE = Source("Flowers", "https://example.org/flowers", "Flowers")


def test_values_are_read_as_they_are(tmp_path):
    path = tmp_path / "a.png"
    values = np.arange(6, dtype=np.uint8).reshape(2, 3)
    save_palette(path, values)
    assert (read_raw(path, ("P",)) == values).all()  # indices, not colours
    save(path, values.astype(np.uint16) * 10000)
    assert (read_raw(path, ("I;16", "I")) == values.astype(int) * 10000).all()
    with pytest.raises(ValueError, match="is of mode I;16, but the benchmark publishes L or P"):
        read_raw(path, ("L", "P"))


@pytest.mark.parametrize(("orientation", "size"), [(1, (20, 30)), (3, (20, 30)), (6, (30, 20))])
def test_sizes_are_those_of_the_image_as_it_is_shown(tmp_path, orientation, size):
    path = tmp_path / "a.jpg"
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (30, 20)).save(path, exif=exif)
    assert image_size(path) == size
    check_sizes(tmp_path / "a.png", np.zeros(size), path)
    with pytest.raises(ValueError, match=r"a\.png: is 7x7 but its image .*a\.jpg is"):
        check_sizes(tmp_path / "a.png", np.zeros((7, 7)), path)


def test_a_damaged_image_is_named(tmp_path):
    path = tmp_path / "a.jpg"
    path.write_bytes(b"\xff\xd8\xff")
    with pytest.raises(ValueError, match=r"a\.jpg: damaged image .*get it again"):
        image_size(path)


def test_a_missing_tree_names_all_that_is_expected(tmp_path):
    wanted = ["roses/val/", "roses/list.txt"]
    (tmp_path / "roses/val").mkdir(parents=True)
    message = (
        r"lacks roses/val/, roses/list\.txt: Flowers needs roses/val/, roses/list\.txt there\. "
        r"Get them from https://example\.org/flowers \(datasets/README\.md, section Flowers\)"
    )
    with pytest.raises(FileNotFoundError, match=message):
        require_tree(SOURCE, tmp_path, wanted)
    save_photo(tmp_path / "roses/val/1.jpg")
    with pytest.raises(FileNotFoundError, match=r"lacks roses/list\.txt: "):
        require_tree(SOURCE, tmp_path, wanted)
    save_text(tmp_path / "roses/list.txt", ["1"])
    require_tree(SOURCE, tmp_path, wanted)


def test_names_are_those_of_images_and_masks(tmp_path):
    for name in ("images/b.jpg", "images/a.jpg", "images/notes.txt", "images/._a.jpg"):
        save_text(tmp_path / name, [])
    for name in ("masks/b.png", "masks/c.png"):
        save_text(tmp_path / name, [])
    images, masks = tmp_path / "images", tmp_path / "masks"
    assert stems(images, ".jpg") == ["a", "b"]
    assert paired_stems(images, masks) == ["a", "b", "c"]
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(FileNotFoundError, match=r"holds no file \*\.jpg"):
        paired_stems(empty, empty)
    save_text(tmp_path / "list.txt", ["b  1", "", "a -1"])
    assert listed_stems(tmp_path / "list.txt") == ["b", "a"]
