"""Readers of class lists on disk: text, TSV, JSON and annotation files, into entries.

Text (.txt), one class per line, `#` begins a comment line:
    cat, kitten            names, canonical first
    17: cat, kitten:thing  optional id in front, optional :thing or :stuff at the end
TSV (.tsv, or .txt with tabs): a header with a `name` column (also known: id/idx, synonyms,
    isthing, stuff, color; others are ignored), or no header and names in every cell.
JSON (.json): ["cat, kitten", ["dog", "puppy"], {"name": "sky", "isthing": false}],
    {"cat": ["kitten"], "dog": null}, {"classes": [...]} as Vocabulary.save writes it, or an
    annotation file with "categories".
Rows of text and TSV files with ids, and the categories of annotation files, are put in the order
of their ids (the index of a class is the rank of its id); JSON lists keep their order. Rows named
`invalid_class_id`, which published text lists use as a placeholder, are skipped with a warning.
"""

from __future__ import annotations

import dataclasses
import json
import logging
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from frozenseg.files import read_typed
from frozenseg.vocab.colors import parse_color
from frozenseg.vocab.entries import (
    Entry,
    check_ids,
    clean_name,
    entry_from_item,
    entry_from_object,
    entry_from_text,
    sorted_by_id,
    split_names,
    with_synonyms,
)

_logger = logging.getLogger(__name__)
_ID = re.compile(r"\s*(\d{1,9})\s*:(.*)", re.DOTALL)
_PLACEHOLDER = re.compile(r"invalid[_ ](class|set|category)?[_ ]?id", re.IGNORECASE)
_TRUTH = {"1": True, "true": True, "thing": True, "0": False, "false": False, "stuff": False}


def read_text(path: Path) -> str:
    """The text of a UTF-8 file; FileNotFoundError / ValueError that names the file (and line)."""
    if not path.exists():
        raise FileNotFoundError(f"{path}: no such file; check the path")
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(f"{path}: cannot be read ({error.strerror})") from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ValueError(f"{path}:{line}: not UTF-8 text; save the file as UTF-8") from error
    if not text.strip():
        raise ValueError(f"{path}: the file is empty; write one class per line")
    return text


def read_entries(path: Path, *, published: bool = False) -> list[Entry]:
    """Entries of a class list in one of the formats above, chosen by the file's extension."""
    suffix = path.suffix.lower()
    if suffix not in (".txt", ".tsv", ".json"):
        raise ValueError(f"{path}: unknown extension {suffix!r}; use .txt, .tsv or .json")
    if suffix != ".json":
        entries = sorted_by_id(_row_entries(path, read_text(path), published))
    elif categories := _categories_if_any(path):
        entries = category_entries(categories, str(path))
    else:
        entries = entries_from_json(read_text(path), str(path), published=published)
        check_ids(entries)
    if not entries:
        raise ValueError(f"{path}: no class in the file; write one class per line")
    return entries


def entries_from_json(text: str, source: str, *, published: bool = False) -> list[Entry]:
    """Entries from JSON text in one of the forms above; `source` names it in messages."""
    try:
        value = json.loads(text, object_pairs_hook=_unique_keys)
    except RecursionError:
        raise ValueError(f"{source}: is nested too deeply") from None
    except json.JSONDecodeError as error:
        raise ValueError(f"{source}:{error.lineno}: not valid JSON ({error.msg})") from error
    except ValueError as error:
        raise ValueError(f"{source}: {error}") from error
    if isinstance(value, dict) and isinstance(value.get("categories"), list):
        return category_entries(value["categories"], source)
    if isinstance(value, dict) and isinstance(value.get("classes"), list):
        value = value["classes"]
    if not isinstance(value, (dict, list)):
        raise ValueError(f"{source}: expected a JSON list or object, got {value!r}")
    pairs = value.items() if isinstance(value, dict) else ((item, None) for item in value)
    entries = []
    for number, (item, synonyms) in enumerate(pairs, 1):
        where = f"{source}: class {number}"
        if isinstance(item, dict):
            entries.append(entry_from_object(item, where, published=published))
        else:
            entries.append(entry_from_item(item, synonyms, where, published=published))
    return entries


