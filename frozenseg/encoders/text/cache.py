"""Unit vectors of words, kept in memory and on disk.

Legend: S words, K channels.

On disk a cache is a folder of shards, one for every group of words that was computed together. A
shard is written once, under a temporary name, then renamed, and never changed: any number of
processes may read and write at the same time, and none can lose what another one wrote.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import uuid
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

logger = logging.getLogger(__name__)

_SUFFIX = ".safetensors"
_TENSOR = "embeddings"


class EmbeddingCache:
    """Embeddings by word, for one key (a digest of all else that they depend on)."""

    def __init__(self, folder: Path | None, key: str):
        """`folder`: where the caches of all keys live; None keeps this one in memory only."""
        self._folder = folder / key[:32] if folder else None
        self._key = key
        self._rows: dict[str, Tensor] = {}
        self._seen_shards: set[str] = set()

    def missing(self, words: Iterable[str]) -> list[str]:
        """The words without an embedding, each once, after a look at new shards on disk."""
        absent = [word for word in dict.fromkeys(words) if word not in self._rows]
        if absent and self._folder:
            self._read_new_shards()
            absent = [word for word in absent if word not in self._rows]
        return absent

    def rows(self, words: Sequence[str]) -> Tensor:
        """Embeddings (S, K) float32 on the CPU, in the order of `words`, all of them present."""
        return torch.stack([self._rows[word] for word in words])

    def add(self, words: Sequence[str], embeddings_SK: Tensor) -> None:
        """Keeps the embeddings; a folder that cannot be written costs a warning, nothing else."""
        embeddings_SK = embeddings_SK.detach().to("cpu", torch.float32).contiguous()
        self._rows.update(zip(words, embeddings_SK, strict=True))
        if self._folder is None:
            return
        try:
            self._write_shard(self._folder, list(words), embeddings_SK)
        except OSError as error:
            logger.warning("text embeddings are not kept on disk: %s", error)

    def _write_shard(self, folder: Path, words: list[str], embeddings_SK: Tensor) -> None:
        content = {"key": self._key, "words": json.dumps(words)}
        content["sha256"] = _checksum(content["words"], embeddings_SK)
        name = hashlib.sha256(content["words"].encode()).hexdigest()[:32] + _SUFFIX
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / f".{name}.{uuid.uuid4().hex}.tmp"
        try:
            temporary.write_bytes(save({_TENSOR: embeddings_SK}, metadata=content))
            os.replace(temporary, folder / name)
        finally:
            temporary.unlink(missing_ok=True)
        self._seen_shards.add(name)

    def _read_new_shards(self) -> None:
        assert self._folder is not None
        if not self._folder.is_dir():
            return
        for path in sorted(self._folder.glob(f"*{_SUFFIX}")):
            if path.name in self._seen_shards:
                continue
            self._seen_shards.add(path.name)
            try:
                words, embeddings_SK = self._read_shard(path)
            except OSError as error:
                logger.warning("text cache %s cannot be opened (%s): built again", path, error)
                continue
            except (SafetensorError, ValueError, KeyError) as error:
                reason = str(error).split("\n")[0]
                logger.warning("text cache %s is damaged (%s): built again", path, reason)
                with contextlib.suppress(OSError):
                    path.unlink()
                continue
            self._rows.update(zip(words, embeddings_SK, strict=True))

    def _read_shard(self, path: Path) -> tuple[list[str], Tensor]:
        """Raises: SafetensorError, OSError, KeyError or ValueError where the file is not whole."""
        with safe_open(str(path), framework="pt") as shard:
            content = shard.metadata() or {}
            # A copy: the file is mapped, and another process may damage it later.
            embeddings_SK = shard.get_tensor(_TENSOR).clone()
        if content["key"] != self._key:
            raise ValueError("written for another model or other templates")
        if content["sha256"] != _checksum(content["words"], embeddings_SK):
            raise ValueError("wrong checksum")
        return json.loads(content["words"]), embeddings_SK


def _checksum(words: str, embeddings_SK: Tensor) -> str:
    content = f"{words} {tuple(embeddings_SK.shape)} {embeddings_SK.dtype}".encode()
    return hashlib.sha256(content + embeddings_SK.numpy().tobytes()).hexdigest()
