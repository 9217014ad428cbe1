"""Files on disk: atomic writing, JSON by schema, sections, digests, the cache folder.

Everybody may import this file; it imports nothing of the project and nothing heavy.
"""

from __future__ import annotations

import codecs
import contextlib
import errno
import gc
import hashlib
import itertools
import json
import os
import platform
import re
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

PACKAGE = Path(__file__).resolve().parent
PACKAGED_WEIGHTS = PACKAGE / "weights"
_BLOCK = 1 << 20  # bytes hashed at a time
SHORT_DIGEST = 16  # hexadecimal digits that tell files of a project apart
# A file that is being written: ".NAME.HOST-PID-NUMBER.part.SUFFIX". Hidden, so that nobody takes it
# for a result, and short: a name of 255 bytes leaves no room for more.
_HOST = hashlib.sha256(platform.node().encode()).hexdigest()[:6]
_PART = re.compile(r"\..*\.(?:([0-9a-f]{6})-)?(\d+)(?:-\d+)?\.part(?:\..*)?", re.DOTALL)
_PART_STEM = 40  # characters of the name
_STALE = 24 * 3600.0  # seconds: nobody writes to a part file any more, whoever it was
_part_number = itertools.count()
_swept: set[Path] = set()
# What safetensors and torch.save, whose errors are no OSErrors, say of one; torch never says which.
_LIBRARY_ERROR = re.compile(r"os error (\d+)|PytorchStreamWriter failed|unexpected pos \d+")
# What helps where a file cannot be written; others say it themselves.
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
_NO_ENTRY = (errno.EROFS, errno.EACCES, errno.EPERM)

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
    Raises: NotWrittenError, also for the libraries' own errors of a full disk; what `write` raises
        otherwise.
    """
    part: Path | None = None
    try:
        part = part_path(path)
        write(part)
        if durable:
            _sync(part)
        os.replace(part, path)
        if durable:
            _sync(path.parent)
    except Exception as error:
        if part is not None and not _is_write_error(error, part):
            raise
        raise NotWrittenError(path, error) from error
    finally:
        if part is not None:
            part.unlink(missing_ok=True)


def part_path(path: Path) -> Path:
    """Where a file is written before it gets its name `path`: beside it, with its suffix.

    Makes the folder. The first time that this process writes there, part files of processes that
    were killed are removed (of other machines, whose processes are not known here: old ones).
    """
    folder = path.parent
    folder.mkdir(parents=True, exist_ok=True)
    if folder not in _swept:
        _swept.add(folder)
        remove_stale_parts(folder)
    owner = f"{_HOST}-{os.getpid()}-{next(_part_number)}"
    suffix = path.suffix if len(path.suffix) < _PART_STEM else ""
    return path.with_name(f".{path.stem[:_PART_STEM]}.{owner}.part{suffix}")


def remove_stale_parts(folder: Path) -> None:
    """Deletes what processes that are gone left behind of unfinished files."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        for entry in entries:
            owner = _PART.fullmatch(entry.name)
            if owner is None:
                continue
            with contextlib.suppress(OSError):
                is_old = time.time() - entry.stat(follow_symlinks=False).st_mtime > _STALE
                if is_old or (owner[1] == _HOST and not _is_alive(int(owner[2]))):
                    os.unlink(entry.path)


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # another user's
        return True
    return True


def _is_write_error(error: Exception, part: Path) -> bool:
    """Whether an error says that `part` cannot be written, in whatever words of a library.

    Not one about another file, which is read meanwhile, or about a program that is missing.
    """
    if not isinstance(error, OSError):
        return bool(_LIBRARY_ERROR.search(str(error)))
    about_part = error.filename is None or Path(os.fsdecode(error.filename)).parent == part.parent
    return about_part and error.errno != errno.ENOENT


class NotWrittenError(OSError):
    """A file could not be written: the message has its name, why, what was kept, what to do.

    Attributes:
        is_about_folder: the next file will fail as this one did: no room, or no right to write.
    """

    def __init__(self, path: Path, error: Exception) -> None:
        """`error`: what the system or a library said."""
        number = getattr(error, "errno", None) or 0
        if not isinstance(error, OSError):
            told = _LIBRARY_ERROR.search(str(error))
            number = int(told[1]) if told and told[1] else errno.ENOSPC
        reason = os.strerror(number) if number else f"{error}: is the disk full?"
        kept = "the file that was there is kept" if path.exists() else "nothing of it is kept"
        remedy = ""
        if number in _NO_ROOM:
            remedy = "; make room (or raise the quota or `ulimit -f`), then run the same again"
        if number in _NO_ENTRY:
            remedy = "; choose a folder that you may write to"
        super().__init__(f"{path}: cannot be written ({reason}); {kept}{remedy}")
        self.errno = number
        self.is_about_folder = number in (*_NO_ROOM, *_NO_ENTRY)


def _sync(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str, *, durable: bool = False) -> None:
    """Writes a UTF-8 file, whole or not at all; `durable` as in `write_atomically`.

    What UTF-8 cannot hold (of a file name that is not UTF-8) is escaped in a way that JSON reads.
    """
    content = text.encode("utf-8", errors="backslashreplace")
    write_atomically(path, lambda part: part.write_bytes(content), durable=durable)


def write_json(path: Path, content: Any, *, durable: bool = False, **options: Any) -> None:
    """`write_text` of a JSON file; `options` are those of `json.dumps`."""
    write_text(path, json.dumps(content, **{"indent": 1, **options}) + "\n", durable=durable)


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
        if str(error).startswith(where):
            raise
        problem = f"not valid {language} ({error})" if language else str(error)
        raise ValueError(f"{where}: {problem}{_order(remedy)}") from error


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
        with contextlib.suppress(OSError):
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
    """`$FROZENSEG_CACHE/PART`, or that of the user's cache folder; it need not exist.

    Raises: FileNotFoundError, with the remedy, for a user without a home folder.
    """
    given, base = (os.environ.get(name) for name in ("FROZENSEG_CACHE", "XDG_CACHE_HOME"))
    try:
        if given:
            return Path(given).expanduser() / part
        return (Path(base).expanduser() if base else Path.home() / ".cache") / "frozenseg" / part
    except RuntimeError as error:
        raise FileNotFoundError(
            f"there is no home folder for the cache ({error}): set FROZENSEG_CACHE to a folder "
            "that you may write to"
        ) from error
