"""Class entries as read from any source, before they become a vocabulary.

Every reader (text, files, tables, data-set metadata) ends in a list of `Entry`; the checks that
hold for all of them are here. `where` names the place of an entry in messages ("names.txt:3").
"""

from __future__ import annotations

import dataclasses
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from frozenseg.vocab.colors import Color, parse_color

MAX_NAME_LENGTH = 200
_FLAGS = {"thing": True, "stuff": False}
_OBJECT_KEYS = ("name", "synonyms", "isthing", "is_thing", "color", "id", "official")


@dataclass(frozen=True)
class Entry:
    """One class as given: names (canonical first), where it stands and what is known of it."""

    names: tuple[str, ...]
    where: str
    is_thing: bool | None = None
    color: Color | None = None
    dataset_id: int | None = None
    official: str = ""


def clean_name(text: object, where: str) -> str:
    """`text` with whitespace normalised; ValueError if it cannot name a class.

    The empty string is returned as such: the caller knows whether it is allowed.
    """
    if not isinstance(text, str):
        raise ValueError(f"{where}: a class name must be text, got {text!r}")
    name = " ".join(unicodedata.normalize("NFC", text).split())
    if not name:
        return name
    if len(name) > MAX_NAME_LENGTH:
        raise ValueError(
            f"{where}: a class name of {len(name)} characters (at most {MAX_NAME_LENGTH}): "
            f"{name[:40]!r}...; is the separator right?"
        )
    if any(unicodedata.category(character) in ("Cc", "Cs") for character in name):
        raise ValueError(f"{where}: class name {name!r} contains control characters")
    if not any(character.isalnum() for character in name):
        raise ValueError(f"{where}: class name {name!r} has no letter or digit")
    return name


def split_names(text: object, where: str, *, published: bool = False) -> tuple[str, ...]:
    """Comma-separated names, cleaned, without repetitions, in the order given.

    An empty name between commas is an error, in `published` lists it is dropped.
    """
    if not isinstance(text, str):
        raise ValueError(f"{where}: a class name must be text, got {text!r}")
    names = [clean_name(part, where) for part in text.split(",")]
    if not any(names):
        raise ValueError(f"{where}: empty class name {text!r}; write a name or remove the entry")
    if not published and not all(names):
        raise ValueError(
            f"{where}: empty name between commas in {text!r}; remove the superfluous comma"
        )
    return tuple(dict.fromkeys(name for name in names if name))


def entry_from_text(text: object, where: str, *, published: bool = False) -> Entry:
    """Entry from "name, synonym, ..." with an optional ":thing" or ":stuff" at its end."""
    if not isinstance(text, str):
        raise ValueError(f"{where}: a class name must be text, got {text!r}")
    body, colon, flag = text.partition(":")
    kind = _FLAGS.get(flag.strip().lower())
    if colon and kind is None:
        raise ValueError(
            f"{where}: ':{flag.strip()}' in {text.strip()!r} is neither ':thing' nor ':stuff'; "
            "a name cannot contain a colon"
        )
    return Entry(split_names(body, where, published=published), where, is_thing=kind)


def with_synonyms(entry: Entry, synonyms: object, *, published: bool = False) -> Entry:
    """`entry` with further synonyms: None, one text with commas, or a sequence of texts."""
    if synonyms is None:
        return entry
    more = [synonyms] if isinstance(synonyms, str) else synonyms
    if not isinstance(more, Sequence):
        raise ValueError(f"{entry.where}: synonyms must be a text or a list, got {synonyms!r}")
    parts = [split_names(text, entry.where, published=published) for text in more]
    names = dict.fromkeys([*entry.names, *(name for part in parts for name in part)])
    return dataclasses.replace(entry, names=tuple(names))


def entries_from_names(names: object, *, published: bool = False) -> list[Entry]:
    """Entries from a list of texts, a list of lists (name first) or a dict name -> synonyms."""
    if isinstance(names, (str, bytes)) or not isinstance(names, Iterable):
        raise ValueError(
            f"class names must be a list or a dict, got {names!r}; Vocabulary.parse reads one text"
        )
    items = names.items() if isinstance(names, Mapping) else ((item, None) for item in names)
    return [
        entry_from_item(item, synonyms, f"class {number}", published=published)
        for number, (item, synonyms) in enumerate(items, 1)
    ]


