"""Tiny copies of Cityscapes, Mapillary Vistas and BDD100K, see raw_datasets.py."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from frozenseg.vocab import Vocabulary
from tests.data.raw_writers import (
    HEIGHT,
    WIDTH,
    canvas,
    rgb,
    save,
    save_json,
    save_palette,
    save_photo,
    segment,
)


def make_cityscapes(root: Path, split: str = "val") -> None:
    """https://github.com/mcordts/cityscapesScripts: label ids and 16-bit instance ids.

    First image: road (7) with two cars (26000, 26001), a group of cars (26), a caravan (29000, not
    scored), the own vehicle (1). Second, of another city: sky (23) above terrain (22), static (4).
    """
    folder = root / "cityscapes"
    first = canvas(7, np.uint16)
    first[:5, :5], first[:5, 10:15], first[:5, 20:25] = 26000, 26001, 26
    first[10:12, :4], first[18:] = 29000, 1
    second = canvas(22, np.uint16)
    second[:8], second[8, :3] = 23, 4
    for name, ids in (("frankfurt_000000_000294", first), ("munster_000001_000019", second)):
        city = name.split("_")[0]
        labels = np.where(ids < 1000, ids, ids // 1000).astype(np.uint8)
        save_photo(folder / "leftImg8bit" / split / city / f"{name}_leftImg8bit.png")
        path = folder / "gtFine" / split / city / f"{name}_gtFine"
        save(path.with_name(f"{path.name}_instanceIds.png"), ids)
        save(path.with_name(f"{path.name}_labelIds.png"), labels)
        save_json(
            path.with_name(f"{path.name}_polygons.json"),
            {"imgHeight": HEIGHT, "imgWidth": WIDTH, "objects": []},
        )


def make_mapillary(root: Path, split: str = "val") -> None:
    """https://www.mapillary.com/dataset/vistas, v1.2: palette labels, and COCO's panoptic format.

    First image: sky (class 27, panoptic id 28) above road (13, id 14), unlabelled (65, no segment)
    at the right, two cars (55, id 56). Second: the own vehicle (64, id 65) and a bird (0, id 1).
    """
    folder = root / "mapillary_vistas" / {"train": "training", "val": "validation"}[split]
    first = canvas(27)
    first[10:], first[:, 25:], first[12:16, :10] = 13, 65, 55
    first_ids = np.where(first == 65, 0, first.astype(np.int32) * 256 + 1)
    first_ids[12:16, 5:10] += 1
    second = canvas(64)
    second[:3, :4] = 0
    second_ids = second.astype(np.int32) * 256 + 1
    images, annotations = [], []
    for stem, labels, ids in (("aaBB-11", first, first_ids), ("ccDD_22", second, second_ids)):
        save_photo(folder / "images" / f"{stem}.jpg")
        save_palette(folder / "labels" / f"{stem}.png", labels)
        save(folder / "panoptic" / f"{stem}.png", rgb(ids))
        size = {"height": HEIGHT, "width": WIDTH}
        images.append({"id": stem, "file_name": f"{stem}.jpg", **size})
        info = [segment(ids, int(i), int(i) // 256 + 1) for i in np.unique(ids) if i]
        annotations.append({"image_id": stem, "file_name": f"{stem}.png", "segments_info": info})
    categories = [
        {"id": c.dataset_id, "name": c.official, "isthing": int(c.is_thing), "color": c.color}
        for c in Vocabulary.from_table("mapillary_vistas").classes
    ]
    content = {"images": images, "annotations": annotations, "categories": categories}
    save_json(folder / "panoptic/panoptic_2018.json", content)


def make_bdd100k(root: Path, split: str = "val") -> None:
    """https://doc.bdd100k.com, "Bitmask": R category, G flags, 256 B + A the instance.

    First image: sky (30) in two pieces, cars (35) 1 and 259, a crowd of persons (31; flag 2), an
    ignored rider (32; flag 1), unlabelled (0) at the right. Second: road (7) and a truck (40).
    """
    folder = root / "bdd100k"
    first = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    first[:5, :10], first[:5, 10:25] = (30, 0, 0, 5), (30, 0, 0, 6)
    first[5:10, :10], first[5:10, 10:20] = (35, 0, 0, 1), (35, 4, 1, 3)
    first[10:15, :10], first[10:15, 10:20] = (31, 2, 0, 8), (32, 1, 0, 9)
    second = np.zeros((HEIGHT, WIDTH, 4), np.uint8)
    second[:] = (7, 0, 0, 1)
    second[:10, :10] = (40, 12, 0, 2)
    semantic = {30: 10, 35: 13, 31: 11, 32: 12, 7: 0, 40: 14}
    for stem, bitmask in (("7d06fefd-f7be05a6", first), ("7d15b18b-1e0d6e3f", second)):
        labels = canvas(255)
        for category, index in semantic.items():
            labels[bitmask[..., 0] == category] = index
        save_photo(folder / "images/10k" / split / f"{stem}.jpg")
        save(folder / "labels/pan_seg/bitmasks" / split / f"{stem}.png", bitmask)
        save(folder / "labels/sem_seg/masks" / split / f"{stem}.png", labels)
