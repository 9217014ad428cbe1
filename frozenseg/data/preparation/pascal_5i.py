"""PASCAL-5i: the label maps of VOC 2012 with those of SBD beside them, and the index of episodes.

Validation images are those of VOC 2012 val. Training images are those of VOC 2012 train and of both
splits of SBD that are not among them (10,582). VOC's own maps are palette PNGs (0 background, 1..20
classes, 255 border) and count where both have one; SBD's are .mat files (0..20, no border).
Sources: Shaban et al., BMVC 2017, arXiv:1709.03410 (PASCAL-5i); Hariharan et al., ICCV 2011 (SBD).
Legend: H and W pixels.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frozenseg.data.preparation.episodes import EpisodeJob, prepare_episodes
from frozenseg.data.preparation.label_map import read_segmentation
from frozenseg.data.preparation.raw_files import Source, listed_stems, read_labels, require_tree
from frozenseg.data.preparation.work import Preparation

SOURCE = Source(
    "PASCAL-5i",
    "http://host.robots.ox.ac.uk/pascal/VOC/voc2012/ and (for training) "
    "http://home.bharathh.info/pubs/codes/SBD/download.html",
    "PASCAL-5i",
)
CLASSES = 20
VOC, SBD = "VOCdevkit/VOC2012", "benchmark_RELEASE/dataset"
_LISTS = f"{VOC}/ImageSets/Segmentation"


def prepare_pascal_5i(preparation: Preparation) -> None:
    """Makes VOCdevkit/VOC2012/SegmentationClassAug/*.png and pascal_5i/<split>.json."""
    root = preparation.root
    wanted = [f"{VOC}/JPEGImages/", f"{VOC}/SegmentationClass/", f"{_LISTS}/val.txt"]
    if "train" in preparation.splits:
        wanted += [f"{_LISTS}/train.txt", f"{SBD}/cls/", f"{SBD}/train.txt", f"{SBD}/val.txt"]
    require_tree(SOURCE, root, wanted)
    for split in preparation.splits:
        jobs = [
            EpisodeJob(
                f"{VOC}/JPEGImages/{stem}.jpg", f"{VOC}/SegmentationClassAug/{stem}.png", raw
            )
            for stem, raw in sources_of(root, split).items()
        ]
        index = root / "pascal_5i" / f"{split}.json"
        draw = partial(read_source, root=root)
        prepare_episodes(preparation, f"PASCAL-5i {split}", jobs, draw, index, CLASSES)


def sources_of(root: Path, split: str) -> dict[str, str]:
    """The published map (below `root`) of every image of a split, by the image's name, sorted."""
    val = listed_stems(root / _LISTS / "val.txt")
    own = val if split == "val" else listed_stems(root / _LISTS / "train.txt")
    found = {stem: f"{VOC}/SegmentationClass/{stem}.png" for stem in own}
    if split == "train":
        for name in ("train.txt", "val.txt"):
            for stem in listed_stems(root / SBD / name):
                found.setdefault(stem, f"{SBD}/cls/{stem}.mat")
        found = {stem: path for stem, path in found.items() if stem not in set(val)}
    return dict(sorted(found.items()))


def read_source(job: EpisodeJob, *, root: Path) -> NDArray[np.integer[Any]]:
    """The labels (H, W) uint8 of a published map, PNG or .mat."""
    path = root / job.source
    return read_segmentation(path) if path.suffix == ".mat" else read_labels(path)
