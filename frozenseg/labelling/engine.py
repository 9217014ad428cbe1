"""Engines: they run workers, here or on a cluster, and give every block to one of them.

Labelling's workers are `job.BlockWorker`, those of SAM's masks `sam_masks.SamWorker`. This file and
`ray_engine` need no pyarrow.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple, Protocol

import msgspec


class Counts(msgspec.Struct, frozen=True):
    """What a block holds, also noted in its part."""

    images: int = 0
    segments: int = 0
    errors: int = 0

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            self.images + other.images, self.segments + other.segments, self.errors + other.errors
        )


class Outcome(NamedTuple):
    """What became of a block: its counts, or why it has no result."""

    block: int
    counts: Counts
    error: str = ""
    stop: bool = False  # the next block will fail as this one did


class Worker(Protocol):
    """Computes blocks, in whatever process."""

    def identity(self) -> dict[str, Any]:
        """What tells its results from others'; once there is an answer, the worker is ready."""

    def run(self, block: int) -> Outcome:
        """Computes a block and writes it. Raises: nothing but what ends the process."""


class Engine(Protocol):
    """Runs workers. A context manager by `contextlib.closing` where it has `close`."""

    def identity(self) -> dict[str, Any]:
        """Of the first worker."""

    def run(self, blocks: Iterable[int]) -> Iterator[Outcome]:
        """Every block once, in any order; back-pressure: `blocks` is asked as workers are free."""


class LocalEngine:
    """One worker in this process."""

    def __init__(self, make: Callable[[], Worker]) -> None:
        self._worker = make()

    def identity(self) -> dict[str, Any]:
        """See `Engine`."""
        return self._worker.identity()

    def run(self, blocks: Iterable[int]) -> Iterator[Outcome]:
        """See `Engine`."""
        return map(self._worker.run, blocks)