def entry_from_item(
    item: object, synonyms: object, where: str, *, published: bool = False
) -> Entry:
    """Entry from a text as `entry_from_text` reads it, or a list of names, plus `synonyms`."""
    if isinstance(item, Sequence) and not isinstance(item, (str, bytes)):
        if not item:
            raise ValueError(f"{where}: empty list of names; write a name or remove the entry")
        return with_synonyms(
            entry_from_text(item[0], where, published=published), item[1:], published=published
        )
    entry = entry_from_text(item, where, published=published)
    return with_synonyms(entry, synonyms, published=published)


def entries_from_text(text: object) -> list[Entry]:
    """Entries from "cat, kitten; dog; sky:stuff": classes between semicolons or line ends."""
    if not isinstance(text, str):
        raise ValueError(f"a vocabulary to parse must be text, got {text!r}")
    parts = re.split(r"[ \t]*;?\s*\n\s*|;", text.strip().removesuffix(";"))
    return [] if parts == [""] else entries_from_names(parts)


def entry_from_object(
    fields: Mapping[str, object], where: str, *, published: bool = False, strict: bool = True
) -> Entry:
    """Entry from an object with "name" and, as wished, the other keys of _OBJECT_KEYS.

    Names are taken literally here: a colon is part of the name; a comma separates synonyms.
    An unknown key is an error unless `strict` is off (annotation files carry other keys).
    """
    unknown = [key for key in fields if key not in _OBJECT_KEYS]
    if strict and unknown:
        raise ValueError(f"{where}: unknown key {unknown[0]!r}; known: {', '.join(_OBJECT_KEYS)}")
    if "name" not in fields:
        raise ValueError(f"{where}: no 'name' in {dict(fields)!r}")
    names = split_names(fields["name"], where, published=published)
    kind = fields.get("isthing", fields.get("is_thing"))
    if kind not in (None, True, False):  # 0 and 1 are equal to False and True
        raise ValueError(f"{where}: isthing must be true, false or null, got {kind!r}")
    dataset_id = fields.get("id")
    if dataset_id is not None and type(dataset_id) is not int:
        raise ValueError(f"{where}: id must be an integer, got {dataset_id!r}")
    color = fields.get("color")
    entry = Entry(
        names,
        where,
        is_thing=None if kind is None else bool(kind),
        color=None if color is None else parse_color(color, where),
        dataset_id=dataset_id,
        official=clean_name(fields.get("official") or "", where),
    )
    return with_synonyms(entry, fields.get("synonyms"), published=published)


def sorted_by_id(entries: list[Entry]) -> list[Entry]:
    """The entries in ascending order of their ids; entries without ids stay as they are.

    The index of a class is the rank of its id: 0..n-1, 1..n and lists with gaps (COCO) alike.
    ValueError if an id occurs twice or only some entries have one.
    """
    without = [entry for entry in entries if entry.dataset_id is None]
    if len(without) == len(entries):
        return entries
    if without:
        raise ValueError(
            f"{without[0].where}: no id before {without[0].names[0]!r} where other classes have "
            "one; give every class an id ('7: name') or none"
        )
    check_ids(entries)
    return sorted(entries, key=lambda entry: entry.dataset_id or 0)


def check_ids(entries: Sequence[Entry]) -> None:
    """ValueError naming both classes if an id occurs twice."""
    first: dict[int, Entry] = {}
    for entry in entries:
        if entry.dataset_id is None:
            continue
        other = first.setdefault(entry.dataset_id, entry)
        if other is not entry:
            raise ValueError(
                f"{entry.where}: id {entry.dataset_id} of {entry.names[0]!r} is taken by "
                f"{other.names[0]!r} ({other.where}); ids must differ"
            )


def check_unshared(entries: Sequence[Entry]) -> None:
    """ValueError naming both classes if a name belongs to two of them (case is ignored)."""
    owner: dict[str, Entry] = {}
    for entry in entries:
        for name in entry.names:
            other = owner.setdefault(name.casefold(), entry)
            if other is entry:
                continue
            first, second = other.names[0], entry.names[0]
            if first.casefold() == second.casefold():
                raise ValueError(
                    f"class {second!r} is given twice ({other.where} and {entry.where}); "
                    "remove or rename one"
                )
            raise ValueError(
                f"synonym {name!r} belongs to both {first!r} ({other.where}) and {second!r} "
                f"({entry.where}); keep it in one of them"
            )
