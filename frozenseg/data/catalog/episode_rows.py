"""The rows of the episodic benchmarks: PASCAL-5i, COCO-20i, Mosaic-4 and the miniature folds.

A fold holds out classes: `train` and `seen_val` ask for the others, `val` for the held-out ones. A
fold of novel shapes holds out shapes and colours, and its tests tell apart which of them is new.
Which images and items there are follows from the label maps (`episodes.py`).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

from frozenseg.data.catalog.split import PREPARE, DatasetSplit, Origin
from frozenseg.data.miniature.classes import (
    ALL,
    CLASSES,
    FOLDS,
    NOVEL_FOLDER,
    held_out,
    novel_things,
    vocabulary_text,
)
from frozenseg.vocab.class_tables import table_entries

SPLITS = ("train", "val", "seen_val")
# Of a fold of novel shapes: is the shape that is asked for held out, and the colour? No picture of
# `train` shows anything that is held out, those of `mixed_train` do, as background.
NOVEL_SPLITS = {
    "train": (False, False),
    "mixed_train": (False, False),
    "val": (True, True),
    "shape_val": (True, False),
    "color_val": (False, True),
    "seen_val": (False, False),
}
MINIATURE_ITEMS = 400
COCO_ITEMS = 1000  # a fold of COCO-20i is scored on its first 1,000 items
PASCAL_PIXELS = 2048  # regions of fewer pixels are no items of PASCAL-5i
PASCAL_COUNTS = {"train": 10582, "val": 1449}
# The images of COCO 2014 that have objects, of 82,783 and 40,504.
COCO_COUNTS = {"train": 82081, "val": 40137}
MOSAIC_CLASSES = 240


def _official_names(table: str) -> tuple[str, ...]:
    """The things of a built-in class table, as the benchmark calls them; labels count from 1."""
    return tuple(str(entry.official) for entry in table_entries(table) if entry.is_thing)


PASCAL_NAMES = _official_names("pascal_voc_20")
COCO_NAMES = _official_names("coco_panoptic")  # in the order of the category ids


def _chosen(names: tuple[str, ...], held: Collection[int], split: str) -> dict[str, Any]:
    """The words of a row: the held-out classes for `val`, the seen ones otherwise."""
    classes = [i for i in range(len(names)) if (i in held) == (split == "val")]
    return {
        "vocabulary": "; ".join(names[i] for i in classes),
        "category_ids": tuple(i + 1 for i in classes),
        "classes": len(classes),
    }


def _common(benchmark: str, split: str) -> dict[str, Any]:
    return {
        "name": f"{benchmark}_{split}",
        "benchmark": benchmark,
        "split": split,
        "tasks": ("episodes",),
        "labels_are_ids": True,
        "test_size": (0, 0),  # test images are not resized
        "evaluator": "episodes",
    }


def _pascal(fold: int, split: str) -> DatasetSplit:
    source = "train" if split == "train" else "val"
    return DatasetSplit(
        **_common("pascal_5i", f"fold{fold}_{split}"),
        **_chosen(PASCAL_NAMES, range(5 * fold, 5 * fold + 5), split),
        images="VOCdevkit/VOC2012/JPEGImages",
        semantic_masks="VOCdevkit/VOC2012/SegmentationClassAug",
        episodes_json=f"pascal_5i/{source}.json",
        min_pixels=1 if split == "train" else PASCAL_PIXELS,
        origin=Origin.prepared(
            "pascal_5i",
            source,
            "PASCAL-5i",
            mistake="the label maps hold 0 (background), 1 to 20 and 255 (border), as VOC's own",
        ),
        image_counts=(PASCAL_COUNTS[source],),
    )


def _coco(fold: int, split: str) -> DatasetSplit:
    source = "train" if split == "train" else "val"
    return DatasetSplit(
        **_common("coco_20i", f"fold{fold}_{split}"),
        **_chosen(COCO_NAMES, range(fold, len(COCO_NAMES), 4), split),
        images=f"coco/{source}2014",
        semantic_masks=f"coco/annotations_coco_20i/{source}2014",
        episodes_json=f"coco_20i/{source}.json",
        max_items=0 if split == "train" else COCO_ITEMS,
        origin=Origin.prepared(
            "coco_20i",
            source,
            "COCO-20i",
            mistake="the label maps hold 1 to 80, not COCO's category ids 1 to 90",
        ),
        image_counts=(COCO_COUNTS[source],),
    )


MOSAIC = DatasetSplit(
    **_common("fss_mosaic_4", "test"),
    vocabulary="fss_mosaic_4/classes.txt",
    classes=MOSAIC_CLASSES,
    images="fss_mosaic_4/images",
    semantic_masks="fss_mosaic_4/labels",
    episodes_json="fss_mosaic_4/test.json",
    asked_together=True,
    image_suffix=".png",
    origin=Origin.prepared("fss_mosaic", "val", "Mosaic-4", images_made=True),
)

# Stuff is background, as in PASCAL: nobody asks for it.
THINGS = tuple(i for i in ALL if CLASSES[i].is_thing)


def _miniature(fold: int, split: str) -> DatasetSplit:
    held = held_out(fold)
    classes = held if split == "val" else tuple(i for i in THINGS if i not in held)
    source = "train" if split == "train" else "val"
    return _scenes("miniature", f"fold{fold}_{split}", classes, f"miniature_folds/{source}")


def _miniature_novel(fold: int, split: str) -> DatasetSplit:
    new_shape, new_color = NOVEL_SPLITS[split]
    classes = novel_things(fold, new_shape=new_shape, new_color=new_color)
    source = "miniature_folds/train" if split == "mixed_train" else "miniature_folds/val"
    if split == "train":
        source = f"{NOVEL_FOLDER}/fold{fold}_train"
    return _scenes("miniature_novel", f"fold{fold}_{split}", classes, source)


def _scenes(prefix: str, split: str, classes: tuple[int, ...], source: str) -> DatasetSplit:
    """Scenes below the root in the folder `source`, of which these classes are asked for."""
    return DatasetSplit(
        **_common(f"{prefix}_folds", split) | {"name": f"{prefix}_{split}"},
        **_made(source.partition("/")[0], classes),
        images=source,
        semantic_masks=f"{source}_labels",
        episodes_json=f"{source}.json",
        max_items=0 if split.endswith("_train") else MINIATURE_ITEMS,
    )


def _miniature_mosaic(fold: int | None) -> DatasetSplit:
    split = "val" if fold is None else f"fold{fold}_val"
    return DatasetSplit(
        **_common("miniature_mosaic_4", split),
        **_made("miniature_mosaic_4", THINGS if fold is None else held_out(fold)),
        images="miniature_mosaic_4/val",
        semantic_masks="miniature_mosaic_4/val_labels",
        episodes_json="miniature_mosaic_4/val.json",
        asked_together=True,
    )


def _made(folder: str, classes: tuple[int, ...]) -> dict[str, Any]:
    """Origin and words of the miniature benchmark in `folder`."""
    return {
        "origin": Origin(
            f"{PREPARE} miniature --folds{' --novel' * (folder == NOVEL_FOLDER)}",
            made_folder=folder,
            readme_section="Miniature folds",
            images_made=True,
        ),
        "vocabulary": vocabulary_text(classes, synonyms=False),
        "category_ids": tuple(i + 1 for i in classes),
        "classes": len(classes),
    }


EPISODIC: tuple[DatasetSplit, ...] = (
    *(_pascal(fold, split) for fold in range(FOLDS) for split in SPLITS),
    *(_coco(fold, split) for fold in range(FOLDS) for split in SPLITS),
    MOSAIC,
    *(_miniature(fold, split) for fold in range(FOLDS) for split in SPLITS),
    *(_miniature_novel(fold, split) for fold in range(FOLDS) for split in NOVEL_SPLITS),
    *(_miniature_mosaic(fold) for fold in (None, *range(FOLDS))),
)
