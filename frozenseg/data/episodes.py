"""Episodes: an image and the classes that are asked of it; every other pixel is background.

The images of a split and the classes in them are listed in an index file, made by a prepare script:
    {"format": 1, "images": [{"image": "coco/val2014/a.jpg", "labels": "coco/.../a.png",
                              "width": 640, "height": 480, "pixels": {"7": 1234}}, ...]}
Paths are relative to the root of the datasets; `pixels` counts the pixels of every class that
occurs, by its id in the label maps: 0 background, 1, 2, ... the classes, 255 not scored.
Nothing here needs torch.
Legend: H and W pixels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from frozenseg.data.reading import DAMAGED, require_file
from frozenseg.files import read_json

FORMAT = 1
UNLABELLED, IGNORE_LABEL = 0, 255


class EpisodeImage(NamedTuple):
    """An entry of the index: paths below the root, size, and pixels by the id of the class."""

    image: str
    labels: str
    width: int
    height: int
    pixels: dict[int, int]

    @property
    def name(self) -> str:
        """The image's file name without its suffix."""
        return PurePosixPath(self.image).stem


def describe(image: str, labels: str, labels_HW: np.ndarray) -> EpisodeImage:
    """The entry of an image with the label map `labels_HW`."""
    values, numbers = np.unique(labels_HW, return_counts=True)
    pixels = dict(zip(values.tolist(), numbers.tolist(), strict=True))
    classes = {k: n for k, n in pixels.items() if k not in (UNLABELLED, IGNORE_LABEL)}
    height, width = labels_HW.shape
    return EpisodeImage(image, labels, width, height, classes)


def index_content(images: Iterable[EpisodeImage]) -> dict[str, Any]:
    """What an index file holds; sorted by image, so that equal images give equal files."""
    ordered = sorted(images, key=lambda entry: entry.image)
    return {"format": FORMAT, "images": [entry._asdict() for entry in ordered]}


def read_index(path: Path, remedy: str = "") -> tuple[EpisodeImage, ...]:
    """The entries of an index file, in its order.

    Raises: FileNotFoundError; ValueError for a file that is damaged or of another format, and for
        one that lists an image twice.
    """
    require_file(path, remedy)
    content = read_json(path, remedy or DAMAGED)
    order = f"; {remedy}" if remedy else ""
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise ValueError(f"{path}: is not an index of episodes of format {FORMAT}{order}")
    try:
        images = tuple(_read_entry(entry) for entry in content["images"])
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"{path}: an entry is incomplete ({error!r}){order}") from error
    names, number = Counter(entry.name for entry in images).most_common(1)[0] if images else ("", 0)
    if number > 1:
        raise ValueError(f"{path}: lists the image {names!r} {number} times{order}")
    return images


def load_episodes(
    *,
    index: Path,
    root: Path,
    class_of_category: Mapping[int, int],
    min_pixels: int = 1,
    max_items: int = 0,
    per_image: bool = False,
    remedy: str = "",
) -> list[dict[str, Any]]:
    """One record per (image, class) or per image, sorted by file name, then by class.

    Args:
        class_of_category: the id of a class in the label maps -> its index in the vocabulary;
            other classes are not asked for.
        min_pixels: a class counts in an image from so many pixels on.
        max_items: at most so many records, the first ones; 0 means all.
        per_image: one record for all classes of an image, otherwise one for each of them.
    Returns: dicts with file_name, sem_seg_file_name, image_id (the name of the image, with the id
        of the class unless `per_image`), height, width, and `asked`, a tuple of class indices.
    Raises: as `read_index`; FileNotFoundError for a missing image or label map; ValueError if no
        image has a class. All with the remedy.
    """
    records = []
    for entry in sorted(read_index(index, remedy), key=lambda entry: (entry.name, entry.image)):
        asked = {
            category: class_of_category[category]
            for category in sorted(entry.pixels)
            if category in class_of_category and entry.pixels[category] >= min_pixels
        }
        groups = [("", tuple(asked.values()))] if asked and per_image else []
        if not per_image:
            groups = [(f"_{category}", (index_,)) for category, index_ in asked.items()]
        records += [_record(entry, root, suffix, classes) for suffix, classes in groups]
    if not records:
        raise ValueError(
            f"{index}: no image has one of the {len(class_of_category)} classes"
            + (f"; {remedy}" if remedy else "")
        )
    chosen = records[:max_items] if max_items else records
    for key in ("file_name", "sem_seg_file_name"):
        require_file(Path(chosen[0][key]), remedy)
    return chosen


def _record(entry: EpisodeImage, root: Path, suffix: str, asked: Sequence[int]) -> dict[str, Any]:
    return {
        "file_name": str(root / entry.image),
        "sem_seg_file_name": str(root / entry.labels),
        "image_id": entry.name + suffix,
        "height": entry.height,
        "width": entry.width,
        "asked": tuple(asked),
    }


def _read_entry(entry: Mapping[str, Any]) -> EpisodeImage:
    return EpisodeImage(
        str(entry["image"]),
        str(entry["labels"]),
        int(entry["width"]),
        int(entry["height"]),
        {int(category): int(number) for category, number in entry["pixels"].items()},
    )