def category_entries(categories: Sequence[object], source: str) -> list[Entry]:
    """Entries from the `categories` of a COCO or LVIS annotation file, in the order of their ids.

    LVIS writes "mouse_(computer_equipment)": underscores become spaces, the name as written is
    kept as the official one.
    """
    entries = []
    for number, fields in enumerate(categories, 1):
        where = f"{source}: category {number}"
        if not isinstance(fields, dict):
            raise ValueError(f"{where}: expected an object with 'id' and 'name', got {fields!r}")
        entry = entry_from_object(fields, where, published=True, strict=False)
        names = tuple(dict.fromkeys(clean_name(n.replace("_", " "), where) for n in entry.names))
        official = entry.official or clean_name(fields["name"], where)
        entries.append(dataclasses.replace(entry, names=names, official=official))
    return sorted_by_id(entries)


def read_annotation_entries(path: Path) -> list[Entry]:
    """Entries of the `categories` of an annotation file (COCO, LVIS)."""
    categories = _categories(path)
    if not categories:
        raise ValueError(
            f"{path}: no 'categories' list; give the annotation file (lvis_v1_val.json)"
        )
    return category_entries(categories, str(path))


class _AnnotationFile(msgspec.Struct):
    """Of an annotation file its categories: the rest can be gigabytes and is passed over."""

    categories: Any = None


def _categories_if_any(path: Path) -> list[object]:
    try:
        return _categories(path)
    except ValueError:  # the reader of class lists names the line
        return []


def _categories(path: Path) -> list[object]:
    """The `categories` of an annotation file; of any other class list nothing.

    Raises: FileNotFoundError; ValueError for a file that is empty or not JSON.
    """
    if not path.is_file() or not path.stat().st_size:
        read_text(path)  # raises
    content = read_typed(path, _AnnotationFile | list[Any], "give a list of classes")
    found = getattr(content, "categories", None)
    return found if isinstance(found, list) else []


def _unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    result = dict(pairs)
    if len(result) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"{twice!r} is given twice; remove or rename one")
    return result


def _row_entries(path: Path, text: str, published: bool) -> list[Entry]:
    rows = [
        (f"{path}:{number}", line)
        for number, line in enumerate(text.splitlines(), 1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    tabbed = path.suffix.lower() == ".tsv" or (bool(rows) and "\t" in rows[0][1])
    entries = (_tsv_entries if tabbed else _line_entries)(rows, published)
    kept = [entry for entry in entries if not _PLACEHOLDER.fullmatch(entry.names[0])]
    if len(kept) < len(entries):
        _logger.warning("%s: skipped %d placeholder row(s)", path, len(entries) - len(kept))
    return kept


def _line_entries(rows: list[tuple[str, str]], published: bool) -> list[Entry]:
    entries = []
    for where, line in rows:
        match = _ID.fullmatch(line)
        entry = entry_from_text(match[2] if match else line, where, published=published)
        entries.append(dataclasses.replace(entry, dataset_id=int(match[1]) if match else None))
    return entries


def _tsv_entries(rows: list[tuple[str, str]], published: bool) -> list[Entry]:
    header = [cell.strip().lower() for cell in rows[0][1].split("\t")] if rows else []
    if "name" not in header:
        return [
            with_synonyms(
                entry_from_text(line.split("\t")[0], where, published=published),
                [cell for cell in line.split("\t")[1:] if cell.strip()],
                published=published,
            )
            for where, line in rows
        ]
    return [_tsv_entry(where, header, line.split("\t"), published) for where, line in rows[1:]]


def _tsv_entry(where: str, header: list[str], cells: list[str], published: bool) -> Entry:
    if len(cells) > len(header):
        raise ValueError(f"{where}: {len(cells)} cells under a header of {len(header)}")
    row = {key: cell.strip() for key, cell in zip(header, cells, strict=False) if cell.strip()}
    identity = row.get("id", row.get("idx", row.get("index")))
    if identity is not None and not identity.isdecimal():
        raise ValueError(f"{where}: id must be an integer, got {identity!r}")
    kind = row.get("isthing", row.get("thing", row.get("kind")))
    stuff = row.get("stuff")
    for flag in (kind, stuff):
        if flag is not None and flag.lower() not in _TRUTH:
            raise ValueError(f"{where}: {flag!r} is none of {', '.join(_TRUTH)}")
    is_thing = None if kind is None else _TRUTH[kind.lower()]
    if is_thing is None and stuff is not None:
        is_thing = not _TRUTH[stuff.lower()]
    entry = Entry(
        split_names(row.get("name", ""), where, published=published),
        where,
        is_thing=is_thing,
        color=parse_color(row["color"], where) if "color" in row else None,
        dataset_id=None if identity is None else int(identity),
    )
    return with_synonyms(entry, row.get("synonyms"), published=published)
