"""What a user gives as a vocabulary: text, names, synonyms, a file, a table, a benchmark."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from frozenseg.errors import nearest, warn_once
from frozenseg.vocab import Vocabulary, VocabularyClass
from frozenseg.vocab.class_tables import table_names

Synonyms: TypeAlias = "str | Sequence[str] | Mapping[str, Any] | None"
Words: TypeAlias = (
    "Vocabulary | str | Path | Iterable[str | Sequence[str]] | Mapping[str, Synonyms]"
)

logger = logging.getLogger(__name__)

_KEYS = ("synonyms", "stuff", "thing")
_GREY = (128, 128, 128)


def read_words(words: Words) -> Vocabulary:
    """A vocabulary from any of the forms that users write.

    Args:
        words: a Vocabulary; text as `read_vocabulary` takes it; a path; names such as
            ["cat, kitten", "sky:stuff", ["dog", "puppy"]]; a dict of a name and its synonyms, or
            of a name and {"synonyms": ["heaven"], "stuff": True}.
    Raises: TypeError for another type; ValueError for no words, a word given twice, an unknown
        table or key; FileNotFoundError.
    """
    if isinstance(words, Vocabulary):
        return words
    if isinstance(words, str):
        return read_vocabulary(words)
    if isinstance(words, os.PathLike):
        return Vocabulary.from_file(Path(words).expanduser())
    if isinstance(words, (bytes, set, frozenset)) or not isinstance(words, Iterable):
        raise TypeError(
            f"a vocabulary must be text, a list of names, a dict, a path or a Vocabulary; got a "
            f"{type(words).__name__}" + (" (it has no order)" if isinstance(words, set) else "")
        )
    if isinstance(words, Mapping):
        for name, value in words.items():
            _check_entry(name, value)
        return Vocabulary.from_names([_names(name, value) for name, value in words.items()])
    return Vocabulary.from_names(words)


def read_vocabulary(text: str) -> Vocabulary:
    """What a user means by a text: a file, a built-in table, a benchmark, or the words themselves.

    Raises: FileNotFoundError for what looks like a file and is not there, and for a benchmark
        whose words are read from its files; ValueError for no words and for what is nearly the
        name of a table or benchmark.
    """
    from frozenseg.data.catalog.lookup import DATASET_SPLITS, row_vocabulary

    path, name = Path(text).expanduser(), text.strip()
    rows = {known: row for row in DATASET_SPLITS for known in row.names}
    if name in rows:
        return row_vocabulary(rows[name])
    tables = table_names()
    near = "_" in name and nearest(name, [*tables, *rows], cutoff=0.8)
    if near and name not in tables and near[0] in rows:
        raise ValueError(f"no benchmark or class table {name!r}; did you mean {near[0]!r}?")
    if near or name in tables:
        return Vocabulary.from_table(name)
    looks_like_file = path.suffix.lower() in (".txt", ".tsv", ".json")
    if looks_like_file or (len(text) < 250 and path.is_file()):
        return Vocabulary.from_file(path)
    vocabulary = Vocabulary.parse(text)
    hint = one_class_hint(vocabulary)
    if hint:
        warn_once(logger, text, hint)
    return vocabulary


def one_class_hint(vocabulary: Vocabulary) -> str:
    """What a typed text with commas alone was understood as, "" for all other words."""
    if len(vocabulary) > 1 or len(vocabulary.all_synonyms) == 1:
        return ""
    names = ", ".join(vocabulary.all_synonyms)
    return (
        f"one class with {len(vocabulary.all_synonyms)} names: {names}. Commas separate names of "
        "one class, semicolons classes"
    )


def with_background(vocabulary: Vocabulary, word: str) -> Vocabulary:
    """The vocabulary and, last, a class of stuff for everything else.

    Args: word: its name; synonyms after commas.
    Raises: ValueError if one of its names is in the vocabulary already.
    """
    names = Vocabulary.parse(word).synonyms[0]
    taken = {name.casefold(): name for name in vocabulary.all_synonyms}
    for name in names:
        if name.casefold() in taken:
            raise ValueError(
                f"the background word {name!r} is a word of the vocabulary too: leave one out"
            )
    background = VocabularyClass(names[0], names, is_thing=False, color=_GREY)
    return Vocabulary((*vocabulary.classes, background))


def _check_entry(name: object, value: object) -> None:
    """Raises: TypeError for a dict of numbers and names, which some tools keep."""
    if not isinstance(name, str):
        names = "give the names alone: list(words.values())" if isinstance(value, str) else ""
        raise TypeError(f"a class name must be text, got {name!r}{names and '; '}{names}")
    if not isinstance(value, (str, Mapping, Sequence, type(None))):
        raise TypeError(
            f"{name!r}: a dict gives every name its synonyms, got {value!r}; give the names alone, "
            "in their order: list(words)"
        )


def _names(name: str, value: Synonyms) -> list[str]:
    """The names of one entry of a dict, canonical first, with ":stuff" or ":thing" on it."""
    if not isinstance(value, Mapping):
        more = [value] if isinstance(value, str) else list(value or ())
        return [name, *more]
    unknown = [key for key in value if key not in _KEYS]
    if unknown:
        raise ValueError(f"{name!r}: unknown key {unknown[0]!r}; known: {', '.join(_KEYS)}")
    stuff, thing = (value.get(key) for key in ("stuff", "thing"))
    if any(flag not in (None, True, False) for flag in (stuff, thing)):
        raise ValueError(f"{name!r}: 'stuff' and 'thing' are true or false, got {dict(value)!r}")
    if stuff is not None and thing is not None and bool(stuff) == bool(thing):
        raise ValueError(f"{name!r}: 'stuff' and 'thing' contradict each other")
    is_stuff = stuff if stuff is not None else None if thing is None else not thing
    suffix = {None: "", True: ":stuff", False: ":thing"}[is_stuff]
    synonyms = value.get("synonyms") or ()
    return [name + suffix, *([synonyms] if isinstance(synonyms, str) else synonyms)]
