"""The records of a benchmark split in detectron2's format, by the kind of its ground truth.

Every record has file_name and image_id; the rest is what its loader says. Nothing here needs
detectron2 or torch.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from frozenseg.data.catalog.lookup import class_of_category
from frozenseg.data.catalog.split import DatasetSplit
from frozenseg.data.coco_instances import load_coco_instances
from frozenseg.data.coco_panoptic import load_coco_panoptic
from frozenseg.data.episodes import load_episodes
from frozenseg.data.image_mask_pairs import load_pairs
from frozenseg.vocab import Vocabulary

Records = list[dict[str, Any]]


def load_records(row: DatasetSplit, vocabulary: Vocabulary, root: Path) -> Records:
    """The records of a row, whose paths are below `root`.

    Raises: FileNotFoundError and ValueError that name the file and the remedy.
    """
    records = LOADERS[row.kind](row, vocabulary, root)
    if row.labels_are_ids:
        ids = tuple(class_of_category(row, vocabulary))
        for record in records:
            record["label_ids"] = ids
    return records


def _panoptic(row: DatasetSplit, vocabulary: Vocabulary, root: Path) -> Records:
    return load_coco_panoptic(
        json_file=root / row.panoptic_json,
        image_root=root / row.images,
        panoptic_root=root / row.panoptic_masks,
        semantic_root=root / row.semantic_masks if row.semantic_masks else None,
        image_file=row.image_file,
        semantic_file=row.semantic_file,
        class_of_category=class_of_category(row, vocabulary),
        thing_classes=frozenset(i for i, thing in enumerate(vocabulary.thing_mask) if thing),
        remedy=row.origin.remedy,
    )


def _instances(row: DatasetSplit, vocabulary: Vocabulary, root: Path) -> Records:
    return load_coco_instances(
        json_file=root / row.instance_json,
        image_root=root / row.images,
        image_file=row.image_file,
        class_of_category=class_of_category(row, vocabulary),
        remedy=row.origin.remedy,
    )


def _instance_maps(row: DatasetSplit, _vocabulary: Vocabulary, root: Path) -> Records:
    return load_pairs(
        images=root / row.images,
        image_suffix=row.image_suffix,
        masks=root / row.instance_masks,
        mask_suffix=row.instance_suffix,
        mask_key="instance_file_name",
        remedy=row.origin.remedy,
    )


def _semantic(row: DatasetSplit, _vocabulary: Vocabulary, root: Path) -> Records:
    return load_pairs(
        images=root / row.images,
        image_suffix=row.image_suffix,
        masks=root / row.semantic_masks,
        mask_suffix=row.semantic_suffix,
        remedy=row.origin.remedy,
    )


def _episodes(row: DatasetSplit, vocabulary: Vocabulary, root: Path) -> Records:
    return load_episodes(
        index=root / row.episodes_json,
        root=root,
        class_of_category=class_of_category(row, vocabulary),
        min_pixels=row.min_pixels,
        max_items=row.max_items,
        per_image=row.asks_per_image,
        remedy=row.origin.remedy,
    )


LOADERS: dict[str, Callable[[DatasetSplit, Vocabulary, Path], Records]] = {
    "panoptic": _panoptic,
    "instances": _instances,
    "lvis": _instances,
    "instance maps": _instance_maps,
    "episodes": _episodes,
    "semantic": _semantic,
}
