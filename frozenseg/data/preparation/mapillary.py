"""Mapillary Vistas v1.2: semantic masks of the 65 evaluated classes.

Published are palette PNGs (<split>/labels/*.png) whose indices are 0..64 and 65 for unlabelled;
made are the same with 255 for unlabelled. The panoptic annotations are published in COCO's format
and need no preparation.
"""

from __future__ import annotations

from frozenseg.data.catalog.downloads import DOWNLOADS
from frozenseg.data.preparation.labels import LabelTable, prepare_folders
from frozenseg.data.preparation.raw_files import Source
from frozenseg.data.preparation.work import Preparation
from frozenseg.vocab import Vocabulary

SOURCE = Source(
    "Mapillary Vistas v1.2 (in v2.0 take <split>/v1.2/labels as <split>/labels)",
    DOWNLOADS["Mapillary Vistas"].page,
    "Mapillary Vistas",
)
IMAGES, LABELS = "mapillary_vistas/{folder}/images", "mapillary_vistas/{folder}/labels"


def prepare_mapillary(preparation: Preparation) -> None:
    """Makes mapillary_vistas/annotations_detectron2/<split>/*.png."""
    preparation.require(SOURCE, f"{IMAGES}/", f"{LABELS}/")
    made = "mapillary_vistas/annotations_detectron2/{folder}"
    title = "Mapillary Vistas semantic"
    prepare_folders(preparation, title, IMAGES, LABELS, made, label_table())


def label_table() -> LabelTable:
    """Index k is class k; the one after the last is unlabelled."""
    count = len(Vocabulary.from_table("mapillary_vistas"))
    classes = {index: index for index in range(count)}
    return LabelTable.of(classes, [count], f"Mapillary Vistas v1.2 has 0 to {count}")
