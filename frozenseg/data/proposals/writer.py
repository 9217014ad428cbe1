"""Writes proposals (format: proposals.py) so that an export can be stopped and continued.

While a shard is under way, every run of every process appends the records it makes to a file of
its own below `partial/`; what was cut off in the middle of a line does not count. When the last
image of a shard is there, whoever sees it writes the shard and deletes these files. A shard's bytes
depend on its records only, so it does not matter who wrote them, in what order, and how often the
work was interrupted.
"""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from frozenseg.data.proposals.reader import (
    INDEX_NAME,
    Index,
    parse_record,
    read_index,
    read_members,
    shard_path,
)
from frozenseg.data.schemas import Place
from frozenseg.files import flatten, write_atomically, write_text

logger = logging.getLogger(__name__)

PARTIAL_FOLDER = "partial"


def append_record(folder: Path, shard: int, run: str, record: Mapping[str, Any]) -> None:
    """Keeps the record of one image, safe from a kill of this process once it returns.

    Args:
        run: a name that no other process and no earlier run has: it may end in half a line.
    """
    path = folder / PARTIAL_FOLDER / f"shard_{shard:05d}.{run}.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:  # opened again each time: another run may have used it up
        file.write(json.dumps(record, sort_keys=True, separators=(",", ":")).encode() + b"\n")


class ProposalWriter:
    """The state of an export in its folder; any number of runs may share it.

    Attributes:
        keys: of all images, sorted.
        shards: number of shards.
    """

    def __init__(
        self, folder: Path, keys: Sequence[str], source: Mapping[str, Any], shard_size: int = 500
    ) -> None:
        """Opens the folder of an interrupted or finished export, or begins one.

        Args:
            source: what makes the masks (JSON values); records of another source do not mix.
        Raises: ValueError if the folder holds an export of other images or another source.
        """
        if not keys or shard_size < 1:
            raise ValueError(f"{len(keys)} images in shards of {shard_size}: both must be above 0")
        self.folder, self.source, self.shard_size = folder, dict(source), shard_size
        self.keys = tuple(sorted(set(keys)))
        self.shards = -(-len(self.keys) // shard_size)
        self._number = {key: i for i, key in enumerate(self.keys)}
        if (folder / INDEX_NAME).exists():
            self._require_same(read_index(folder))
        else:
            empty = Index(self.source, shard_size, dict.fromkeys(self.keys))
            write_text(folder / INDEX_NAME, empty.to_json())

    def shard_of(self, key: str) -> int:
        """The number of an image's shard."""
        return self._number[key] // self.shard_size

    def missing(self) -> list[str]:
        """The images without masks, sorted: not made yet, or failed before."""
        done: set[str] = set()
        for shard in range(self.shards):
            done.update(self._collect(shard)[0])
        return [key for key in self.keys if key not in done]

    def seal(self, shard: int) -> bool:
        """Writes a shard if the records of all its images are there; True if it is written."""
        path, partials = shard_path(self.folder, shard), self._partials(shard)
        if path.exists() and not partials:
            return True
        made, failed = self._collect(shard)
        lines = {**failed, **made}  # masks count before failures, whichever came first
        keys = self.keys[shard * self.shard_size : (shard + 1) * self.shard_size]
        if any(key not in lines for key in keys):
            return False
        content = b"".join(_compress(lines[key]) for key in keys)
        write_atomically(path, lambda part: part.write_bytes(content))
        for partial in partials:
            partial.unlink(missing_ok=True)
        return True

    def finish(self) -> Index | None:
        """Writes the index once all shards are there; None while some are not."""
        sealed = [self.seal(shard) for shard in range(self.shards)]
        if not all(sealed):
            return None
        images: dict[str, Place | None] = {}
        failures: dict[str, str] = {}
        for shard in range(self.shards):
            offset = 0
            for length, line in read_members(shard_path(self.folder, shard)):
                record = parse_record(line, shard_path(self.folder, shard))
                key = record["image"]
                images[key] = None
                if "error" in record:
                    failures[key] = record["error"]
                else:
                    size = record["height"], record["width"]
                    images[key] = Place(shard, offset, length, *size, len(record["masks"]))
                offset += length
        index = Index(self.source, self.shard_size, images, failures, complete=True)
        write_text(self.folder / INDEX_NAME, index.to_json())
        with contextlib.suppress(OSError):  # not there, or used by another run
            (self.folder / PARTIAL_FOLDER).rmdir()
        return index

    def _partials(self, shard: int) -> list[Path]:
        return sorted((self.folder / PARTIAL_FOLDER).glob(f"shard_{shard:05d}.*.jsonl"))

    def _collect(self, shard: int) -> tuple[dict[str, bytes], dict[str, bytes]]:
        """Image -> its line, in the shard or in a file under way: with masks, and with an error."""
        made: dict[str, bytes] = {}
        failed: dict[str, bytes] = {}
        path = shard_path(self.folder, shard)
        lines = [line for _, line in read_members(path)] if path.exists() else []
        for partial in self._partials(shard):
            lines += _read_lines(partial)
        for line in lines:
            record = parse_record(line, path)
            (failed if "error" in record else made)[record["image"]] = line
        return made, failed

    def _require_same(self, index: Index) -> None:
        where = self.folder / INDEX_NAME
        remedy = "give another --output, or delete that folder to begin again"
        there = {**dict(flatten(index.source)), "shard_size": index.shard_size}
        here = {**dict(flatten(json.loads(json.dumps(self.source)))), "shard_size": self.shard_size}
        for name in sorted({*there, *here}):
            if there.get(name) != here.get(name):
                raise ValueError(
                    f"{where} is of an export with {name} {there.get(name)!r}, this one has "
                    f"{here.get(name)!r}: {remedy}"
                )
        changed = sorted(set(index.images) ^ set(self.keys))
        if changed:
            what = "gone" if changed[0] in index.images else "new"
            raise ValueError(
                f"{where} is of {len(index.images)} images, now there are {len(self.keys)}; for "
                f"instance {changed[0]} is {what}: {remedy}"
            )


def _read_lines(path: Path) -> list[bytes]:
    """The whole lines of a file under way; none if another run has just used it up."""
    try:
        lines = path.read_bytes().splitlines(keepends=True)
    except FileNotFoundError:
        return []
    whole = [line for line in lines if _is_whole(line)]
    if len(whole) < len(lines):
        logger.warning("%s was cut off in the middle of an image, which is made again", path.name)
    return whole


def _is_whole(line: bytes) -> bool:
    try:
        parse_record(line, Path())
        return line.endswith(b"\n")
    except ValueError:
        return False


def _compress(line: bytes) -> bytes:
    """A gzip member without name and time: equal lines give equal bytes."""
    buffer = io.BytesIO()
    with gzip.GzipFile(filename="", fileobj=buffer, mode="wb", mtime=0) as file:
        file.write(line)
    return buffer.getvalue()
