"""Lists of the images of a split: text files with one name a line."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from frozenseg.data.catalog.split import DatasetSplit
from frozenseg.data.findings import Report
from frozenseg.errors import nearest


def listed(names: Iterable[str], row: DatasetSplit, root: Path, report: Report) -> set[str]:
    """Those of `names` that the row's list names, with or without suffix; all without a list.

    Args: names: of images, below the row's folder of images ("sub/a.jpg").
    What the list names in vain goes into the report.
    Raises: FileNotFoundError for a list that is not there, ValueError for one without a name.
    """
    names = set(names)
    if not row.image_list:
        return names
    path = root / row.image_list
    line_of = _lines(path)
    chosen = {name for name in names if name in line_of or _stem(name) in line_of}
    lacking = line_of.keys() - chosen - {_stem(name) for name in chosen}
    ordered = sorted(lacking, key=line_of.__getitem__)
    [example] = nearest(ordered[0], names) if lacking and names else ["photo.jpg"]
    place = root / (row.panoptic_json or row.instance_json or row.images)
    order = f"write one name a line, as in {place}: {example!r}"
    for name in ordered:
        problem = "the list of images names one that the dataset does not have"
        report.error(problem, order, f"{path}, line {line_of[name]}: {name!r}")
    return chosen


def _lines(path: Path) -> dict[str, int]:
    """Name -> the first line that has it."""
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; check image_list")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 text; save the list of images as UTF-8") from error
    numbered = [(line.strip(), number) for number, line in enumerate(lines, 1) if line.strip()]
    if not numbered:
        raise ValueError(f"{path}: the list names no image; write one name a line")
    return dict(reversed(numbered))


def _stem(name: str) -> str:
    return name.rpartition(".")[0]
