"""Class tables of the benchmarks: data files in tables/, one JSON object per benchmark.

A table row is {"id", "official", "name", "synonyms", "isthing", "color"}: `official` is the name
that the benchmark publishes, `name` and `synonyms` are this project's words for the prompts, `id`
is the category id in the benchmark's (prepared) annotations; rows stand in the order of the
contiguous ids. `color` is the benchmark's own where it has one of its own for the class.
"""

from __future__ import annotations

import json
from importlib import resources

from frozenseg.errors import nearest
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


def table_entries(name: str) -> list[Entry]:
    """Entries of the built-in table `name`. Raises: ValueError that names the nearest."""
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
