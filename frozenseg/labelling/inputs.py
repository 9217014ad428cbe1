"""What INPUT stands for: files of images, tars, Parquet; here or on an object store.

Everything is listed folder by folder and never kept: a hundred million images fit.
"""

from __future__ import annotations

import fnmatch
import glob
import io
import os
import re
import tarfile
from collections.abc import Iterable, Iterator
from functools import lru_cache
from itertools import chain, islice
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from pyarrow import fs

from frozenseg.data.image_files import IMAGE_SUFFIXES
from frozenseg.data.reading import read_rgb
from frozenseg.errors import describe

Item = tuple[str, "int | None"]  # a path, and the row group of a Parquet file
_LISTS = (".txt", ".lst")
_KINDS = {
    **dict.fromkeys(IMAGE_SUFFIXES, "images"),
    ".tar": "tar",
    ".tgz": "tar",
    ".parquet": "parquet",
}
_REMEDY = (
    'give a folder, a pattern ("photos/**/*.jpg"), a list of paths (.txt), .tar or .parquet files'
)
_URL = re.compile(r"([a-z][a-z0-9+.-]+)://(.*)", re.DOTALL)


class Member(NamedTuple):
    """An image of a block: its path and, where a file holds many, its bytes; or an error."""

    path: str
    data: bytes | None = None
    error: str | None = None


def pixels_of(member: Member, store: Store) -> NDArray[np.uint8]:
    """An image, RGB uint8 (H, W, 3). Raises: ValueError or OSError with its path."""
    if member.error:
        raise ValueError(member.error)
    file = io.BytesIO(store.read(member.path) if member.data is None else member.data)
    file.name = member.path  # for messages, and for what a suffix says
    if not file.getbuffer().nbytes:
        raise ValueError(f"{member.path}: the file is empty (0 bytes)")
    return read_rgb(file)


class Plan(NamedTuple):
    """Blocks to be written down, and how they are read."""

    kind: str
    column: str
    blocks: Iterator[list[Item]]


class Store:
    """Files by path or address; addresses of the input's scheme are those of its filesystem."""

    def __init__(self, text: str = "", filesystem: fs.FileSystem | None = None) -> None:
        """
        Args:
            text: the input, "s3://bucket/folder?region=..." for instance.
            filesystem: that all paths are of; None: what addresses say, else this machine's.
        """
        self._text, self._given = text, filesystem

    def locate(self, path: str) -> tuple[fs.FileSystem, str]:
        """The filesystem of a path, and the path there. Raises: ValueError for no filesystem."""
        if self._given is not None:
            return self._given, path
        address = _URL.fullmatch(path)
        if address is None:
            return fs.LocalFileSystem(), os.path.expanduser(path)
        base = _URL.fullmatch(self._text)
        if base and base[1] == address[1]:
            return _filesystem(self._text)[0], address[2].partition("?")[0]
        return _filesystem(path)

    def read(self, path: str) -> bytes:
        """The bytes of a file. Raises: OSError."""
        filesystem, inner = self.locate(path)
        with filesystem.open_input_stream(inner, compression=None) as file:
            return bytes(file.read())

    def open(self, path: str) -> Any:
        """A file, open for reading at any place. Raises: OSError."""
        filesystem, inner = self.locate(path)
        return filesystem.open_input_file(inner)

    def walk(self, text: str) -> Iterator[str]:
        """The files below a folder, or the file, sorted within each folder; hidden ones left out.

        A name with *, ? or [ is a pattern: of files below the folder before it.
        """
        address = _URL.fullmatch(text)
        if address is None and self._given is None:
            for found in _local(os.path.expanduser(text)):
                yield from self._below(fs.LocalFileSystem(), found, "")
            return
        filesystem, inner = self.locate(text)
        scheme = f"{address[1]}://" if address else ""
        fixed = re.split(r"[*?\[]", inner)[0]
        if fixed == inner:
            yield from self._below(filesystem, inner.rstrip("/") or inner, scheme)
            return
        pattern = scheme + inner.replace("**/", "*")
        for path in self._below(filesystem, fixed.rpartition("/")[0], scheme):
            if fnmatch.fnmatchcase(path, pattern):
                yield path

    def _below(self, filesystem: fs.FileSystem, path: str, scheme: str) -> Iterator[str]:
        """The path itself, or all below it."""
        if filesystem.get_file_info(path).type != fs.FileType.Directory:
            yield scheme + path
            return
        for info in sorted(
            filesystem.get_file_info(fs.FileSelector(path)), key=lambda each: each.path
        ):
            if info.base_name.startswith("."):
                continue
            if info.type == fs.FileType.Directory:
                yield from self._below(filesystem, info.path, scheme)
            else:
                yield scheme + info.path


def _local(text: str) -> list[str]:
    return [text] if os.path.exists(text) else sorted(glob.glob(text, recursive=True))


@lru_cache(maxsize=16)
def _filesystem(address: str) -> tuple[fs.FileSystem, str]:
    try:
        return fs.FileSystem.from_uri(address)
    except pa.ArrowInvalid as error:
        unknown = error
    try:  # what fsspec knows and pyarrow does not
        import fsspec

        found, path = fsspec.core.url_to_fs(address)
    except (ImportError, ValueError) as error:
        raise ValueError(f"{address}: no filesystem can read it ({describe(unknown)})") from error
    return fs.PyFileSystem(fs.FSSpecHandler(found)), path


