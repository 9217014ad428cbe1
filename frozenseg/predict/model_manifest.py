"""`frozenseg.json` of a model folder: its schema, and the checks of the folder's files.

Nothing here needs torch or detectron2. A folder may be anybody's: it can name files of its own
alone, and nothing in it is run.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from frozenseg.checkpoints.lookup import ENCODER_KEYS
from frozenseg.config.load import FILE_KEYS, PLACE_KEYS
from frozenseg.files import check_digest, file_sha256, read_typed, write_json
from frozenseg.vocab import Vocabulary

MANIFEST, WEIGHTS, CARD = "frozenseg.json", "model.safetensors", "README.md"
FORMAT = 1
# What a folder's config cannot set: places of a machine, and datasets, whose words it has itself.
LEFT_OUT = (*PLACE_KEYS, "DATASETS.FILES", "DATASETS.WORDS")
REMEDY = "get the model again, or save it again (Segmenter.save_pretrained)"
_FILE_NAME = r"^([A-Za-z0-9_][A-Za-z0-9._-]*/){0,2}[A-Za-z0-9_][A-Za-z0-9._-]*$"
_FILE_SUFFIXES = (".json", ".txt", ".yaml", ".safetensors")

FileName = Annotated[str, Meta(pattern=_FILE_NAME, max_length=200)]


class FileRecord(Struct, frozen=True, forbid_unknown_fields=True):
    """A file: its bytes and their SHA-256, in hexadecimal."""

    size: Annotated[int, Meta(ge=0)]
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class Part(Struct, frozen=True, forbid_unknown_fields=True):
    """A part of the model and where its weights come from.

    Attributes:
        part: "decoder", "backbone" (CLIP), "sam", "visual" or "language".
        weights: name or file name of the weights that it had before.
        source: where they are published.
        licence: as their authors state it.
    """

    part: str
    weights: str
    source: str
    licence: str


class Manifest(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """All that a model is besides its tensors.

    Attributes:
        name: of the model, for people.
        task: what is computed where a call does not say.
        config: dotted key -> value, every key.
        train_vocabulary: the classes of the training: what counts as seen.
        vocabulary: the words where a call does not say.
        versions: of the packages that it was saved with.
        parts: with the licences.
        scores: entries of results.json, protocol included, per class left out.
        files: the folder's other files but the card, by path relative to it.
    """

    format_version: int
    name: str
    task: str
    config: dict[str, Any]
    train_vocabulary: list[dict[str, Any]]
    vocabulary: list[dict[str, Any]]
    versions: dict[str, str]
    parts: list[Part]
    scores: list[dict[str, Any]] = []
    files: dict[FileName, FileRecord]


class _Version(Struct):
    format_version: int


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a model folder, whose files are not looked at yet.

    Raises: FileNotFoundError for a folder without one; ValueError that names the file, the place in
        it and the remedy: another format, an unknown field, a path out of the folder.
    """
    path = folder / MANIFEST
    if not path.is_file():
        raise FileNotFoundError(
            f"{folder} holds no {MANIFEST}: it is not a model folder as Segmenter.save_pretrained "
            "makes one; name that folder, a model (frozenseg.models()) or a YAML config"
        )
    found = read_typed(path, _Version, REMEDY).format_version
    if found != FORMAT:
        raise ValueError(
            f"{path}: $.format_version is {found}, this frozenseg reads {FORMAT}: install the one "
            "that saved it, or save the model again with this one"
        )
    manifest: Manifest = read_typed(path, Manifest, REMEDY)
    if WEIGHTS not in manifest.files:
        raise ValueError(f"{path}: $.files has no {WEIGHTS}: {REMEDY}")
    check_config(manifest, path)
    return manifest


def check_config(manifest: Manifest, path: Path) -> None:
    """Raises: ValueError for a value that names a place outside of the folder."""
    for key, value in manifest.config.items():
        problem = ""
        if key in LEFT_OUT:
            problem = "belongs to a machine, not to a model folder"
        elif key in ENCODER_KEYS:  # "openai:" is OpenAI's activation alone
            if value not in ("", "openai:"):
                problem = f"can be '' or 'openai:' here, since {WEIGHTS} has the weights"
        elif key in FILE_KEYS:
            values = value if isinstance(value, list) else [value]
            texts = [each for each in values if isinstance(each, str)]
            if not all(each in manifest.files or _is_name(each) for each in texts):
                problem = "names a file that is not in $.files"
        if problem:
            raise ValueError(f"{path}: $.config: {key} = {value!r} {problem}; {REMEDY}")


def _is_name(text: str) -> bool:
    """Whether a value is a name, of an architecture for instance, or a folder beside the file."""
    return re.match(_FILE_NAME, text) is not None and not text.lower().endswith(_FILE_SUFFIXES)


def check_files(folder: Path, manifest: Manifest) -> None:
    """Compares sizes, then digests.

    Raises: FileNotFoundError for a missing file; ValueError for one that is cut off or changed.
    """
    for name, record in manifest.files.items():
        path = folder / name
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing, {MANIFEST} lists it: {REMEDY}")
        size = path.stat().st_size
        if size != record.size:
            raise ValueError(
                f"{path} is incomplete or was replaced: it has {size:,} bytes, {MANIFEST} says "
                f"{record.size:,}; {REMEDY}"
            )
    for name, record in manifest.files.items():
        check_digest(folder / name, record.sha256)


def record_of(path: Path) -> FileRecord:
    """Size and digest of a file."""
    return FileRecord(path.stat().st_size, file_sha256(path))


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Writes `frozenseg.json`, whole or not at all."""
    write_json(folder / MANIFEST, msgspec.to_builtins(manifest), durable=True, ensure_ascii=False)


def words_of(rows: list[dict[str, Any]], where: str) -> Vocabulary:
    """The vocabulary of the manifest's rows. Raises: ValueError, beginning with `where`."""
    try:
        return Vocabulary.from_json(json.dumps({"classes": rows}))
    except ValueError as error:
        raise ValueError(f"{where}: {str(error).removeprefix('JSON: ')}; {REMEDY}") from error


def rows_of(vocabulary: Vocabulary) -> list[dict[str, Any]]:
    """The classes as the manifest keeps them; `words_of` reads them."""
    content: Mapping[str, list[dict[str, Any]]] = json.loads(vocabulary.to_json())
    return content["classes"]
