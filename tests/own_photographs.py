"""Six small photographs of a cup and a ball on grass, annotated in all ways that own data may be.

For docs/own_data.md: everything that its reader is said to have. Nothing is random but the grain.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from frozenseg.data.reading import rgb_of_ids

NUMBER = 6
UNLABELLED = 255
LOOKS = np.array([(105, 145, 70), (200, 60, 40), (50, 70, 190)])  # grass, cup, ball
MASK_COLORS = np.array([(128, 64, 128), (220, 20, 60), (0, 0, 142)], np.uint8)
CATEGORY_IDS = (3, 7, 9)
SEGMENT_IDS = np.array([5_271_950, 3_301_560, 13_123_150])
CATEGORIES = [
    {"id": 3, "name": "grass", "isthing": 0},
    {"id": 7, "name": "cup", "isthing": 1},
    {"id": 9, "name": "ball", "isthing": 1},
]


def write_photographs(folder: Path, size: tuple[int, int] = (72, 96)) -> None:
    """photos/, and beside it panoptic.json with panoptic/, instances.json, labels/ and colors/.

    Args: size: (height, width).
    """
    for name in ("photos", "panoptic", "labels", "colors"):
        (folder / name).mkdir(parents=True)
    images, segments_of, objects = [], [], []
    for number in range(NUMBER):
        name = f"photo_{number}"
        labels_HW = draw(number, size)
        labelled_HW = labels_HW != UNLABELLED
        known_HW = np.where(labelled_HW, labels_HW, 0)
        grain_HW3 = np.random.default_rng(number).integers(-18, 19, (*size, 3))
        photo_HW3 = (LOOKS[known_HW] + grain_HW3).clip(0, 255).astype(np.uint8)
        Image.fromarray(photo_HW3).save(folder / "photos" / f"{name}.jpg", quality=95)
        Image.fromarray(labels_HW).save(folder / "labels" / f"{name}.png")
        colors_HW3 = MASK_COLORS[known_HW] * labelled_HW[..., None]
        Image.fromarray(colors_HW3.astype(np.uint8)).save(folder / "colors" / f"{name}.png")
        ids_HW = SEGMENT_IDS[known_HW] * labelled_HW
        Image.fromarray(rgb_of_ids(ids_HW)).save(folder / "panoptic" / f"{name}.png")
        image = {"id": number, "file_name": f"{name}.jpg", "height": size[0], "width": size[1]}
        segments = [segment(labels_HW == index, index) for index in range(3)]
        images.append(image)
        segments_of.append(
            {"image_id": number, "file_name": f"{name}.png", "segments_info": segments}
        )
        for one in segments[1:]:
            key = len(objects) + 1
            objects.append({**one, "id": key, "image_id": number, "segmentation": [outline(one)]})
    for name, entries, categories in (
        ("panoptic", segments_of, CATEGORIES),
        ("instances", objects, CATEGORIES[1:]),
    ):
        content = {"images": images, "annotations": entries, "categories": categories}
        (folder / f"{name}.json").write_text(json.dumps(content))


def draw(number: int, size: tuple[int, int]) -> NDArray[np.uint8]:
    """Class indices (H, W); the uppermost rows are not labelled."""
    height, width = size
    y, x = np.mgrid[:height, :width] / height
    left, right = 0.3 + 0.03 * number, 0.95 - 0.02 * number
    labels_HW = np.zeros(size, np.uint8)
    labels_HW[(abs(x - left) < 0.16) & (abs(y - 0.45 - 0.02 * number) < 0.2)] = 1
    labels_HW[(x - right) ** 2 + (y - 0.6 + 0.03 * number) ** 2 < 0.17**2] = 2
    labels_HW[y < 0.06] = UNLABELLED
    return labels_HW


def segment(mask_HW: NDArray[np.bool_], index: int) -> dict[str, Any]:
    """An entry of `segments_info`."""
    ys, xs = np.nonzero(mask_HW)
    box = [int(xs.min()), int(ys.min()), int(np.ptp(xs)) + 1, int(np.ptp(ys)) + 1]
    entry = {"id": int(SEGMENT_IDS[index]), "category_id": CATEGORY_IDS[index], "bbox": box}
    return {**entry, "area": int(mask_HW.sum()), "iscrowd": 0}


def outline(entry: dict[str, Any]) -> list[int]:
    """A polygon: a rectangle of a cup, an octagon of a ball."""
    x, y, w, h = entry["bbox"]
    if entry["category_id"] == CATEGORY_IDS[1]:
        return [x, y, x + w, y, x + w, y + h, x, y + h]
    a, b, c, d = x + w // 3, x + w - w // 3, y + h // 3, y + h - h // 3
    return [a, y, b, y, x + w, c, x + w, d, b, y + h, a, y + h, x, d, x, c]
