"""Registers the benchmarks with detectron2; no file of a dataset is touched before it is used."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog, MetadataCatalog
from detectron2.data.catalog import Metadata

from frozenseg.data.catalog.lookup import (
    DATASET_SPLITS,
    ROOT_VARIABLE,
    class_of_category,
    datasets_root,
    find_split,
    row_vocabulary,
)
from frozenseg.data.catalog.own_datasets import is_dataset_file, read_dataset_file
from frozenseg.data.catalog.split import DatasetSplit
from frozenseg.data.catalog.word_sets import (
    OWN,
    about_words,
    check_words,
    with_words,
    words_for,
)
from frozenseg.data.records import load_records
from frozenseg.vocab import Vocabulary

# Held while datasets are registered, and by whoever reads their metadata in several threads.
REGISTRATION = threading.RLock()


def register_splits(
    rows: Iterable[DatasetSplit] = DATASET_SPLITS,
    root: Path | None = None,
    words: str = OWN,
    trained_on: Collection[str] = (),
) -> tuple[str, ...]:
    """Makes every row known to DatasetCatalog and MetadataCatalog; calling it again is harmless.

    Aliases are registered, too; detectron2's own datasets of the same name ("lvis_v1_val") are
    replaced. A second call with another root (or another $DETECTRON2_DATASETS) moves the paths.
    Args: words, trained_on: see `words_for`.
    Returns: the registered names. Without a root the names are registered all the same, and
    loading a dataset explains how to set it.
    """
    folder = root if root is not None else _root_or_placeholder()
    names = []
    with REGISTRATION:
        for row in rows:
            own_words = words_for(row, words, trained_on)
            for name in row.names:
                for catalog in (DatasetCatalog, MetadataCatalog):
                    catalog.pop(name, None)
                make = partial(_class_metadata, row, folder, own_words)
                metadata = LazyMetadata(make, name=name, **_paths(row, folder))
                MetadataCatalog[name] = metadata
                DatasetCatalog.register(name, partial(_load, metadata, folder))
                names.append(name)
    return tuple(names)


def registered_split(name: str) -> DatasetSplit:
    """The row that a registered dataset was made from. Raises: ValueError if there is none."""
    registered = (MetadataCatalog.get(known).get("dataset_split") for known in DatasetCatalog)
    return find_split(name, (*DATASET_SPLITS, *filter(None, registered)))


def register_dataset_file(
    path: str | Path, words: str = OWN, trained_on: Collection[str] = ()
) -> tuple[str, ...]:
    """Registers the rows of a YAML file; calling it again is harmless. Returns: their names.

    Raises: as `read_dataset_file`; ValueError for a name that another dataset has.
    """
    rows = read_dataset_file(path)
    for row in rows:
        taken = row.name in DatasetCatalog
        known = MetadataCatalog.get(row.name).get("dataset_split") if taken else None
        if taken and known != row:
            raise ValueError(f"{path}: name {row.name!r} is taken by another dataset; choose one")
    root = Path(path).expanduser().absolute().parent
    names = register_splits(rows, root, words, trained_on)
    for name in names:
        MetadataCatalog.get(name).dataset_file = str(path)
    return names


def register_datasets(cfg: CfgNode) -> None:
    """Registers the benchmarks and the rows of `DATASETS.FILES`; calling it again is harmless.

    Raises: ValueError for a file that is not YAML and for unknown DATASETS.WORDS; what
        `register_dataset_file` raises.
    """
    words, trained_on = cfg.DATASETS.WORDS, cfg.DATASETS.TRAIN
    check_words(words)
    register_splits(words=words, trained_on=trained_on)
    for name in cfg.DATASETS.FILES:
        if not is_dataset_file(name):
            raise ValueError(
                f"DATASETS.FILES names {name!r}: give .yaml files of your own datasets "
                "(datasets/README.md, 'Datasets of your own')"
            )
        register_dataset_file(name, words, trained_on)


class LazyMetadata(Metadata):
    """detectron2's metadata; what depends on the class names is made when it is first asked for.

    The names of some benchmarks lie in files of the dataset, which need not be there as long as
    it is not used. Asking for them then raises FileNotFoundError with the remedy.
    """

    __slots__ = ("_make",)
    LATER = (
        "vocabulary",
        "words",
        "thing_classes",
        "stuff_classes",
        "stuff_colors",
        "thing_dataset_id_to_contiguous_id",
        "stuff_dataset_id_to_contiguous_id",
    )

    def __init__(self, make: Callable[[], dict[str, Any]], **known: Any) -> None:
        """`make` gives the values of all keys of `LATER`."""
        SimpleNamespace.__init__(self, **known)
        object.__setattr__(self, "_make", make)

    def __getattr__(self, key: str) -> Any:
        if key not in self.LATER or self.LATER[0] in self.__dict__:
            return super().__getattr__(key)
        self.__dict__.update(self._make())
        return self.__dict__[key]

    def as_dict(self) -> dict[str, Any]:
        """All entries, made ones included."""
        getattr(self, self.LATER[0])
        return dict(super().as_dict())

    def __reduce__(self) -> tuple[Any, ...]:
        """A copy is detectron2's own, with everything in it."""
        return Metadata, (), self.as_dict()


def _load(metadata: Metadata, root: Path) -> list[dict[str, Any]]:
    return load_records(metadata.dataset_split, metadata.vocabulary, root)


def _root_or_placeholder() -> Path:
    try:
        return datasets_root()
    except ValueError:
        return Path(f"${ROOT_VARIABLE}")


def _paths(row: DatasetSplit, root: Path) -> dict[str, Any]:
    """What is known of a row without its class names; only the paths that it has."""
    paths = {
        "image_root": row.images,
        "panoptic_json": row.panoptic_json,
        "panoptic_root": row.panoptic_masks,
        "sem_seg_root": row.semantic_masks,
        "json_file": row.instance_json,
    }
    if row.evaluator.startswith("cityscapes"):  # where its own scripts look for their files
        paths["gt_dir"] = row.semantic_masks or row.instance_masks
    return {
        "dataset_split": row,
        "ignore_label": row.ignore_label,
        "evaluator_type": row.evaluator,
        **{key: str(root / path) for key, path in paths.items() if path},
    }


def _class_metadata(row: DatasetSplit, root: Path, words: str) -> dict[str, Any]:
    """The entries of `LazyMetadata.LATER`; class indices are those of the vocabulary.

    `thing_classes` can be indexed by class, as detectron2 does: it is the list of things only where
    they come first, otherwise that of all classes. The ids of "stuff" are those of all classes, for
    detectron2's SemSegEvaluator.
    """
    vocabulary: Vocabulary = with_words(row_vocabulary(row, root), row, words)
    things, names = vocabulary.thing_mask, list(vocabulary.names)
    index = class_of_category(row, vocabulary)
    things_first = things == sorted(things, reverse=True)
    return {
        "vocabulary": vocabulary,
        "words": about_words(row, words),
        "thing_classes": names[: sum(things)] if things_first else names,
        "stuff_classes": names,
        "stuff_colors": [list(color) for color in vocabulary.colors],
        "thing_dataset_id_to_contiguous_id": {c: i for c, i in index.items() if things[i]},
        "stuff_dataset_id_to_contiguous_id": index,
    }
