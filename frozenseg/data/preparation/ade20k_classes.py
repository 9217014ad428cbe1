"""The class list of ADE20K-Full, which the user gives."""

from __future__ import annotations

import ast
from pathlib import Path
from typing import Any, NamedTuple

from frozenseg.files import read_json

_LARGEST_ID = 25 * 256 + 255
WHERE = (
    "Mask2Former publishes the list of the 847 as ADE20K_SEM_SEG_FULL_CATEGORIES in "
    "mask2former/data/datasets/register_ade20k_full.py: give that file, or a .json or .tsv of it"
)


class FullClass(NamedTuple):
    """A class: its number in the pixels (R // 10 * 256 + G) and its names, comma-separated."""

    ade_id: int
    names: str


def read_classes(path: Path) -> list[FullClass]:
    """The classes in the order of their training ids, from a file of one of three kinds.

    .tsv   a header with `id`, `trainId` and `name` (in any order, others are passed over), then a
           line per class, separated by tabs: 2978, 0, wall
    .json  a list of {"id": 2978, "trainId": 0, "name": "wall"}
    .py    source with such a list of literals, as Mask2Former publishes it; read, never run
    `id` is the number in the pixels, `trainId` counts from 0 without gaps.
    Raises: FileNotFoundError, or ValueError that names the file and what is wrong with it.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist. {WHERE}")
    readers = {".tsv": _read_tsv, ".json": _read_json, ".py": _read_source}
    if path.suffix not in readers:
        raise ValueError(f"{path}: unknown kind of list {path.suffix!r}. {WHERE}")
    rows = readers[path.suffix](path)
    classes = {}
    for number, row in enumerate(rows, 1):
        identity, index, names = _read_row(path, number, row)
        if index in classes:
            raise ValueError(f"{path}: trainId {index} is given twice. {WHERE}")
        classes[index] = FullClass(identity, names)
    if not classes or sorted(classes) != list(range(len(classes))):
        raise ValueError(f"{path}: the trainId of {len(classes)} classes are not 0, 1, ... {WHERE}")
    ids = [item.ade_id for item in classes.values()]
    if len(set(ids)) < len(ids):
        raise ValueError(f"{path}: an id is given twice. {WHERE}")
    return [classes[index] for index in range(len(classes))]


def class_list_text(classes: list[FullClass]) -> str:
    """A class file as `Vocabulary.from_file` reads it, ids 0, 1, ... being those in the masks."""
    lines = (f"{index}\t{item.names}\n" for index, item in enumerate(classes))
    return "id\tname\n" + "".join(lines)


def _read_row(path: Path, number: int, row: Any) -> tuple[int, int, str]:
    try:
        identity, index, names = int(row["id"]), int(row["trainId"]), " ".join(row["name"].split())
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            f"{path}: class {number} is {row!r}, but needs id, trainId and name. {WHERE}"
        ) from error
    if not (0 < identity <= _LARGEST_ID and names):
        raise ValueError(f"{path}: class {number} has id {identity} and name {names!r}. {WHERE}")
    return identity, index, names


def _read_tsv(path: Path) -> list[Any]:
    text = path.read_text(encoding="utf-8")
    lines = [line.split("\t") for line in text.splitlines() if line.strip()]
    header = [cell.strip() for cell in lines[0]] if lines else []
    return [dict(zip(header, line, strict=False)) for line in lines[1:]]


def _read_json(path: Path) -> list[Any]:
    rows = read_json(path, WHERE)
    if not isinstance(rows, list):
        raise ValueError(f"{path}: holds no list. {WHERE}")
    return rows


def _read_source(path: Path) -> list[Any]:
    """The first list of dictionaries with a trainId that the source assigns; nothing is run."""
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"), str(path))
    except (SyntaxError, ValueError) as error:
        raise ValueError(f"{path}: not Python source ({error}). {WHERE}") from error
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.List):
            try:
                rows = ast.literal_eval(node.value)
            except ValueError:
                continue
            if rows and isinstance(rows[0], dict) and "trainId" in rows[0]:
                return rows
    raise ValueError(f"{path}: assigns no list of classes with trainId. {WHERE}")
