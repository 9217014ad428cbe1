"""Files on disk: atomic writing, JSON and YAML by schema, sections, digests, the cache folder.

Everybody may import this file; it imports nothing of the project and nothing heavy.
"""

from __future__ import annotations

import codecs
import gc
import hashlib
import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import msgspec

PACKAGE = Path(__file__).resolve().parent
PACKAGED_WEIGHTS = PACKAGE / "weights"
_BLOCK = 1 << 20  # bytes hashed at a time
SHORT_DIGEST = 16  # hexadecimal digits that tell files of a project apart

# (type of the schema, what the file has there) -> the value; raises ValueError if it cannot be one.
Hook = Callable[[type, Any], Any]


def sample_image() -> Path:
    """A scene of the miniature world (PNG), to try the miniature models on."""
    return PACKAGE / "samples" / "scene.png"


def checkout() -> Path | None:
    """The folder of the repository that the package runs from; None for an installed package."""
    return PACKAGE.parent if (PACKAGE.parent / "train_net.py").is_file() else None


def environment_of_children() -> dict[str, str]:
    """This process's environment, in which `python -m frozenseg` finds this very package."""
    path = [str(PACKAGE.parent), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(path)}


def write_atomically(path: Path, write: Callable[[Path], object], *, durable: bool = False) -> None:
    """Calls `write` with a temporary path beside `path` (same suffix), then renames.

    Makes the folder if needed; after an error the old file is still there and the temporary one
    is not.
    Args: durable: survives a power cut too: file and folder are synced to the disk, which takes
        milliseconds; for what a run resumes from, not for thousands of small files.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.stem}.{os.getpid()}.part{path.suffix}")
    try:
        write(part)
        if durable:
            _sync(part)
        os.replace(part, path)
        if durable:
            _sync(path.parent)
    finally:
        part.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str, *, durable: bool = False) -> None:
    """Writes a UTF-8 file, whole or not at all; `durable` as in `write_atomically`."""
    write_atomically(path, lambda part: part.write_text(text, encoding="utf-8"), durable=durable)


def write_json(path: Path, content: Any, **options: Any) -> None:
    """Writes a JSON file, whole or not at all; `options` are those of `json.dumps`."""
    write_text(path, json.dumps(content, **{"indent": 1, **options}) + "\n")


def read_json(path: Path, remedy: str = "") -> Any:
    """The content of a JSON file, whatever it is; otherwise as `read_typed`."""
    return read_typed(path, Any, remedy)


def read_typed(path: Path, schema: Any, remedy: str = "", hook: Hook | None = None) -> Any:
    """The content of a JSON file as `schema` describes it, a type that msgspec knows.

    UTF-8 with or without a byte order mark; NaN and Infinity, which Python writes, are read.

    Args:
        remedy: what to do about a file that is not there, damaged or of another structure.
        hook: makes the types of the schema that msgspec does not know.
    Raises: FileNotFoundError; ValueError that names the file, the place in it, as in
        `$.annotations[3].id`, the type that is expected there, and the remedy.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist{_order(remedy)}")
    return decode_typed(path.read_bytes(), schema, str(path), remedy, hook)


def decode_typed(
    data: bytes, schema: Any, where: str, remedy: str = "", hook: Hook | None = None
) -> Any:
    """`read_typed` of bytes; `where` is what messages call them."""
    text = _without_mark(data)
    with _clear_errors(where, remedy, "JSON"), _no_collection():
        try:
            return msgspec.json.decode(text, type=schema, dec_hook=hook)
        except msgspec.ValidationError:
            raise
        except msgspec.DecodeError:  # of NaN, too: what is no JSON for Python either is damaged
            return msgspec.convert(json.loads(bytes(text)), schema, dec_hook=hook)


def check_typed(content: Any, schema: Any, where: str, remedy: str = "") -> Any:
    """Python values as `schema` describes them. Raises: ValueError as `read_typed`."""
    with _clear_errors(where, remedy):
        return msgspec.convert(content, schema)


def _without_mark(data: bytes) -> memoryview:
    return memoryview(data)[len(codecs.BOM_UTF8) if data.startswith(codecs.BOM_UTF8) else 0 :]


def _order(remedy: str) -> str:
    return f"; {remedy}" if remedy else ""


@contextmanager
def _clear_errors(where: str, remedy: str, language: str = "") -> Iterator[None]:
    """Errors of parsers as one ValueError with the file, the place and the remedy."""
    try:
        yield
    except msgspec.ValidationError as error:
        problem, _, place = str(error).replace("`", "").partition(" - at ")
        raise ValueError(f"{where}: {place or '$'}: {problem}{_order(remedy)}") from error
    except RecursionError:
        raise ValueError(f"{where}: is nested too deeply{_order(remedy)}") from None
    except ValueError as error:  # also of text that is not UTF-8
        if not language or str(error).startswith(where):
            raise
        raise ValueError(f"{where}: not valid {language} ({error}){_order(remedy)}") from error


@contextmanager
def _no_collection() -> Iterator[None]:
    """Without Python's search for circles, which JSON has none of: it takes half of the time."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def flatten(
    tree: Mapping[Any, Any], prefix: str = "", separator: str = "."
) -> Iterator[tuple[str, Any]]:
    """The (dotted key, value) pairs of nested mappings, in their order; empty ones have none."""
    for name, value in tree.items():
        if isinstance(value, Mapping):
            yield from flatten(value, f"{prefix}{name}{separator}", separator)
        else:
            yield f"{prefix}{name}", value


def file_sha256(path: Path) -> str:
    """The SHA-256 of a file's bytes, 64 hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            digest.update(block)
    return digest.hexdigest()


def file_digest(path: Path) -> str:
    """The first 16 digits of `file_sha256`: they tell the files of a project apart."""
    return file_sha256(path)[:SHORT_DIGEST]


def recorded_digest(path: Path) -> str:
    """The digest that `record_digest` left beside a file; "" without one."""
    note = _digest_note(path)
    words = note.read_text(encoding="utf-8", errors="replace").split() if note.is_file() else []
    return words[0] if words else ""


def record_digest(path: Path, sha256: str) -> None:
    """Writes FILE.sha256 beside a file, in the form that `sha256sum --check` reads."""
    write_text(_digest_note(path), f"{sha256}  {path.name}\n")


def check_digest(path: Path, published: str = "") -> None:
    """Checks a cached file before it is loaded: against damage and replacement, not an attacker.

    Args: published: its SHA-256; where it is "", that of the first use counts, which is kept beside
        the file (not in a folder that cannot be written).
    Raises: ValueError with both digests and what to do.
    """
    found, expected = file_sha256(path), published or recorded_digest(path)
    if not expected:
        with suppress(OSError):
            record_digest(path, found)
    elif found != expected:
        what = "is published" if published else f"it was first used with ({_digest_note(path)})"
        remedy = "" if published else "; after replacing it on purpose, delete the .sha256 file"
        raise ValueError(
            f"{path} is damaged or was replaced: its sha256 is {found}, {expected} {what}; delete "
            f"it and get it again{remedy}"
        )


def _digest_note(path: Path) -> Path:
    return path.with_name(f"{path.name}.sha256")


def cache_folder(part: str) -> Path:
    """`$FROZENSEG_CACHE/PART`, or that of the user's cache folder; it need not exist."""
    given = os.environ.get("FROZENSEG_CACHE")
    if given:
        return Path(given).expanduser() / part
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base).expanduser() if base else Path.home() / ".cache") / "frozenseg" / part
