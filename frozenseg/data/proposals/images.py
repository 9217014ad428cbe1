"""Which images an export is about."""

from __future__ import annotations

import os
from pathlib import Path
from typing import NamedTuple

from frozenseg.data.image_files import is_image
from frozenseg.data.image_mask_pairs import walk_files


class Images(NamedTuple):
    """A folder, and the paths of its images below it with "/", sorted."""

    root: Path
    keys: tuple[str, ...]


def images_of_folder(folder: Path) -> Images:
    """All image files (by suffix) in a folder and the folders in it, hidden ones left out.

    Raises: FileNotFoundError if there is no such folder, ValueError if it has no image.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"--images {folder}: no such folder")
    keys = sorted(name for name, path in walk_files(folder) if is_image(path))
    if not keys:
        raise ValueError(f"--images {folder}: no image file in it")
    return Images(folder, tuple(keys))


def images_of_dataset(name: str) -> Images:
    """The images of a dataset that detectron2's catalog or ours knows.

    The folder is the dataset's `image_root`, or where its images have no common one, their
    nearest common folder.
    Raises: ValueError for an unknown name; FileNotFoundError for missing files, with the remedy.
    """
    from detectron2.data import DatasetCatalog, MetadataCatalog

    from frozenseg.data.catalog.lookup import find_split
    from frozenseg.data.catalog.register import register_splits

    register_splits()
    if name not in DatasetCatalog:
        find_split(name)  # raises, with the names that come near
    files = sorted({Path(record["file_name"]) for record in DatasetCatalog.get(name)})
    root = Path(MetadataCatalog.get(name).get("image_root", ""))
    if not all(file.is_relative_to(root) for file in files) or not root.name:
        root = Path(os.path.commonpath([file.parent for file in files]))
    return Images(root, tuple(sorted(file.relative_to(root).as_posix() for file in files)))
