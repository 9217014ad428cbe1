"""Tiny copies of every benchmark as it is published: real folders, names and encodings, few pixels.

`make_<benchmark>(root)` writes two or three images of 20 x 30 pixels (height x width) below `root`,
with what is peculiar to the benchmark: unlabelled values, borders, gaps, crowds, 16 bits. Regions
are rectangles, so that a test can count their pixels by hand. The formats are those of the pages
named in each function. `run_prepare` runs a script of datasets/ on them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from scipy.io import savemat

from frozenseg.vocab import Vocabulary
from tests.data.raw_episodes import make_coco_20i, make_fss, make_pascal_5i
from tests.data.raw_mess import make_mess
from tests.data.raw_street_scenes import make_bdd100k, make_cityscapes, make_mapillary
from tests.data.raw_writers import (
    HEIGHT,
    WIDTH,
    canvas,
    rgb,
    run_prepare,
    save,
    save_json,
    save_palette,
    save_photo,
    save_text,
    segment,
)

__all__ = [
    "context_names",
    "make_ade20k",
    "make_ade20k_full",
    "make_bdd100k",
    "make_cityscapes",
    "make_coco",
    "make_coco_20i",
    "make_coco_stuff",
    "make_fss",
    "make_lvis",
    "make_mapillary",
    "make_mess",
    "make_pascal_5i",
    "make_pascal_context",
    "make_pascal_voc",
    "run_prepare",
]


def make_ade20k(root: Path, split: str = "val") -> None:
    """http://sceneparsing.csail.mit.edu/ and placeschallenge/instancesegmentation (README).

    First image: sky (3) above, unlabelled (0) and floor (4) below; an instance of bed (category 1)
    that lies on both, two of persons (4), a chair (20) that is no instance. Second: wall (1) and a
    flag (150; category 100, instance 255), the largest values.
    """
    folder, name = root / "ADEChallengeData2016", {"train": "training", "val": "validation"}[split]
    first = canvas(3)
    first[10:, :10], first[10:, 10:] = 0, 4
    first[10:13, 12:17], first[15:, 20:] = 8, 13
    first[:2, 28:] = 20
    instances = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    instances[8:13, 12:17] = (1, 1, 0)
    instances[15:, 20:25], instances[15:, 25:] = (4, 2, 0), (4, 3, 0)
    second = canvas(1)
    second[:4, :4] = 150
    flags = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    flags[:4, :4] = (100, 255, 0)
    for number, (labels, things) in enumerate(((first, instances), (second, flags)), 1):
        stem = f"ADE_{split}_{number:08d}"
        save_photo(folder / "images" / name / f"{stem}.jpg")
        save(folder / "annotations" / name / f"{stem}.png", labels)
        save(folder / "annotations_instance" / name / f"{stem}.png", things)
    things = [c.dataset_id + 1 for c in Vocabulary.from_table("ade20k_150").classes if c.is_thing]
    rows = [f"{number}\t\t{label}\t\t{label + 1000}" for number, label in enumerate(things, 1)]
    save_text(
        folder / "categoryMapping.txt", ["Instacne100\tSceneParse150\tFullADE20K", *rows, rows[-1]]
    )


def make_ade20k_full(root: Path, split: str = "val") -> None:
    """https://groups.csail.mit.edu/vision/datasets/ADE20K/: class = R // 10 * 256 + G, B instance.

    Nested scene folders, files of parts, an index that is a pickle (here one that must not be
    read). The class list, <root>/ade20k_full_classes.tsv, has 847 rows: wall is 2978, class 0,
    adding machine is 3148, class 846, the others are 1, 2, 3, ...
    """
    folder = root / "ADE20K_2021_17_01"
    name = {"train": "training", "val": "validation"}[split]
    first = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    first[:10] = (110, 162, 1)  # 11 * 256 + 162 = 2978: wall
    first[10:, :10] = (119, 162, 2)  # a red that is no multiple of 10
    first[10:, 10:20] = (120, 76, 3)  # 12 * 256 + 76 = 3148: adding machine
    first[10:15, 20:] = (120, 0, 4)  # 3072: a class that is not scored
    second = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    second[:] = (10, 44, 1)  # 1 * 256 + 44 = 300: class 300
    scenes = ("urban/street", "home_or_hotel/bedroom")
    for number, (scene, labels) in enumerate(zip(scenes, (first, second), strict=True), 1):
        path = folder / "images/ADE" / name / scene / f"ADE_{split}_{number:08d}"
        save_photo(path.with_suffix(".jpg"))
        save(path.with_name(f"{path.name}_seg.png"), labels)
        save(path.with_name(f"{path.name}_parts_1.png"), labels)
        save_json(path.with_suffix(".json"), {"annotation": {}})
    (folder / "index_ade20k.pkl").write_bytes(b"cposix\nabort\n(tR.")  # loading it ends the process
    rows = ["2978\t0\twall", *(f"{k}\t{k}\tclass {k}" for k in range(1, 846))]
    rows.append("3148\t846\tadding machine, totalizer, totaliser")
    save_text(root / "ade20k_full_classes.tsv", ["id\ttrainId\tname", *rows])


def make_coco(root: Path, split: str = "val") -> None:
    """https://cocodataset.org/#format-data, 4: ids of all three bytes, gaps, a crowd, unlabelled.

    First image: sky (187) above, unlabelled at the left below, a person (1) and a crowd of persons.
    Second: rug (200, the last category) around a bridge (95).
    """
    folder = root / "coco"
    sky, person, crowd, rug, bridge = 3226956, 257, 65536, 7, 16777215
    first = canvas(sky, np.int32)
    first[10:, :10], first[10:, 10:20], first[10:, 20:] = 0, person, crowd
    second = canvas(rug, np.int32)
    second[5:10, 5:15] = bridge
    infos = (
        [segment(first, sky, 187), segment(first, person, 1), segment(first, crowd, 1, 1)],
        [segment(second, rug, 200), segment(second, bridge, 95)],
    )
    images, annotations = [], []
    for number, ids, info in zip((139, 285), (first, second), infos, strict=True):
        stem = f"{number:012d}"
        save_photo(folder / f"{split}2017" / f"{stem}.jpg")
        save(folder / f"panoptic_{split}2017" / f"{stem}.png", rgb(ids))
        size = {"height": HEIGHT, "width": WIDTH}
        images.append({"id": number, "file_name": f"{stem}.jpg", **size})
        annotations.append({"image_id": number, "file_name": f"{stem}.png", "segments_info": info})
    categories = [
        {"id": c.dataset_id, "name": c.official, "isthing": int(c.is_thing), "color": c.color}
        for c in Vocabulary.from_table("coco_panoptic").classes
    ]
    content = {"images": images, "annotations": annotations, "categories": categories}
    save_json(folder / f"annotations/panoptic_{split}2017.json", content)


def make_coco_stuff(root: Path, split: str = "val") -> None:
    """https://github.com/nightrome/cocostuff: value = label id - 1 (0..181, gaps), 255 unlabelled.

    First image: person (id 1) above, wood (id 182) and unlabelled below. Second: stop sign (13),
    the first after a gap, beside banner (92), the first stuff.
    """
    first = canvas(0)
    first[10:, :10], first[10:, 10:] = 255, 181
    second = canvas(12)
    second[:, 15:] = 91
    for number, labels in ((139, first), (285, second)):
        stem = f"{number:012d}"
        save_photo(root / "coco" / f"{split}2017" / f"{stem}.jpg")
        save(root / "coco/stuffthingmaps" / f"{split}2017" / f"{stem}.png", labels)


def make_lvis(root: Path, split: str = "val") -> None:
    """https://www.lvisdataset.org/dataset: 1203 categories, images of COCO's two splits by URL.

    An image of val2017 and one of train2017 (both belong to LVIS val), polygons, boxes
    [x, y, width, height], frequencies "r", "c" and "f", and the lists of absent categories.
    """
    images, annotations = [], []
    boxes = {139: (1, [2.0, 3.0, 10.0, 8.0]), 285: (1203, [15.0, 5.0, 12.0, 10.0])}
    for (number, (category, box)), source in zip(boxes.items(), ("val", "train"), strict=True):
        name = f"{source}2017/{number:012d}.jpg"
        save_photo(root / "coco" / name)
        images.append(
            {
                "id": number,
                "height": HEIGHT,
                "width": WIDTH,
                "coco_url": f"http://images.cocodataset.org/{name}",
                "neg_category_ids": [2],
                "not_exhaustive_category_ids": [],
            }
        )
        x, y, w, h = box
        annotations.append(
            {
                "id": len(annotations) + 1,
                "image_id": number,
                "category_id": category,
                "bbox": box,
                "area": w * h,
                "segmentation": [[x, y, x + w, y, x + w, y + h, x, y + h]],
            }
        )
    categories = [
        {
            "id": k,
            "name": f"object_{k}_(kind)",
            "synonyms": [f"object_{k}_(kind)"],
            "frequency": "rcf"[k % 3],
            "image_count": k % 3 + 1,
        }
        for k in range(1, 1204)
    ]
    content = {"images": images, "annotations": annotations, "categories": categories}
    save_json(root / f"coco/annotations/lvis_v1_{split}.json", content)


def make_pascal_voc(root: Path, split: str = "val") -> None:
    """http://host.robots.ox.ac.uk/pascal/VOC/voc2012/: palette PNGs, 0 background, 255 border.

    First image: an aeroplane (1) with a border on background. Second: tv monitor (20) and person
    (15). A third image is in no list.
    """
    folder = root / "VOCdevkit/VOC2012"
    first = canvas(0)
    first[4:16, 4:16], first[5:15, 5:15] = 255, 1
    second = canvas(0)
    second[:10, :10], second[10:, 10:] = 20, 15
    for stem, labels in (
        ("2007_000033", first), ("2007_000042", second), ("2007_000001", second)
    ):  # fmt: skip
        save_photo(folder / "JPEGImages" / f"{stem}.jpg")
        save_palette(folder / "SegmentationClass" / f"{stem}.png", labels)
    save_text(folder / f"ImageSets/Segmentation/{split}.txt", ["2007_000033", "2007_000042"])


def context_names() -> list[str]:
    """459 names in alphabetical places as labels.txt has them: the 59, and others between them.

    The ids of the 59 are the real ones (aeroplane 2, bag 9, ..., wood 458; see detail-api).
    """
    # fmt: off
    ids = (
        2, 9, 18, 19, 22, 23, 25, 31, 33, 34, 44, 45, 46, 59, 65, 68, 72, 80, 85, 98, 104, 105, 113,
        115, 144, 158, 159, 162, 187, 189, 207, 220, 232, 258, 259, 260, 284, 295, 296, 308, 324,
        326, 347, 349, 354, 355, 360, 366, 368, 397, 415, 416, 420, 424, 427, 440, 445, 454, 458,
    )
    # fmt: on
    names = [f"object {k}" for k in range(1, 460)]
    for value, item in zip(ids, Vocabulary.from_table("pascal_context_59").classes, strict=True):
        names[value - 1] = item.official
    return names


def make_pascal_context(root: Path, split: str = "val") -> None:
    """https://www.cs.stanford.edu/~roozbeh/pascal-context/: LabelMap (uint16) in .mat, labels.txt.

    First image: sky (360) above, unlabelled (0) at the left below, wood (458) and a class that is
    none of the 59 (459). Second: aeroplane (2) and another of the 459 (1).
    """
    folder = root / "VOCdevkit/VOC2010"
    first = canvas(360, np.uint16)
    first[10:, :10], first[10:, 10:20], first[10:, 20:] = 0, 458, 459
    second = canvas(2, np.uint16)
    second[:, 20:] = 1
    for stem, labels in (("2008_000002", first), ("2008_000003", second)):
        save_photo(folder / "JPEGImages" / f"{stem}.jpg")
        (folder / "trainval").mkdir(parents=True, exist_ok=True)
        path = folder / "trainval" / f"{stem}.mat"
        savemat(path, {"LabelMap": labels}, do_compression=True)
    save_text(folder / f"ImageSets/Main/{split}.txt", ["2008_000002", "2008_000003"])
    save_text(folder / "labels.txt", [f"{k}: {n}" for k, n in enumerate(context_names(), 1)])
    frequent = [item.official for item in Vocabulary.from_table("pascal_context_59").classes]
    save_text(folder / "59_labels.txt", [f"{k}: {n}" for k, n in enumerate(frequent[::-1], 1)])
