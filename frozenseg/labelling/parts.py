"""The folder of a job: manifest, plan, and one Parquet file a block of images.

    DIR/manifest.json                  what was computed, with what: never changed
    DIR/plan-TOKEN/000000.parquet      the images of 1,000 blocks, a row group each
    DIR/parts/000000/000000000.parquet the rows of block 0

A part has the number of its block: whoever computes a block twice replaces a part by the same one.
"""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pyarrow.parquet as pq

from frozenseg.files import part_path, read_typed, write_atomically, write_json
from frozenseg.labelling.engine import Counts
from frozenseg.labelling.inputs import Member, Store, members
from frozenseg.labelling.schema import SCHEMA, table_of

MANIFEST, PARTS, FORMAT = "manifest.json", "parts", 1
TOGETHER = 1000  # blocks in a file of the plan, parts in a folder
IMAGES_OF_BLOCK = 1_000_000  # image ids of a block: BLOCK * 1,000,000 + place of the image in it
_NOTE = b"frozenseg"
_PLAN = pa.schema([("path", pa.string()), ("row_group", pa.int32())])
_REMEDY = "restore it, or choose another --output"


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """All that must be the same for parts to lie in one folder.

    Attributes:
        input: as it was given.
        kind: "images", "tar", "bytes" (Parquet): how a block is read.
        column: of the Parquet files, if any.
        plan: name of its folder.
        images: their number; None where only reading tells (tars).
        model: name and digest.
        words: digest of the vocabulary.
        vocabulary: its classes, for people and for COCO's files.
        settings: what else changes results.
    """

    format_version: int = FORMAT
    input: str
    kind: str
    column: str
    plan: str
    blocks: int
    images: int | None
    model: dict[str, str]
    words: str
    vocabulary: list[dict[str, Any]]
    task: str
    settings: dict[str, Any]


def read_manifest(output: Path) -> Manifest | None:
    """The manifest of a job; None in a folder that has none."""
    path = output / MANIFEST
    if not path.is_file():
        return None
    manifest: Manifest = read_typed(path, Manifest, _REMEDY)
    if manifest.format_version != FORMAT:
        raise ValueError(
            f"{path}: $.format_version is {manifest.format_version}, this frozenseg writes "
            f"{FORMAT}: choose another --output"
        )
    return manifest


def required_manifest(output: Path) -> Manifest:
    """The manifest of a job. Raises: ValueError for a folder that has none."""
    found = read_manifest(output)
    if found is None:
        raise ValueError(f"{output}: has no {MANIFEST}: give the --output of `frozenseg label`")
    return found


def claim(output: Path, manifest: Manifest) -> Manifest:
    """Writes the manifest; of several processes that start at once the first one's counts.

    Returns: the one that is there. The plan of a loser is removed.
    """
    path = output / MANIFEST
    mine = part_path(path)
    write_json(mine, msgspec.to_builtins(manifest), durable=True, ensure_ascii=False)
    try:
        os.link(mine, path)
    except FileExistsError:
        shutil.rmtree(output / manifest.plan, ignore_errors=True)
    finally:
        mine.unlink(missing_ok=True)
    found = read_manifest(output)
    assert found is not None
    return found


def check_same(found: Manifest, wanted: Mapping[str, Any], output: Path) -> None:
    """Raises: ValueError for the first field in which a job differs from the folder's."""
    for name, value in wanted.items():
        there = getattr(found, name)
        if there != value:
            shown = "other words" if name in ("words", "vocabulary") else f"{name} {there!r}"
            now = "" if shown == "other words" else f", this is {value!r}"
            raise ValueError(
                f"{output / MANIFEST}: these parts were made with {shown}{now}: results of "
                "several kinds do not mix; choose another --output"
            )


def write_plan(output: Path, blocks: Iterable[list[tuple[str, int | None]]]) -> tuple[str, int]:
    """Writes the plan, block by block. Returns: the name of its folder, the number of blocks."""
    name = f"plan-{secrets.token_hex(4)}"
    stream, number, count = iter(blocks), 0, 0
    more = True
    while more:

        def write(part: Path) -> int:
            written = 0
            with pq.ParquetWriter(part, _PLAN) as writer:
                for block in stream:
                    paths, groups = zip(*block, strict=True)
                    arrays = [pa.array(paths, pa.string()), pa.array(groups, pa.int32())]
                    writer.write_table(pa.Table.from_arrays(arrays, schema=_PLAN))
                    written += 1
                    if written == TOGETHER:
                        break
            nonlocal count
            count += written
            return written

        write_atomically(output / name / f"{number:06d}.parquet", write, durable=True)
        number += 1
        more = count == number * TOGETHER
    return name, count


