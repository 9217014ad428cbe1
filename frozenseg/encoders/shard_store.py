"""Arrays on disk, found by a text, for any number of processes that read and write at once.

Legend: N arrays of one shape. Without torch: an exported model keeps its words here, too.

A store is a folder of shards (.safetensors), one for every group of arrays that was computed
together: "rows" (N, ...), and as metadata their keys and checksums. A shard is written once, under
a temporary name, then renamed, and never changed, so that no process loses what another one wrote.
Arrays are read row by row, each against its checksum. A store that has a largest size loses its
longest unused shards.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from frozenseg.errors import warn_once, was_interrupted
from frozenseg.files import write_atomically

logger = logging.getLogger(__name__)

_SUFFIX = ".safetensors"
_TENSOR = "rows"
MOST_SHARDS = 4096  # of a store with a largest size; each is opened at a start


class ShardStore:
    """The arrays of one folder."""

    def __init__(self, folder: Path, content: str, most_bytes: int | None = None):
        """Opens a store; the folder is made when something is added.

        Args:
            folder: its name belongs to the checksums: shards of another folder are damaged ones.
            content: what is kept, for messages.
            most_bytes: of all shards; None: no limit.
        """
        self._folder = folder
        self._content = content
        self._most_bytes = most_bytes
        self._places: dict[str, tuple[Path, int, int]] = {}  # shard, row and checksum of a key
        self._seen_shards: set[str] = set()

    def find(
        self,
        keys: Iterable[str],
        shape: Sequence[int] | None = None,
        dtype: DTypeLike = None,
    ) -> dict[str, NDArray[Any]]:
        """Those of the arrays that are in the store, after a look at new shards.

        A damaged shard costs a warning and is removed, as if nothing of it had been kept; so does
        one whose arrays are NaN, infinite, or not of the expected shape and dtype.
        """
        wanted = dict.fromkeys(keys)
        if any(key not in self._places for key in wanted):
            self._open_new_shards()
        shards = defaultdict(list)
        for key in wanted:
            if key in self._places:
                shards[self._places[key][0]].append(key)
        found: dict[str, NDArray[Any]] = {}
        for path, members in shards.items():
            with self._damage_is_forgotten(path), safe_open(str(path), framework="numpy") as shard:
                with contextlib.suppress(OSError):  # a cache that can only be read
                    os.utime(path)  # used now
                rows = shard.get_slice(_TENSOR)
                for key in members:
                    _, index, check = self._places[key]
                    row = rows[index : index + 1][0]
                    if self._checksum(key, row) != check:
                        raise ValueError("wrong checksum")
                    if (shape or row.shape, dtype or row.dtype) != (row.shape, row.dtype):
                        raise ValueError(f"{row.dtype} of shape {row.shape}")
                    if not np.isfinite(row).all():
                        raise ValueError("NaN or infinite values")
                    found[key] = row
        return found

    def add(self, keys: Sequence[str], rows: NDArray[Any]) -> None:
        """Keeps N arrays; a folder that cannot be written costs a warning, nothing else.

        Arrays with NaN or infinite values are not kept.
        """
        rows = np.ascontiguousarray(rows)
        if not np.isfinite(rows).all():
            return
        checks = [self._checksum(key, row) for key, row in zip(keys, rows, strict=True)]
        names = json.dumps(list(keys))
        metadata = {"keys": names, "checks": json.dumps(checks)}
        path = self._folder / (hashlib.sha256(names.encode()).hexdigest()[:32] + _SUFFIX)
        try:
            write_atomically(path, lambda part: save_file({_TENSOR: rows}, part, metadata))
        except (OSError, SafetensorError) as error:
            reason = f"{error} (FROZENSEG_CACHE names another folder for all caches)"
            kind = f"cannot keep in {self._folder}"
            warn_once(logger, kind, f"{self._content} are not kept on disk: {reason}")
            return
        self._open(path)
        if self._most_bytes is not None:
            self._remove_oldest(self._most_bytes)

    def _remove_oldest(self, most_bytes: int) -> None:
        shards = []
        for path in self._folder.glob(f"[!.]*{_SUFFIX}"):
            with contextlib.suppress(FileNotFoundError):  # another process removed it
                stat = path.stat()
                shards.append((stat.st_mtime_ns, stat.st_size, path))
        shards.sort(reverse=True)
        size = 0
        for number, (_, bytes_, path) in enumerate(shards):
            size += bytes_
            if number and (size > most_bytes or number >= MOST_SHARDS):
                path.unlink(missing_ok=True)
                self._forget(path)

    def _open_new_shards(self) -> None:
        try:
            paths = [path for path in self._folder.iterdir() if not path.name.startswith(".")]
        except OSError:  # not there, or not readable: `add` says so
            return
        for path in sorted(paths):
            if path.suffix == _SUFFIX and path.name not in self._seen_shards:
                self._open(path)

    def _open(self, path: Path) -> None:
        self._seen_shards.add(path.name)
        with self._damage_is_forgotten(path), safe_open(str(path), framework="numpy") as shard:
            metadata = shard.metadata() or {}
            keys, checks = json.loads(metadata["keys"]), json.loads(metadata["checks"])
            count = shard.get_slice(_TENSOR).get_shape()[0]
            if not len(keys) == len(checks) == count:
                raise ValueError(f"{len(keys)} keys, {len(checks)} checksums, {count} arrays")
            self._places |= {key: (path, row, checks[row]) for row, key in enumerate(keys)}

    @contextlib.contextmanager
    def _damage_is_forgotten(self, path: Path) -> Iterator[None]:
        """Forgets a shard that cannot be read, and removes one whose content is not whole."""
        try:
            yield
            return
        except OSError as error:
            reason = f"cannot be read: {error}"
        except (SafetensorError, ValueError, KeyError) as error:
            if was_interrupted(error):
                raise KeyboardInterrupt from error
            reason = f"is damaged: {str(error).splitlines()[0]}"
            with contextlib.suppress(OSError):
                path.unlink()
        logger.warning("%s %s; %s are computed again", path, reason, self._content)
        self._forget(path)

    def _forget(self, path: Path) -> None:
        self._places = {key: place for key, place in self._places.items() if place[0] != path}

    def _checksum(self, key: str, row: NDArray[Any]) -> int:
        """CRC-32 of an array, its shape, whose it is and where it belongs."""
        header = f"{self._folder.name} {key} {row.shape} torch.{row.dtype}".encode()
        return zlib.crc32(row.tobytes(), zlib.crc32(header))
