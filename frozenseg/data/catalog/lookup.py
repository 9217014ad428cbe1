"""Finding a benchmark by its name, its words, and where its files are.

The rows stand in `rows.py`; a new benchmark is a new row there, a dataset of one's own a
row in a YAML file (`own_datasets.py`).
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from frozenseg.data.catalog.rows import DATASET_SPLITS
from frozenseg.data.catalog.split import DatasetSplit, is_class_file
from frozenseg.errors import nearest
from frozenseg.files import checkout
from frozenseg.vocab import Vocabulary

__all__ = [
    "DATASET_SPLITS",
    "ROOT_VARIABLE",
    "DatasetSplit",
    "class_of_category",
    "datasets_root",
    "find_split",
    "fullest_splits",
    "load_vocabulary",
    "mess_splits",
    "row_vocabulary",
    "splits_of",
]

ROOT_VARIABLE = "DETECTRON2_DATASETS"


def find_split(name: str, rows: Iterable[DatasetSplit] = DATASET_SPLITS) -> DatasetSplit:
    """The row of a registered name. Raises: ValueError that names the nearest known ones."""
    by_name = {known: row for row in rows for known in row.names}
    if name not in by_name:
        near = nearest(name, by_name, cutoff=0.3, most=3) or sorted(by_name)
        raise ValueError(f"unknown dataset {name!r}; did you mean {', '.join(near)}?")
    return by_name[name]


def splits_of(name: str, split: str = "") -> tuple[DatasetSplit, ...]:
    """The rows of a benchmark ("ade20k_150"), of one split if given; () if there are none."""
    return tuple(r for r in DATASET_SPLITS if r.benchmark == name and split in ("", r.split))


def fullest_splits(split: str = "val") -> dict[str, DatasetSplit]:
    """Benchmark -> its row with the most kinds of ground truth: one pass gives PQ, AP and mIoU."""
    fullest: dict[str, DatasetSplit] = {}
    for row in DATASET_SPLITS:
        if row.split == split:
            best = fullest.setdefault(row.benchmark, row)
            fullest[row.benchmark] = max(best, row, key=lambda each: len(each.tasks))
    return fullest


def mess_splits() -> tuple[DatasetSplit, ...]:
    """The rows of the sets of MESS, which the name "mess" stands for."""
    return tuple(row for row in DATASET_SPLITS if row.mess_domain)


def load_vocabulary(
    source: str, root: Path | None = None, *, allow_shared: bool = False
) -> Vocabulary:
    """The classes of a row: given inline (with ";"), by a class file, or by a built-in table.

    The name of a file is relative to `root`, by default `datasets_root()`; `allow_shared` as
    `Vocabulary.from_file`.
    """
    if ";" in source:
        return Vocabulary.parse(source)
    if is_class_file(source):
        folder = root if root is not None else datasets_root()
        path = folder / Path(source).expanduser()
        return Vocabulary.from_file(path, allow_shared=allow_shared)
    return Vocabulary.from_table(source)


def row_vocabulary(row: DatasetSplit, root: Path | None = None) -> Vocabulary:
    """The classes of `row`; those of some benchmarks are read from a file of the dataset.

    Raises: FileNotFoundError with the remedy if that file is missing; ValueError if it has another
        number of classes than the benchmark.
    """
    if row.vocabulary_file:
        path = (root if root is not None else datasets_root()) / row.vocabulary_file
        if not path.is_file():
            raise FileNotFoundError(
                f"{path} does not exist: the class names of {row.name} are read from it; "
                f"{row.origin.remedy} (the root folder is $DETECTRON2_DATASETS)"
            )
    vocabulary = load_vocabulary(row.vocabulary, root, allow_shared=row.shared_names)
    if row.classes and len(vocabulary) != row.classes:
        raise ValueError(
            f"{row.vocabulary} has {len(vocabulary)} classes, but {row.name} has {row.classes}: "
            f"it is the wrong list or an incomplete one; {row.origin.remedy}"
        )
    return vocabulary


def class_of_category(row: DatasetSplit, vocabulary: Vocabulary) -> dict[int, int]:
    """The dataset's category id -> class index. Raises: ValueError if their numbers differ."""
    own_ids = tuple(i for i in vocabulary.dataset_ids if i is not None)
    ids = row.category_ids or own_ids or tuple(range(len(vocabulary)))
    if len(set(ids)) != len(vocabulary):
        raise ValueError(
            f"dataset {row.name!r} has {len(set(ids))} category ids but its vocabulary "
            f"{row.vocabulary!r} has {len(vocabulary)} classes: one of them must change"
        )
    return {category: index for index, category in enumerate(ids)}


def datasets_root() -> Path:
    """Absolute folder of all datasets: $DETECTRON2_DATASETS, else `datasets/` of a checkout.

    Never depends on the working directory unless the variable's own value is relative.
    Raises: ValueError if the variable is unset and the package does not run from a checkout.
    """
    value = os.environ.get(ROOT_VARIABLE, "")
    if value:
        return Path(value).expanduser().absolute()
    repository = checkout()
    if repository is not None:
        return repository / "datasets"
    raise ValueError(
        f"${ROOT_VARIABLE} is not set: set it to the folder that holds coco/, "
        "ADEChallengeData2016/ and so on"
    )