@lru_cache(maxsize=8)
def _plan_file(path: Path) -> pq.ParquetFile:
    return pq.ParquetFile(path)


def read_block(output: Path, plan: str, block: int) -> list[tuple[str, int | None]]:
    """The images, or the file and row group, of a block."""
    file = _plan_file(output / plan / f"{block // TOGETHER:06d}.parquet")
    rows = file.read_row_group(block % TOGETHER).to_pydict()
    return list(zip(rows["path"], rows["row_group"], strict=True))


def member_of(output: Path, manifest: Manifest, image_id: int) -> Member:
    """An image of the job, as its input has it now. Raises: ValueError if it is not there."""
    block, place = divmod(image_id, IMAGES_OF_BLOCK)
    items = read_block(output, manifest.plan, block)
    stream = members(manifest.kind, manifest.column, items, Store(manifest.input))
    found = next(islice(stream, place, None), None)
    if found is None:
        raise ValueError(f"{manifest.input}: image {image_id} is gone")
    return found


def part_of(output: Path, block: int) -> Path:
    """The file of a block."""
    return output / PARTS / f"{block // TOGETHER:06d}" / f"{block:09d}.parquet"


class PartWriter:
    """Collects the rows of a block; `close` makes them a part, whole or not at all."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.counts = Counts()
        self._tables: list[pa.Table] = []

    def add(self, columns: Mapping[str, Any]) -> None:
        """Rows as `SegmentBatch` gives them: all of an image together."""
        table = table_of(columns)
        self.counts += Counts(
            images=len(set(table["image_id"].to_pylist())),
            segments=table.num_rows - table["segment_id"].null_count,
            errors=table.num_rows - table["error"].null_count,
        )
        self._tables.append(table)

    def close(self) -> Counts:
        """Writes the part. Raises: NotWrittenError."""
        note = {_NOTE: json.dumps(msgspec.to_builtins(self.counts))}
        table = pa.concat_tables(self._tables) if self._tables else SCHEMA.empty_table()
        table = table.replace_schema_metadata(note)
        write_atomically(
            self.path, lambda part: pq.write_table(table, part, compression="zstd"), durable=True
        )
        return self.counts


def existing_parts(output: Path) -> dict[int, Path]:
    """The parts that are there by the number of their block, in its order."""
    found = {}
    with contextlib.suppress(FileNotFoundError):
        for folder in sorted((output / PARTS).iterdir()):
            names = (each.name for each in os.scandir(folder))
            found.update({int(n[:9]): folder / n for n in sorted(names) if n[:9].isdigit()})
    return found


def rows_of(output: Path, places: Sequence[tuple[int, int]]) -> list[dict[str, Any]]:
    """Rows by block and place in its part; every part is read once."""
    found: dict[tuple[int, int], dict[str, Any]] = {}
    for block in {block for block, _ in places}:
        wanted = sorted(row for of, row in places if of == block)
        rows = pq.ParquetFile(part_of(output, block)).read().take(wanted).to_pylist()
        found.update(((block, row), each) for row, each in zip(wanted, rows, strict=True))
    return [found[place] for place in places]


def counts_of(path: Path) -> Counts:
    """What a part notes about itself. Raises: ValueError for a file that is none."""
    try:
        note = pq.read_schema(path).metadata[_NOTE]
    except (OSError, KeyError, TypeError, pa.ArrowInvalid) as error:
        raise ValueError(
            f"{path}: is not a part of a job, or is damaged; delete it ({error})"
        ) from error
    return msgspec.json.decode(note, type=Counts)


def counts_of_all(paths: Iterable[Path]) -> Iterator[Counts]:
    """`counts_of` many parts, in their order."""
    with ThreadPoolExecutor(8) as threads:
        yield from threads.map(counts_of, paths)
