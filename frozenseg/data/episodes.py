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
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from frozenseg.data.catalog.lookup import class_of_category
from frozenseg.data.catalog.split import DatasetSplit
from frozenseg.data.findings import Report
from frozenseg.data.reading import DAMAGED, require_file
from frozenseg.data.samples import Sample
from frozenseg.data.schemas import EpisodesFile
from frozenseg.files import read_typed
from frozenseg.vocab import Vocabulary

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


def describe(image: str, labels: str, labels_HW: NDArray[np.integer[Any]]) -> EpisodeImage:
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
    content = read_typed(path, EpisodesFile, remedy or DAMAGED)
    order = f"; {remedy}" if remedy else ""
    if content.format != FORMAT:
        raise ValueError(f"{path}: is not an index of episodes of format {FORMAT}{order}")
    images = tuple(EpisodeImage(**entry) for entry in content.images)
    names, number = Counter(entry.name for entry in images).most_common(1)[0] if images else ("", 0)
    if number > 1:
        raise ValueError(f"{path}: lists the image {names!r} {number} times{order}")
    return images


def episode_samples(
    row: DatasetSplit, vocabulary: Vocabulary, root: Path, report: Report
) -> list[Sample]:
    """One sample per entry of the index, sorted by the name of the image.

    Raises: the errors of `read_index`.
    """
    index = root / row.episodes_json
    require_file(index, row.origin.remedy)
    entries = sorted(read_index(index, row.origin.repair), key=lambda e: (e.name, e.image))
    report.images = len(entries)
    samples = [
        Sample(
            root / entry.image,
            entry.name,
            (entry.height, entry.width),
            semantic=root / entry.labels,
            pixels=entry.pixels,
        )
        for entry in entries
    ]
    classes = class_of_category(row, vocabulary)
    if not any(asked_classes(sample, row, classes) for sample in samples):
        report.error(f"no image has one of the {len(classes)} classes", row.origin.repair, index)
    return samples


def asked_classes(
    sample: Sample, row: DatasetSplit, class_of_id: Mapping[int, int]
) -> dict[int, int]:
    """The id in the label map -> class index of all classes that are asked of an image."""
    pixels = sample.pixels or {}
    return {
        category: class_of_id[category]
        for category in sorted(pixels)
        if category in class_of_id and pixels[category] >= row.min_pixels
    }


def episodes_of(
    sample: Sample, row: DatasetSplit, class_of_id: Mapping[int, int]
) -> Iterator[dict[str, Any]]:
    """The episodes of an image: `image_id`, with the id of the class unless all are asked together,
    and `asked`, a tuple of class indices.
    """
    asked = asked_classes(sample, row, class_of_id)
    if row.asks_per_image and asked:
        yield {"image_id": sample.image_id, "asked": tuple(asked.values())}
    elif not row.asks_per_image:
        for category, index in asked.items():
            yield {"image_id": f"{sample.image_id}_{category}", "asked": (index,)}
