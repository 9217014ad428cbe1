"""Tiny copies of what the episodic benchmarks are made from; see raw_datasets.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

from frozenseg.data.catalog.episode_rows import COCO_NAMES
from tests.data.raw_writers import HEIGHT, WIDTH, save_json, save_palette, save_photo, save_text

# COCO publishes 80 classes under the ids 1..90 without these ten.
COCO_GAPS = (12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
FSS_CLASSES = 240


def make_pascal_5i(root: Path, split: str = "val") -> None:
    """VOC 2012 (palette PNGs, 255 border) and SBD (http://home.bharathh.info/pubs/codes/SBD/).

    Labels: `pascal_labels`; the second image of VOC val has a large cat. SBD's two lists name an
    image of its own, one of VOC val, which is none for training, and one of VOC train, whose mask
    is VOC's.
    """
    voc, sbd = root / "VOCdevkit/VOC2012", root / "benchmark_RELEASE/dataset"
    cats = {"2007_000033": (20, 20), "2007_000042": (50, 60), "2007_000032": (20, 20)}
    for stem, cat in cats.items():
        save_palette(voc / "SegmentationClass" / f"{stem}.png", pascal_labels(cat, border=True))
    for stem in (*cats, "2008_000002"):
        save_photo(voc / "JPEGImages" / f"{stem}.jpg", 120, 160)
    save_text(voc / "ImageSets/Segmentation/val.txt", ["2007_000042", "2007_000033"])
    if split == "val":
        return
    save_text(voc / "ImageSets/Segmentation/train.txt", ["2007_000032"])
    save_text(sbd / "train.txt", ["2008_000002", "2007_000033"])
    save_text(sbd / "val.txt", ["2007_000032"])
    (sbd / "cls").mkdir(parents=True, exist_ok=True)
    for stem in ("2008_000002", "2007_000033", "2007_000032"):
        truth = {
            "Boundaries": np.zeros((20, 1)),
            "Segmentation": pascal_labels((20, 20), border=False),
            "CategoriesPresent": np.array([1, 7, 8, 12, 20], np.uint8),
        }
        savemat(sbd / "cls" / f"{stem}.mat", {"GTcls": truth}, do_compression=True)


def pascal_labels(cat: tuple[int, int], *, border: bool) -> np.ndarray:
    """120 x 160: an object in each quarter (60 x 80), of folds 0 to 3, and a cat in the first.

    Aeroplane (1), car (7), dog (12), tvmonitor (20). With borders an object has 58 x 78 = 4524
    pixels, and those of the border are 255; without 4800. The cat (8) of size (height, width) takes
    its pixels from the aeroplane.
    """
    labels = np.zeros((120, 160), np.uint8)
    for quarter, label in enumerate((1, 7, 12, 20)):
        y, x = (n * size for n, size in zip(divmod(quarter, 2), (60, 80), strict=True))
        labels[y : y + 60, x : x + 80] = 255 if border else label
        labels[y + 1 : y + 59, x + 1 : x + 79] = label
    labels[5 : 5 + cat[0], 5 : 5 + cat[1]] = 8
    return labels


def make_coco_20i(root: Path, split: str = "val") -> None:
    """https://cocodataset.org/#format-data, 1: polygons, a crowd as RLE, ids with gaps.

    First image: a cup (id 47, label 42) of 20 pixels that is listed before the dining table (67,
    61) it stands on, of 400; a crowd of persons (1) of 100. Second: a bicycle (2) of 50 pixels, a
    car (3) of 30 and a toothbrush (90, label 80) of 100. The third has no object.
    """
    folder, ids = root / "coco", [i for i in range(1, 91) if i not in COCO_GAPS]
    names = {number: f"COCO_{split}2014_{number:012d}.jpg" for number in (42, 73, 133)}
    for name in names.values():
        save_photo(folder / f"{split}2014" / name)
    crowd = {"size": [HEIGHT, WIDTH], "counts": [500, 100]}  # column by column: the last five
    objects = [
        (73, 2, _rectangle(0, 0, 10, 5)), (42, 47, _rectangle(2, 2, 7, 6)),
        (73, 90, _rectangle(20, 10, 30, 20)), (42, 67, _rectangle(0, 0, 20, 20)),
        (42, 1, crowd), (73, 3, _rectangle(0, 10, 6, 15)),
    ]  # fmt: skip
    content = {
        "images": [
            {"id": number, "file_name": name, "height": HEIGHT, "width": WIDTH}
            for number, name in reversed(names.items())
        ],
        "annotations": [
            {
                "id": number,
                "image_id": image,
                "category_id": category,
                "iscrowd": int(isinstance(shape, dict)),
                "bbox": [0, 0, WIDTH, HEIGHT],
                "area": 1,
                "segmentation": shape,
            }
            for number, (image, category, shape) in enumerate(objects, 1)
        ],
        "categories": [{"id": i, "name": name} for i, name in zip(ids, COCO_NAMES, strict=True)][
            ::-1
        ],
    }
    save_json(folder / f"annotations/instances_{split}2014.json", content)


def _rectangle(left: int, top: int, right: int, bottom: int) -> list[list[int]]:
    return [[left, top, right, top, right, bottom, left, bottom]]


def make_fss(root: Path, split: str = "test", pictures: int = 1) -> None:
    """https://github.com/HKUSTCV/FSS-1000: folders of classes with pictures and masks, and a list.

    240 test classes (of which one has an apostrophe), here with few pictures of 20 x 20 pixels,
    whose object is the square of 10 x 10 in the middle; a class that is not for tests.
    """
    folder = root / "fewshot_data"
    names = ["abe's_flyingfish", *(f"thing_{number:03d}" for number in range(2, FSS_CLASSES + 1))]
    mask = np.zeros((20, 20, 3), np.uint8)
    mask[5:15, 5:15] = 255
    for name in (*names, "of_training"):
        for number in range(1, pictures + 1):
            save_photo(folder / name / f"{number}.jpg", 20, 20)
            Image.fromarray(mask).save(folder / name / f"{number}.png")
    save_text(folder / "fss_test_set.txt", names[::-1])
