"""Mapillary Vistas v1.2: semantic masks of the 65 evaluated classes.

Published are palette PNGs (<split>/labels/*.png) whose indices are 0..64 and 65 for unlabelled;
made are the same with 255 for unlabelled. The panoptic annotations are published in COCO's format
and need no preparation.
"""

from __future__ import annotations

from frozenseg.data.preparation.labels import LabelJob, LabelTable, prepare_labels
from frozenseg.data.preparation.raw_files import Source, paired_stems, read_labels, require_tree
from frozenseg.data.preparation.work import Preparation
from frozenseg.vocab import Vocabulary

SOURCE = Source(
    "Mapillary Vistas v1.2 (in v2.0 take <split>/v1.2/labels as <split>/labels)",
    "https://www.mapillary.com/dataset/vistas",
    "Mapillary Vistas",
)
SPLITS = {"train": "training", "val": "validation"}


def prepare_mapillary(preparation: Preparation) -> None:
    """Makes mapillary_vistas/annotations_detectron2/<split>/*.png."""
    names = [SPLITS[split] for split in preparation.splits]
    folders = [
        f"mapillary_vistas/{name}/{kind}/" for name in names for kind in ("images", "labels")
    ]
    require_tree(SOURCE, preparation.root, folders)
    folder = preparation.root / "mapillary_vistas"
    table = label_table()
    for split, name in zip(preparation.splits, names, strict=True):
        images, raw = folder / name / "images", folder / name / "labels"
        made = folder / "annotations_detectron2" / name
        jobs = [
            LabelJob(images / f"{stem}.jpg", raw / f"{stem}.png", (made / f"{stem}.png",))
            for stem in paired_stems(images, ".jpg", raw, ".png")
        ]
        title = f"Mapillary Vistas semantic {split}"
        prepare_labels(preparation, title, jobs, read_labels, [table])


def label_table() -> LabelTable:
    """Index k is class k; the one after the last is unlabelled."""
    count = len(Vocabulary.from_table("mapillary_vistas"))
    classes = {index: index for index in range(count)}
    return LabelTable.of(classes, [count], f"Mapillary Vistas v1.2 has 0 to {count}")
