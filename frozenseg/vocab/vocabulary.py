"""The words a model is asked for: classes with synonyms, thing/stuff flags and colours.

    Vocabulary.parse("cat, kitten; dog; sky:stuff")        a user's own words
    Vocabulary.from_names(["cat", "dog"])                  the same from Python
    Vocabulary.from_file("words.txt")                      .txt, .tsv, .json (see files.py)
    Vocabulary.from_table("ade20k_150")                    a benchmark's classes

The contiguous id of a class is its index.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from frozenseg.files import write_text
from frozenseg.vocab.class_lists import entries_from_json, read_annotation_entries, read_entries
from frozenseg.vocab.class_tables import table_entries
from frozenseg.vocab.colors import Color, assign_colors
from frozenseg.vocab.entries import Entry, check_unshared, entries_from_names, entries_from_text
from frozenseg.vocab.metadata import metadata_entries, metadata_value


@dataclass(frozen=True)
class VocabularyClass:
    """One class.

    Attributes:
        name: canonical name, as it is shown.
        synonyms: all names that are put into prompts, `name` first.
        is_thing: countable (True), stuff (False) or unknown (None, to be treated as a thing).
        color: RGB, 0..255.
        dataset_id: category id in the annotations of the dataset, if there is one.
        official: name that the benchmark publishes, `name` where it has none.
    """

    name: str
    synonyms: tuple[str, ...]
    is_thing: bool | None
    color: Color
    dataset_id: int | None = None
    official: str = ""

    def __post_init__(self) -> None:
        if not self.synonyms or self.synonyms[0] != self.name:
            raise ValueError(f"the first synonym of {self.name!r} must be the name itself")
        if not self.official:
            object.__setattr__(self, "official", self.name)


@dataclass(frozen=True, eq=False)
class Vocabulary:
    """An ordered, immutable, hashable list of at least one class; equal if its content is.

    The constructors named from_* and parse check what a user wrote (empty and repeated names,
    names shared by two classes); Vocabulary(classes) itself takes ready classes as they are.
    """

    classes: tuple[VocabularyClass, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "classes", tuple(self.classes))
        if not self.classes:
            raise ValueError("empty vocabulary: give at least one class name")

    @classmethod
    def from_names(
        cls,
        names: Iterable[str | Sequence[str]] | Mapping[str, str | Sequence[str] | None],
        *,
        allow_shared: bool = False,
    ) -> Vocabulary:
        """From ["cat, kitten", "sky:stuff"], [["cat", "kitten"], ...] or {"cat": ["kitten"]}.

        Commas separate synonyms. With `allow_shared` the list counts as published: classes may
        share names and superfluous commas are dropped; otherwise both are a ValueError.
        """
        return cls._build(entries_from_names(names, published=allow_shared), allow_shared)

    @classmethod
    def parse(cls, text: str) -> Vocabulary:
        """From one line such as "cat, kitten; dog; sky:stuff" (line ends separate classes too)."""
        return cls._build(entries_from_text(text))

    @classmethod
    def from_file(cls, path: str | Path, *, allow_shared: bool = False) -> Vocabulary:
        """From a .txt, .tsv or .json file in the formats that files.py lists.

        `allow_shared`: see from_names; published lists (A-847, PC-459) need it.
        Raises: FileNotFoundError, or ValueError that names file and line.
        """
        return cls._build(read_entries(Path(path), published=allow_shared), allow_shared)

    @classmethod
    def from_table(cls, name: str) -> Vocabulary:
        """A benchmark's classes. Raises: ValueError for an unknown name."""
        return cls._build(table_entries(name))

    @classmethod
    def from_lvis_annotations(cls, path: str | Path) -> Vocabulary:
        """The categories of an LVIS (or COCO) annotation file, in the order of their ids."""
        return cls._build(read_annotation_entries(Path(path)), allow_shared=True)

    @classmethod
    def from_metadata(cls, meta: object) -> Vocabulary:
        """`meta.vocabulary` if set, else made of thing_classes / stuff_classes (metadata.py)."""
        vocabulary = metadata_value(meta, "vocabulary")
        if vocabulary is None:
            return cls._build(metadata_entries(meta), allow_shared=True)
        if not isinstance(vocabulary, cls):
            raise ValueError(f"metadata: vocabulary must be a Vocabulary, got {vocabulary!r}")
        return vocabulary

    @classmethod
    def from_json(cls, text: str) -> Vocabulary:
        """What `to_json` wrote, unchanged."""
        return cls._build(entries_from_json(text, "JSON"), allow_shared=True)

    @classmethod
    def _build(cls, entries: Sequence[Entry], allow_shared: bool = False) -> Vocabulary:
        if not allow_shared:
            check_unshared(entries)
        colors = assign_colors(
            [entry.names[0] for entry in entries], [entry.color for entry in entries]
        )
        return cls(
            tuple(
                VocabularyClass(
                    name=entry.names[0],
                    synonyms=entry.names,
                    is_thing=entry.is_thing,
                    color=color,
                    dataset_id=entry.dataset_id,
                    official=entry.official,
                )
                for entry, color in zip(entries, colors, strict=True)
            )
        )

    def with_words(self, path: str | Path) -> Vocabulary:
        """The same classes under the names of a class list; all else stays.

        The list has the classes in their order, or with ids that sort into it; names may be shared.
        A first row of background that the vocabulary does not have is left out.
        Raises: FileNotFoundError; ValueError for a list of another number of classes.
        """
        rows = read_entries(Path(path), published=True)
        if len(rows) == len(self) + 1 and "background" in rows[0].names:
            rows = rows[1:]
        if len(rows) != len(self):
            raise ValueError(
                f"{path}: {len(rows)} classes, but {len(self)} are needed: list every class of the "
                "benchmark, and no row for unlabelled pixels"
            )
        return Vocabulary(
            tuple(
                replace(item, name=row.names[0], synonyms=row.names)
                for item, row in zip(self.classes, rows, strict=True)
            )
        )

    def to_json(self) -> str:
        """The whole content as JSON, one class per line; `from_json` and `from_file` read it."""
        rows = [json.dumps(_json_row(item), ensure_ascii=False) for item in self.classes]
        return '{"classes": [\n' + ",\n".join(rows) + "\n]}\n"

    def save(self, path: str | Path) -> None:
        """Write `to_json` to a .json file, atomically."""
        target = Path(path)
        if target.suffix.lower() != ".json":
            raise ValueError(f"{target}: a vocabulary is saved as JSON; use the extension .json")
        if not target.parent.is_dir():
            raise FileNotFoundError(f"{target.parent}: no such folder; create it first")
        write_text(target, self.to_json())

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the whole content (order included), as hexadecimal digits."""
        return hashlib.sha256(self.to_json().encode()).hexdigest()

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Canonical names."""
        return tuple(item.name for item in self.classes)

    @cached_property
    def synonyms(self) -> tuple[tuple[str, ...], ...]:
        """Per class all of its names, canonical first."""
        return tuple(item.synonyms for item in self.classes)

    @cached_property
    def all_synonyms(self) -> tuple[str, ...]:
        """All names of all classes in order: S texts, class by class."""
        return tuple(name for item in self.classes for name in item.synonyms)

    @property
    def thing_mask(self) -> list[bool]:
        """Per class whether it is a thing; unknown counts as thing."""
        return [item.is_thing is not False for item in self.classes]

    @property
    def colors(self) -> list[Color]:
        """RGB per class, 0..255."""
        return [item.color for item in self.classes]

    @property
    def dataset_ids(self) -> list[int | None]:
        """Category id of every class in the dataset's annotations, None if there is none."""
        return [item.dataset_id for item in self.classes]

    @cached_property
    def category_ids(self) -> tuple[int, ...]:
        """A category id, at least 1, for every class in result files and exports.

        Those of the dataset where every class has one of its own, else class index + 1.
        """
        own = tuple(number for number in self.dataset_ids if number)
        return own if len(set(own)) == len(self) else tuple(range(1, len(self) + 1))

    def __len__(self) -> int:
        return len(self.classes)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Vocabulary):
            return NotImplemented
        return self is other or self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)


def seen_classes(test: Vocabulary, train: Vocabulary) -> list[bool]:
    """Per test class whether it shares a name with any training class (compared as they are)."""
    known = {name.strip() for name in train.all_synonyms}
    return [any(name.strip() in known for name in names) for names in test.synonyms]


def _json_row(item: VocabularyClass) -> dict[str, Any]:
    return {
        "name": item.name,
        "synonyms": list(item.synonyms[1:]),
        "isthing": item.is_thing,
        "color": list(item.color),
        "id": item.dataset_id,
        "official": item.official,
    }
