"""Batches for training.

The training stream is a fixed function of the seed: sample number p of the stream is drawn with
the random state (seed, p), whatever the number of workers, so that a run can stop at any batch and
continue exactly. detectron2's own loader depends on the number of workers and on aspect-ratio
buffers, which is why ours is used for training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import count, islice
from typing import Any

import numpy as np
import torch
from detectron2.data import DatasetFromList
from detectron2.data.build import trivial_batch_collator
from numpy.typing import NDArray
from torch.utils.data import BatchSampler, DataLoader, Dataset, Sampler

Record = dict[str, Any]


class StreamSampler(Sampler[tuple[int, int]]):
    """Endless (position in the stream, index of the record) pairs, reshuffled every epoch."""

    def __init__(
        self,
        size: int,
        *,
        seed: int,
        start: int = 0,
        rank: int = 0,
        world_size: int = 1,
        factors: Sequence[float] | None = None,
    ) -> None:
        """
        Args:
            start: so many samples of the whole stream (all ranks together) have been used already.
            factors: how often a record comes in an epoch on average; None: each once.
        """
        if size <= 0:
            raise ValueError("the training dataset is empty: check DATASETS.TRAIN")
        self.size, self.seed, self.start = size, seed, start
        self.rank, self.world_size = rank, world_size
        self.factors = None if factors is None else np.asarray(factors)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return islice(self._stream(), self.rank, None, self.world_size)

    def _stream(self) -> Iterator[tuple[int, int]]:
        # The epoch that `start` lies in; epochs with repeats differ in length, and are counted.
        first = self.start // self.size if self.factors is None else 0
        begin = first * self.size  # of the epoch, in the stream
        for epoch in count(first):
            order = self._epoch(epoch)
            used = max(0, self.start - begin)
            yield from enumerate(order[used:].tolist(), begin + used)
            begin += len(order)

    def _epoch(self, epoch: int) -> NDArray[np.int64]:
        """The indices of an epoch; a fractional repeat factor is rounded up or down by chance."""
        generator = np.random.default_rng((self.seed, epoch))
        if self.factors is None:
            return generator.permutation(self.size)
        times = np.floor(self.factors + generator.random(self.size)).astype(np.int64)
        return generator.permutation(np.repeat(np.arange(self.size), times))


class SeededDataset(Dataset[Record]):
    """Maps (position, index) pairs of a `StreamSampler` to samples with their own random state."""

    def __init__(
        self,
        records: Sequence[Record],
        mapper: Callable[[Record, np.random.Generator], Record],
        seed: int,
    ) -> None:
        self.records, self.mapper, self.seed = records, mapper, seed

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, key: tuple[int, int]) -> Record:
        position, index = key
        # The leading 1 separates these draws from those of the order of the stream.
        return self.mapper(self.records[index], np.random.default_rng((1, self.seed, position)))


class TrainLoader:
    """Iterates batches of the training stream from sample `start` on; workers start when used.

    `start` may be changed until the first batch is taken.
    """

    def __init__(
        self,
        records: Sequence[Record],
        mapper: Callable[[Record, np.random.Generator], Record],
        *,
        batch_size: int,
        seed: int,
        num_workers: int = 0,
        rank: int = 0,
        world_size: int = 1,
        factors: Sequence[float] | None = None,
        pin_memory: bool = False,
    ) -> None:
        """
        Args:
            batch_size: counts all ranks.
            factors: of a `StreamSampler`.
            pin_memory: images lie in memory from which a GPU fetches them while it computes.
        Raises: ValueError if the ranks cannot share a batch evenly.
        """
        if batch_size <= 0 or batch_size % world_size:
            raise ValueError(
                f"SOLVER.IMS_PER_BATCH is {batch_size}: it must be a positive multiple of the "
                f"number of processes, {world_size}"
            )
        self.dataset = SeededDataset(DatasetFromList(list(records), copy=False), mapper, seed)
        self.per_rank = batch_size // world_size
        self.num_workers = num_workers
        self.rank, self.world_size, self.factors = rank, world_size, factors
        self.pin_memory = pin_memory
        self.start = 0

    def __iter__(self) -> Iterator[list[Record]]:
        # A generator: nothing below runs before the first batch is asked for.
        dataset = self.dataset
        sampler = StreamSampler(
            len(dataset),
            seed=dataset.seed,
            start=self.start,
            rank=self.rank,
            world_size=self.world_size,
            factors=self.factors,
        )
        yield from DataLoader(
            dataset,
            batch_sampler=BatchSampler(sampler, self.per_rank, drop_last=True),  # type: ignore[arg-type]
            num_workers=self.num_workers,
            collate_fn=trivial_batch_collator,
            worker_init_fn=_one_thread,
            pin_memory=self.pin_memory,
        )


def _one_thread(_worker: int) -> None:
    torch.set_num_threads(1)
