"""COCO-20i: label maps of the 80 object classes of COCO 2014, and the index of episodes.

The labels are 1..80, the places of the category ids (1..90 with gaps) in their order. Objects are
laid on each other from the largest to the smallest, so that none disappears below a larger one;
crowds are pixels of their class. Images without objects are in no episode and left out.
Source: Nguyen and Todorovic, ICCV 2019, arXiv:1909.13140 (COCO-20i).
Legend: H and W pixels.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from frozenseg.data.catalog.episode_rows import COCO_NAMES
from frozenseg.data.coco_instances import read_objects, run_length
from frozenseg.data.preparation.episodes import EpisodeJob, prepare_episodes
from frozenseg.data.preparation.raw_files import AGAIN, Source
from frozenseg.data.preparation.work import Preparation
from frozenseg.data.schemas import Id, InstanceFile, ObjectEntry, read_annotations

SOURCE = Source("COCO 2014", "https://cocodataset.org/#download", "COCO-20i")


class Objects(NamedTuple):
    """The size (height, width) of an image and (label, polygons or RLE) of its objects."""

    size: tuple[int, int]
    objects: tuple[tuple[int, Any], ...]


def prepare_coco_20i(preparation: Preparation) -> None:
    """Makes coco/annotations_coco_20i/<split>2014/*.png and coco_20i/<split>.json."""
    wanted = "coco/annotations/instances_{split}2014.json", "coco/{split}2014/"
    preparation.require(SOURCE, *wanted)
    for split in preparation.splits:
        jobs = jobs_of(preparation.root, split)
        index = preparation.root / "coco_20i" / f"{split}.json"
        title = f"COCO-20i {split}"
        # An object may be too small to cover a pixel.
        prepare_episodes(
            preparation, title, jobs, draw_objects, index, len(COCO_NAMES), allow_empty=True
        )


def jobs_of(root: Path, split: str) -> list[EpisodeJob]:
    """One job per image with objects, sorted by file name."""
    path = root / f"coco/annotations/instances_{split}2014.json"
    content = read_annotations(path, InstanceFile, AGAIN, AGAIN)
    label_of = labels_of_categories(content, path)
    entries_of: dict[Id, list[ObjectEntry]] = {}
    for entry in sorted(content.annotations, key=lambda entry: str(entry.get("id", 0)).zfill(20)):
        entries_of.setdefault(entry["image_id"], []).append(entry)
    jobs = []
    for image in sorted(content.images, key=lambda image: image.get("file_name", "")):
        name, size = image.get("file_name", ""), (image["height"], image["width"])
        objects, faults = read_objects(entries_of.get(image["id"], ()), label_of, size)
        for fault in faults:
            if fault.level == "error":
                where = f"{path}: annotation {fault.entry.get('id')}"
                raise ValueError(f"{where}: {fault.problem}: {fault.value}; {AGAIN}")
        if not objects:
            continue
        shapes = tuple((one["category_id"], one["segmentation"]) for one in objects)
        jobs.append(
            EpisodeJob(
                f"coco/{split}2014/{name}",
                f"coco/annotations_coco_20i/{split}2014/{Path(name).stem}.png",
                Objects(size, shapes),
            )
        )
    if not jobs:
        raise ValueError(f"{path}: no image has an object; {AGAIN}")
    return jobs


def labels_of_categories(content: InstanceFile, path: Path) -> dict[int, int]:
    """Label 1..80 by category id. Raises: ValueError if the file has other classes than COCO."""
    categories = sorted(content.categories, key=lambda category: category["id"])
    names = tuple(category["name"] for category in categories)
    if names != COCO_NAMES:
        raise ValueError(
            f"{path}: has the {len(names)} categories {', '.join(names[:3])} ..., not the 80 of "
            f"COCO; {AGAIN}"
        )
    return {category["id"]: label for label, category in enumerate(categories, 1)}


def draw_objects(job: EpisodeJob) -> NDArray[np.uint8]:
    """The label map (H, W) uint8 of the objects of an image."""
    height, width = job.source.size
    masks = [(label, _mask(shape, height, width)) for label, shape in job.source.objects]
    labels_HW = np.zeros((height, width), np.uint8)
    for label, mask_HW in sorted(masks, key=lambda pair: -np.count_nonzero(pair[1])):
        labels_HW[mask_HW > 0] = label
    return labels_HW


def _mask(shape: Any, height: int, width: int) -> NDArray[np.uint8]:
    """A mask (H, W) uint8 of polygons or of a run-length code."""
    shape = run_length(shape, (height, width))
    if tuple(shape["size"]) != (height, width):
        raise ValueError(
            f"an object has a mask of size {shape['size']} in an image of {[height, width]} "
            f"(height, width); {AGAIN}"
        )
    return coco_mask.decode(shape)
