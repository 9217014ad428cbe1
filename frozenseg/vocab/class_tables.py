"""Class tables of the benchmarks: data files in tables/, one JSON object per benchmark.

A table row is {"id", "official", "name", "synonyms", "isthing", "color"}: `official` is the name
that the benchmark publishes, `name` and `synonyms` are this project's words for the prompts, `id`
is the category id in the benchmark's (prepared) annotations; rows stand in the order of the
contiguous ids. `color` is the benchmark's own where it has one of its own for the class.
"""

from __future__ import annotations

import dataclasses
import json
from importlib import resources
from pathlib import Path

from frozenseg.errors import nearest
from frozenseg.vocab.class_lists import read_entries
from frozenseg.vocab.entries import Entry, entry_from_object

# Vocabularies that come with the dataset, and how to read them.
_FROM_DATASET = {
    "lvis": "Vocabulary.from_lvis_annotations('.../lvis_v1_val.json')",
    "ade20k_847": "Vocabulary.from_file(<list of its 847 names>, allow_shared=True)",
    "pascal_context_459": "Vocabulary.from_file('.../labels.txt', allow_shared=True)",
}


def table_names() -> list[str]:
    """Names of the built-in tables, for Vocabulary.from_table."""
    folder = resources.files("frozenseg.vocab") / "tables"
    files = [item.name for item in folder.iterdir()]
    return sorted(name.removesuffix(".json") for name in files if name.endswith(".json"))


def table_entries(name: str, overrides: Path | None = None) -> list[Entry]:
    """Entries of the built-in table `name`; its words replaced by those of the file `overrides`.

    The file (any format of files.py) must list as many classes as the table, in the same order
    or with ids that sort into it. Names and synonyms are taken from the file, as are flags and
    colours where it has them; ids and official names stay those of the benchmark.

    Raises:
        ValueError: unknown name, or a file with another number of classes.
    """
    entries = _read_table(name)
    if overrides is None:
        return entries
    words = read_entries(overrides, published=True)
    if len(words) != len(entries):
        raise ValueError(
            f"{overrides}: {len(words)} classes, but table {name!r} has {len(entries)}; "
            "list every class of the benchmark, and no row for unlabelled pixels"
        )
    return [
        dataclasses.replace(
            entry,
            names=word.names,
            where=word.where,
            is_thing=entry.is_thing if word.is_thing is None else word.is_thing,
            color=word.color or entry.color,
        )
        for entry, word in zip(entries, words, strict=True)
    ]


def _read_table(name: str) -> list[Entry]:
    names = table_names()
    if name not in names:
        if name in _FROM_DATASET:
            raise ValueError(f"{name!r} is read from the dataset: use {_FROM_DATASET[name]}")
        near = nearest(name, [*names, *_FROM_DATASET])
        raise ValueError(
            f"no built-in class table {name!r}; did you mean {near[0]!r}? known: {', '.join(names)}"
        )
    file = resources.files("frozenseg.vocab") / "tables" / f"{name}.json"
    table = json.loads(file.read_text(encoding="utf-8"))
    return [
        entry_from_object(row, f"table {name}: class {number}")
        for number, row in enumerate(table["classes"], 1)
    ]
