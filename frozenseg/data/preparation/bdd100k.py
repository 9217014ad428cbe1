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

from frozenseg.data.preparation.raw_files import AGAIN, Source, check_range, read_raw
from frozenseg.data.preparation.segments import (
    Kind,
    PanopticJob,
    categories_of,
    prepare_panoptic_folders,
)
from frozenseg.data.preparation.work import Preparation

SOURCE = Source("BDD100K", "http://bdd-data.berkeley.edu/", "BDD100K")
IMAGES, LABELS = "bdd100k/images/10k/{split}", "bdd100k/labels/pan_seg/bitmasks/{split}"
MADE = "bdd100k/labels/pan_seg/panoptic_{split}"
_IGNORED, _CROWD = 1, 2
_CATEGORY_STEP = 65536


def prepare_bdd100k(preparation: Preparation) -> None:
    """Makes labels/pan_seg/panoptic_<split>(.json)."""
    preparation.require(SOURCE, f"{IMAGES}/", f"{LABELS}/")
    categories = categories_of("bdd100k_40")
    stuff = frozenset(category["id"] for category in categories if not category["isthing"])
    decode = partial(decode_panoptic, stuff=stuff, classes=len(categories))
    title = "BDD100K panoptic"
    prepare_panoptic_folders(preparation, title, IMAGES, [LABELS], MADE, decode, categories)


def decode_panoptic(
    job: PanopticJob, *, stuff: frozenset[int], classes: int
) -> tuple[NDArray[np.int32], dict[int, Kind]]:
    """Segment ids (H, W), 0 where nothing is labelled, and their kinds."""
    [path] = job.annotations
    red, flags_HW, blue, alpha = np.moveaxis(read_raw(path, ("RGBA",)), -1, 0).astype(np.int32)
    rest = f"BDD100K panoptic has 0 (unlabelled) and 1 to {classes}; {AGAIN}"
    check_range(path, "category {} (red)", red, red > classes, rest)
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
