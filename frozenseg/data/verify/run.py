"""Says whether a dataset on disk is complete and consistent, and what repairs it.

Names, counts and annotation files are checked in full; images and masks are read for as many
samples as wished. Needs neither torch nor detectron2.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

from frozenseg.data.catalog.lookup import (
    DATASET_SPLITS,
    class_of_category,
    datasets_root,
    find_split,
    mess_splits,
    row_vocabulary,
    splits_of,
)
from frozenseg.data.catalog.own_datasets import is_dataset_file, read_dataset_file
from frozenseg.data.catalog.split import DatasetSplit
from frozenseg.data.findings import Report
from frozenseg.data.samples import Sample
from frozenseg.data.verify.files import check_paths, list_samples, missing_paths
from frozenseg.data.verify.maps import MapChecker
from frozenseg.progress import bar

IMAGES = 200


def verify(
    row: DatasetSplit,
    root: Path,
    *,
    images: int = IMAGES,
    subset: bool = False,
    allow_empty: bool = False,
    progress: bool = True,
) -> Report:
    """Checks one dataset.

    Args:
        images: how many images are read with their masks, spread evenly; 0 means all.
        subset: the files may be a part of the official split: their number is not checked.
        allow_empty: annotations without a single labelled pixel are in order.
        progress: shows a bar on a terminal.
    """
    report = Report(row.name, str(root))
    if not check_paths(row, root, report):
        return report
    try:
        vocabulary = row_vocabulary(row, root)
        samples = list_samples(row, vocabulary, root, report)
        classes = class_of_category(row, vocabulary)
    except (ValueError, OSError) as error:
        report.error("the dataset cannot be used", row.origin.repair, str(error))
        return report
    if not subset:
        _check_count(row, report)
    values = classes if row.labels_are_ids else range(len(vocabulary))
    names = dict(zip(values, vocabulary.names, strict=True))
    chosen = spread(samples, images)
    checker = MapChecker(row, report, names, len(chosen) == len(samples), allow_empty)
    for sample in bar(chosen, row.name, "image", shown=progress):
        checker.check(sample)
    checker.finish()
    report.checked = len(chosen)
    return report


def root_of(names: Sequence[str], given: Path | None) -> Path:
    """The root folder of the datasets that `names` stand for: `given`, or `datasets_root()`.

    Raises: ValueError as `datasets_root`, unless all of them are YAML files, whose paths are
        relative to the file.
    """
    if given:
        return given.absolute()
    if names and all(map(is_dataset_file, names)):
        return Path.cwd()  # not used
    return datasets_root()


def rows_named(names: Sequence[str], root: Path) -> tuple[DatasetSplit, ...]:
    """The rows that `names` stand for, without repeats.

    A name is a dataset, an alias, a benchmark ("ade20k_150": all of its rows), the path of a YAML
    file, "mess": the sets of MESS, or "all": every row of which anything is on disk.
    Raises: ValueError for an unknown name, FileNotFoundError for a YAML file that is not there.
    """
    rows: dict[str, DatasetSplit] = {}
    for name in names:
        for row in _rows_of(name, root):
            rows[row.name] = row
    return tuple(rows.values())


def state(row: DatasetSplit, root: Path) -> str:
    """One of "yes", "missing", or "lacks" and the first path of the row that is not there."""
    missing = missing_paths(row, root)
    if not missing:
        return "yes"
    return "missing" if len(missing) == len(list(row.paths())) else f"lacks {missing[0][1]}"


def is_started(row: DatasetSplit, root: Path) -> bool:
    """Whether any of the annotations of a row is there (images are shared by several rows)."""
    annotations = [path for what, path in row.paths() if what not in ("images", "class list")]
    if row.episodes_json:  # splits share the folder of label maps
        annotations = [row.episodes_json]
    return any((root / path).exists() for path in annotations)


def spread(samples: Sequence[Sample], number: int) -> list[Sample]:
    """`number` samples at even distances; all of them if it is 0 or too large."""
    if number <= 0 or number >= len(samples):
        return list(samples)
    return [samples[index * len(samples) // number] for index in range(number)]


def _rows_of(name: str, root: Path) -> Iterable[DatasetSplit]:
    if name == "all":
        return [row for row in DATASET_SPLITS if is_started(row, root)]
    if name == "mess":
        return mess_splits()
    if is_dataset_file(name):
        return read_dataset_file(name)
    return splits_of(name) or [find_split(name)]


def _check_count(row: DatasetSplit, report: Report) -> None:
    if row.image_counts and report.images not in row.image_counts:
        official = " or ".join(map(str, row.image_counts))
        report.error(
            f"the split has {report.images} images here, the official one has {official}",
            f"{row.origin.download}; --subset if it is meant to be a part",
        )
