"""Registers the benchmarks with detectron2; no file of a data set is touched before it is used."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Any

from detectron2.data import DatasetCatalog, MetadataCatalog

from frozenseg.data.catalog import (
    BENCHMARKS,
    ROOT_VARIABLE,
    Benchmark,
    datasets_root,
    find_benchmark,
    load_vocabulary,
)
from frozenseg.data.coco_panoptic import load_coco_panoptic
from frozenseg.vocab import Vocabulary


def register_benchmarks(
    rows: Iterable[Benchmark] = BENCHMARKS, root: Path | None = None
) -> tuple[str, ...]:
    """Makes every row known to DatasetCatalog and MetadataCatalog; calling it again is harmless.

    A second call with another root (or another $DETECTRON2_DATASETS) moves the paths.
    Returns: the registered names. Without a root the names and vocabularies are registered all
    the same, and loading a data set explains how to set it.
    """
    folder = root if root is not None else _root_or_placeholder()
    names = []
    for row in rows:
        vocabulary = load_vocabulary(row.vocabulary, folder)
        for catalog in (DatasetCatalog, MetadataCatalog):
            catalog.pop(row.name, None)
        DatasetCatalog.register(row.name, partial(load_benchmark, row, vocabulary, folder))
        MetadataCatalog.get(row.name).set(**_metadata(row, vocabulary, folder))
        names.append(row.name)
    return tuple(names)


def registered_benchmark(name: str) -> Benchmark:
    """The row that a registered data set was made from. Raises: ValueError if there is none."""
    row = MetadataCatalog.get(name).get("benchmark") if name in DatasetCatalog else None
    return row or find_benchmark(name)


def load_benchmark(row: Benchmark, vocabulary: Vocabulary, root: Path) -> list[dict[str, Any]]:
    """The records of a row, in detectron2's format."""
    return load_coco_panoptic(
        json_file=root / row.panoptic_json,
        image_root=root / row.images,
        panoptic_root=root / row.panoptic_masks,
        semantic_root=root / row.semantic_masks if row.semantic_masks else None,
        class_of_category=class_of_category(row, vocabulary),
        thing_classes=frozenset(i for i, thing in enumerate(vocabulary.thing_mask) if thing),
        prepare=row.prepare,
    )


def class_of_category(row: Benchmark, vocabulary: Vocabulary) -> dict[int, int]:
    """The data set's category id -> class index. Raises: ValueError if their numbers differ."""
    own_ids = tuple(i for i in vocabulary.dataset_ids if i is not None)
    ids = row.category_ids or own_ids or tuple(range(len(vocabulary)))
    if len(ids) != len(vocabulary):
        raise ValueError(
            f"data set {row.name!r} has {len(ids)} category ids but its vocabulary "
            f"{row.vocabulary!r} has {len(vocabulary)} classes: one of them must change"
        )
    return {category: index for index, category in enumerate(ids)}


def _root_or_placeholder() -> Path:
    try:
        return datasets_root()
    except ValueError:
        return Path(f"${ROOT_VARIABLE}")


def _metadata(row: Benchmark, vocabulary: Vocabulary, root: Path) -> dict[str, Any]:
    things = vocabulary.thing_mask
    index = class_of_category(row, vocabulary)
    return {
        "benchmark": row,
        "vocabulary": vocabulary,
        "thing_classes": [n for n, thing in zip(vocabulary.names, things, strict=True) if thing],
        "stuff_classes": list(vocabulary.names),
        "stuff_colors": [list(color) for color in vocabulary.colors],
        "thing_dataset_id_to_contiguous_id": {c: i for c, i in index.items() if things[i]},
        "stuff_dataset_id_to_contiguous_id": {c: i for c, i in index.items() if not things[i]},
        "image_root": str(root / row.images),
        "panoptic_json": str(root / row.panoptic_json),
        "panoptic_root": str(root / row.panoptic_masks),
        "sem_seg_root": str(root / row.semantic_masks) if row.semantic_masks else "",
        "ignore_label": row.ignore_label,
    }
