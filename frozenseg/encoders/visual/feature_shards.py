"""Feature maps on disk, found by a digest of their image.

Legend: N images, C channels, h and w cells of a map.

A folder of shards (.safetensors), one for every group of images that was computed together: maps
"features" (N, C, h, w), image digests "keys" (N * 32,) and checksums "checks" (N,). A shard is
written once, under a temporary name, then renamed, and never changed: any number of processes may
read and write at the same time. Maps are read one by one, and each against its checksum, so that
opening the folder costs its index only.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import uuid
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

logger = logging.getLogger(__name__)

_SUFFIX = ".safetensors"
_DIGEST_BYTES = 32


@dataclass(frozen=True)
class _Place:
    """Where one map lies: bytes from `start` of a file, with their checksum."""

    path: Path
    start: int
    shape: tuple[int, ...]
    check: int


class FeatureShards:
    """Maps of one encoder at one precision, by image digest (32 bytes)."""

    def __init__(self, folder: Path, dtype: torch.dtype):
        """`folder`: made when the first map is added."""
        self._folder = folder
        self._dtype = dtype
        self._places: dict[bytes, _Place] = {}
        self._seen_shards: set[str] = set()

    def missing(self, keys: Iterable[bytes]) -> list[bytes]:
        """The digests without a map, each once, after a look at new shards on disk."""
        absent = [key for key in dict.fromkeys(keys) if key not in self._places]
        if absent:
            self._read_new_shards()
            absent = [key for key in absent if key not in self._places]
        return absent

    def read(self, key: bytes) -> Tensor | None:
        """The map (C, h, w) of a digest; None if there is none, or a damaged one (warned of)."""
        place = self._places.get(key)
        if place is None:
            return None
        row_Chw = torch.empty(place.shape, dtype=self._dtype)
        data = _bytes(row_Chw)
        try:
            with place.path.open("rb", buffering=0) as file:
                file.seek(place.start)
                complete = file.readinto(data) == len(data)
        except OSError as error:
            self._forget(place.path, f"cannot be read: {error}")
            return None
        if not complete or _checksum(key, row_Chw) != place.check:
            self._forget(place.path, "is damaged", delete=True)
            return None
        return row_Chw

    def add(self, keys: Sequence[bytes], features_NChw: Tensor) -> None:
        """Keeps maps; a folder that cannot be written costs a warning, nothing else."""
        features_NChw = features_NChw.detach().to("cpu", self._dtype).contiguous()
        checks = [_checksum(key, row) for key, row in zip(keys, features_NChw, strict=True)]
        content = {
            "features": features_NChw,
            "keys": torch.frombuffer(bytearray(b"".join(keys)), dtype=torch.uint8),
            "checks": torch.tensor(checks),
        }
        name = hashlib.sha256(b"".join(keys)).hexdigest()[:32] + _SUFFIX
        temporary = self._folder / f".{name}.{uuid.uuid4().hex}.tmp"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            try:
                temporary.write_bytes(save(content))
                os.replace(temporary, self._folder / name)
            finally:
                temporary.unlink(missing_ok=True)
        except OSError as error:
            logger.warning("visual features are not kept on disk: %s", error)
            return
        self._open(self._folder / name)

    def _read_new_shards(self) -> None:
        if not self._folder.is_dir():
            return
        for entry in sorted(self._folder.iterdir()):
            is_shard = entry.suffix == _SUFFIX and not entry.name.startswith(".")
            if is_shard and entry.name not in self._seen_shards:
                self._open(entry)

    def _open(self, path: Path) -> None:
        self._seen_shards.add(path.name)
        try:
            self._places.update(self._read_index(path))
        except OSError as error:
            self._forget(path, f"cannot be read: {error}")
        except (SafetensorError, ValueError, KeyError) as error:
            self._forget(path, f"is damaged: {str(error).splitlines()[0]}", delete=True)

    def _read_index(self, path: Path) -> dict[bytes, _Place]:
        """Raises: SafetensorError, OSError, KeyError or ValueError where the file is not whole."""
        with safe_open(str(path), framework="pt") as shard:
            keys, checks_N = shard.get_tensor("keys").numpy().tobytes(), shard.get_tensor("checks")
        with path.open("rb") as file:
            header_size = int.from_bytes(file.read(8), "little")
            entry = json.loads(file.read(header_size))["features"]
        (count, *shape), (first, last) = entry["shape"], entry["data_offsets"]
        if len(keys) != count * _DIGEST_BYTES or checks_N.shape != (count,):
            raise ValueError(f"{len(keys)} bytes of digests for {count} maps")
        step = (last - first) // max(count, 1)
        if step != self._dtype.itemsize * torch.Size(shape).numel():
            raise ValueError(f"maps of {step} bytes for {shape} values of {self._dtype}")
        start = 8 + header_size + first
        return {
            keys[row * _DIGEST_BYTES : (row + 1) * _DIGEST_BYTES]: _Place(
                path, start + row * step, tuple(shape), check
            )
            for row, check in enumerate(checks_N.tolist())
        }

    def _forget(self, path: Path, reason: str, *, delete: bool = False) -> None:
        logger.warning("feature cache %s %s; its features are computed again", path, reason)
        self._places = {key: place for key, place in self._places.items() if place.path != path}
        if delete:
            with contextlib.suppress(OSError):
                path.unlink()


def _checksum(key: bytes, row_Chw: Tensor) -> int:
    """CRC-32 of a map, its shape and whose it is."""
    header = key + f"{tuple(row_Chw.shape)} {row_Chw.dtype}".encode()
    return zlib.crc32(_bytes(row_Chw), zlib.crc32(header))


def _bytes(contiguous: Tensor) -> memoryview:
    return contiguous.view(-1).view(torch.uint8).numpy().data
