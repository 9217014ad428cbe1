"""Which files of a folder, or of a dataset, an export takes."""

from __future__ import annotations

import pytest
from detectron2.data import DatasetCatalog

from frozenseg.data.proposals.images import images_of_dataset, images_of_folder

KEYS = ("a.JPG", "b.png", "deep/c.jpeg", "deep/er/d.webp")


@pytest.fixture
def images(tmp_path):
    root = tmp_path / "images"
    for name in (*KEYS, ".hidden.png", "notes.txt", ".cache/e.png", "deep/index.json"):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(ValueError, match="no image file"):
        images_of_folder(tmp_path)


def test_all_folders_are_searched_for_image_files_by_name(images):
    assert images_of_folder(images) == (images, KEYS)


def test_linked_folders_are_followed_but_not_in_circles(images, tmp_path):
    (tmp_path / "links").mkdir()
    (tmp_path / "links" / "linked").symlink_to(images)
    (tmp_path / "links" / "circle").symlink_to(tmp_path / "links")
    assert images_of_folder(tmp_path / "links").keys == tuple(f"linked/{key}" for key in KEYS)


@pytest.mark.parametrize(
    ("names", "root", "keys"),
    [
        (("x/1.jpg", "x/2.jpg", "x/1.jpg"), "x", ("1.jpg", "2.jpg")),
        (("x/1.jpg", "x/y/2.jpg"), "x", ("1.jpg", "y/2.jpg")),
        (("x/1.jpg", "y/1.jpg"), ".", ("x/1.jpg", "y/1.jpg")),
    ],
)
def test_without_a_root_it_is_the_nearest_common_folder(tmp_path, names, root, keys):
    records = [{"file_name": str(tmp_path / name)} for name in names]
    DatasetCatalog.register("images_of_a_user", lambda: records)
    try:
        assert images_of_dataset("images_of_a_user") == (tmp_path / root, keys)
    finally:
        DatasetCatalog.remove("images_of_a_user")