def plan(text: str, block_size: int, column: str = "", store: Store | None = None) -> Plan:
    """What an input stands for, as blocks: `block_size` images, a tar, or a row group of bytes.

    Raises: ValueError or FileNotFoundError for nothing, several kinds, or no such column.
    """
    store = store or Store(text)
    if Path(text).suffix.lower() in _LISTS:
        return Plan("images", "", _grouped(_lines(text, store), block_size))
    files = store.walk(text)
    known = ((path, _KINDS.get(PurePosixPath(path).suffix.lower())) for path in files)
    found = ((path, kind) for path, kind in known if kind)
    first = next(found, None)
    if first is None:
        raise ValueError(f"{text}: no image, .tar or .parquet file found there; {_REMEDY}")
    kind, paths = first[1], _of_one_kind(text, first, found)
    if kind == "images":
        return Plan("images", "", _grouped(paths, block_size))
    if kind == "tar":
        return Plan("tar", "", ([(path, None)] for path in paths))
    column, has_bytes = _column(first[0], column, store)
    if has_bytes:
        return Plan("bytes", column, ([item] for item in _row_groups(paths, store)))
    return Plan("images", "", _grouped(_paths_in(paths, column, store), block_size))


def _lines(text: str, store: Store) -> Iterator[str]:
    """The paths of a list; those of files are relative to it."""
    folder = text.rpartition("/")[0]
    try:
        lines = store.read(text).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ValueError(f"{text}: not UTF-8 text ({error})") from error
    for line in filter(None, map(str.strip, lines)):
        yield line if _URL.match(line) or not folder else os.path.join(folder, line)


def _of_one_kind(
    text: str, first: tuple[str, str], rest: Iterable[tuple[str, str]]
) -> Iterator[str]:
    for path, kind in chain([first], rest):
        if kind != first[1]:
            raise ValueError(
                f"{text}: holds both {first[0]} and {path}: name one kind with a pattern"
            )
        yield path


def _grouped(paths: Iterable[str], size: int) -> Iterator[list[Item]]:
    stream = iter(paths)
    while paths_of := list(islice(stream, size)):
        yield [(path, None) for path in paths_of]


def _parquet(path: str, store: Store) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(store.open(path))
    except pa.ArrowInvalid as error:
        raise ValueError(f"{path}: not a Parquet file ({describe(error)})") from error


def _column(path: str, name: str, store: Store) -> tuple[str, bool]:
    """The column of paths or bytes of a Parquet file, and whether it has bytes."""
    schema = _parquet(path, store).schema_arrow
    possible = {field.name: _has_bytes(field.type) for field in schema}
    possible = {each: kind for each, kind in possible.items() if kind is not None}
    chosen = [name] if name else [n for n in possible if n in ("bytes", "image", "path")]
    chosen = chosen or list(possible)
    if len(chosen) != 1 or chosen[0] not in possible:
        names = ", ".join(possible) or "none"
        raise ValueError(f"{path}: --column must name one of paths or bytes of images: {names}")
    return chosen[0], bool(possible[chosen[0]])


def _has_bytes(kind: pa.DataType) -> bool | None:
    if pa.types.is_struct(kind):  # {"bytes", "path"}: as the Hugging Face hub has images
        return True if kind.get_field_index("bytes") >= 0 else None
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return True
    return False if pa.types.is_string(kind) or pa.types.is_large_string(kind) else None


def _row_groups(paths: Iterable[str], store: Store) -> Iterator[Item]:
    for path in paths:
        for group in range(_parquet(path, store).num_row_groups):
            yield path, group


def _paths_in(paths: Iterable[str], column: str, store: Store) -> Iterator[str]:
    for path in paths:
        for batch in _parquet(path, store).iter_batches(columns=[column]):
            yield from (each or "" for each in batch.column(0).to_pylist())


def members(kind: str, column: str, items: Iterable[Item], store: Store) -> Iterator[Member]:
    """The images of a block, one at a time; a file that ends too early gives an error at its end.

    Raises: nothing for damaged files.
    """
    for path, row_group in items:
        try:
            if kind == "tar":
                yield from _in_tar(path, store)
            elif kind == "bytes":
                yield from _in_row_group(path, row_group or 0, column, store)
            else:
                yield Member(path)
        except (OSError, ValueError, EOFError, tarfile.TarError, pa.ArrowException) as error:
            yield Member(path, error=f"{path}: cannot be read ({describe(error)})")


def _in_tar(path: str, store: Store) -> Iterator[Member]:
    filesystem, inner = store.locate(path)
    with (
        filesystem.open_input_stream(inner, compression=None) as file,
        tarfile.open(fileobj=file, mode="r|*") as tar,
    ):
        for entry in tar:
            if entry.isfile() and PurePosixPath(entry.name).suffix.lower() in IMAGE_SUFFIXES:
                content = tar.extractfile(entry)
                assert content is not None
                data = content.read()
                if len(data) < entry.size:
                    raise EOFError(f"{entry.name} is cut off")
                yield Member(f"{path}#{entry.name}", data)


def _in_row_group(path: str, group: int, column: str, store: Store) -> Iterator[Member]:
    file = _parquet(path, store)
    first = sum(file.metadata.row_group(index).num_rows for index in range(group))
    batches = file.iter_batches(16, row_groups=[group], columns=[column])
    values = (value for batch in batches for value in batch.column(0).to_pylist())
    for number, value in enumerate(values, first):
        data = value.get("bytes") if isinstance(value, dict) else value
        error = None if data else f"{path}#{number}: the row has no bytes"
        yield Member(f"{path}#{number}", data, error)
