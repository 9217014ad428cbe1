"""BDD100K panoptic: bitmasks to COCO's panoptic format.

Published are RGBA files (https://doc.bdd100k.com, "Bitmask"): R the category 1..40 (0 unlabelled;
1..30 stuff, 31..40 things), G flags (1 ignored, 2 crowd, 4 occluded, 8 truncated), 256 B + A the
number of the instance. Stuff of a category is one segment, things are one per number; crowds and
ignored ones have iscrowd 1, as in the official converter, stuff only where all of it has. The id of
a segment is 65536 category + number, 0 for stuff: blue is the category. Semantic masks (0..18 and
255) are published ready-made.
Legend: H and W pixels.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from frozenseg.data.preparation.raw_files import AGAIN, Source, paired_stems, read_raw, require_tree
from frozenseg.data.preparation.segments import Kind, PanopticJob, categories_of, prepare_panoptic
from frozenseg.data.preparation.work import Preparation

SOURCE = Source("BDD100K", "http://bdd-data.berkeley.edu/", "BDD100K")
_IGNORED, _CROWD = 1, 2
_CATEGORY_STEP = 65536


def prepare_bdd100k(preparation: Preparation) -> None:
    """Makes labels/pan_seg/panoptic_<split>(.json)."""
    folders = [
        f"bdd100k/{kind}/{split}/"
        for split in preparation.splits
        for kind in ("images/10k", "labels/pan_seg/bitmasks")
    ]
    require_tree(SOURCE, preparation.root, folders)
    categories = categories_of("bdd100k_40")
    stuff = frozenset(category["id"] for category in categories if not category["isthing"])
    for split in preparation.splits:
        images = preparation.root / "bdd100k/images/10k" / split
        labels = preparation.root / "bdd100k/labels/pan_seg"
        made = labels / f"panoptic_{split}"
        jobs = [
            PanopticJob(
                images / f"{stem}.jpg",
                (labels / "bitmasks" / split / f"{stem}.png",),
                made / f"{stem}.png",
                stem,
                f"{stem}.jpg",
            )
            for stem in paired_stems(images, ".jpg", labels / "bitmasks" / split, ".png")
        ]
        decode = partial(decode_panoptic, stuff=stuff, classes=len(categories))
        index = labels / f"panoptic_{split}.json"
        prepare_panoptic(preparation, f"BDD100K panoptic {split}", jobs, decode, index, categories)


def decode_panoptic(
    job: PanopticJob, *, stuff: frozenset[int], classes: int
) -> tuple[NDArray[np.int32], dict[int, Kind]]:
    """Segment ids (H, W), 0 where nothing is labelled, and their kinds."""
    [path] = job.annotations
    red, flags_HW, blue, alpha = np.moveaxis(read_raw(path, ("RGBA",)), -1, 0).astype(np.int32)
    if red.max() > classes:
        y, x = np.argwhere(red > classes)[0]
        raise ValueError(
            f"{path}: category {red[y, x]} (red) at x={x}, y={y} is out of range: BDD100K panoptic "
            f"has 0 (unlabelled) and 1 to {classes}; {AGAIN}"
        )
    numbers_HW = np.where(np.isin(red, list(stuff)), 0, 256 * blue + alpha)
    ids_HW = np.where(red > 0, _CATEGORY_STEP * red + numbers_HW, 0)
    single_HW = (flags_HW & (_IGNORED | _CROWD)) == 0
    singles = set(np.unique(ids_HW[single_HW]).tolist())
    kinds = {
        identity: Kind(identity // _CATEGORY_STEP, crowd=identity not in singles)
        for identity in np.unique(ids_HW).tolist()
        if identity
    }
    return ids_HW, kinds
