"""Digests that tell frozen models apart: what is cached on disk is filed under them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import Tensor, nn

from frozenseg.checkpoints.reading import BATCH_COUNTER


class WeightsDigest:
    """A digest of an architecture and its weights, kept until the weights change."""

    def __init__(self) -> None:
        self._kept: tuple[Any, str] | None = None

    def of(self, state: Mapping[str, Tensor], describe: Callable[[], dict[str, Any]]) -> str:
        """The digest (64 hexadecimal digits).

        It is computed on first use (about a second for the largest models), and again only after
        the weights were written to or moved.

        Args:
            state: the weights by name.
            describe: everything else that the model's output depends on, fit for JSON.
        Raises: ValueError for weights on the meta device.
        """
        if any(tensor.is_meta for tensor in state.values()):
            raise ValueError("a model on the meta device has no weights to identify")
        signature = tuple((tensor.data_ptr(), _version(tensor)) for tensor in state.values())
        if self._kept is None or self._kept[0] != signature:
            self._kept = (signature, _digest(state, describe()))
        return self._kept[1]


def attention_heads(module: nn.Module) -> list[int]:
    """Numbers of attention heads, which neither weights nor `repr` show."""
    parts: Iterable[Any] = module.modules()
    return [part.num_heads for part in parts if hasattr(part, "num_heads")]


def _digest(state: Mapping[str, Tensor], description: dict[str, Any]) -> str:
    with ThreadPoolExecutor(max_workers=4) as workers:  # hashing releases the interpreter lock
        digests = list(workers.map(_hash_tensor, state.values()))
    content = description | {"weights": list(zip(state, digests, strict=True))}
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def _version(tensor: Tensor) -> int:
    """How often the tensor was written to (inference tensors keep no count)."""
    return 0 if tensor.is_inference() else tensor._version


def _hash_tensor(tensor: Tensor) -> str:
    data = tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
    digest = hashlib.sha256(f"{tuple(tensor.shape)} {tensor.dtype}".encode())
    digest.update(data.data)
    return digest.hexdigest()


def weights_hash(module: nn.Module) -> str:
    """First 16 hex digits of a SHA-256 of names, shapes and values, wherever the weights lie.

    Of parameters and of buffers that are saved, but not of batch norm's counters.
    """
    digest = hashlib.sha256()
    for name, value in sorted(module.state_dict().items()):
        if not name.endswith(BATCH_COUNTER):
            digest.update(f"{name} {tuple(value.shape)} {value.dtype} ".encode())
            flat = value.detach().cpu().contiguous().reshape(-1)
            digest.update(flat.view(torch.uint8).numpy().data)
    return digest.hexdigest()[:16]
