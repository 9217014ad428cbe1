"""Ray: actors that write results; the driver hands out numbers of blocks.

Not Ray Data: its retries may run a task twice and its output blocks have no names that last, while
a part belongs to one block. Of Ray Data's own pipelines `SegmentBatch` is a part (docs/label.md).
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any, Protocol

from frozenseg.errors import describe
from frozenseg.files import environment_of_children
from frozenseg.labelling.engine import Counts, Outcome, Worker

logger = logging.getLogger(__name__)

MOST_ATTEMPTS = 3  # of a block whose worker dies, and of a worker that does not start


class _Actor:
    """A worker in a process of Ray."""

    def __init__(self, make: Callable[[], Worker]) -> None:
        self._worker = make()

    def identity(self) -> dict[str, Any]:
        return self._worker.identity()

    def run(self, block: int) -> Outcome:
        return self._worker.run(block)


class LostError(Exception):
    """A worker died, with what is known of it."""


class Cluster(Protocol):
    """What a schedule asks for; tasks are whatever can be told apart."""

    def start(self, worker: int) -> Any:
        """A task that ends when a new process stands for the worker."""

    def submit(self, worker: int, block: int) -> Any:
        """A task that computes a block."""

    def wait(self, tasks: list[Any]) -> list[Any]:
        """Those that ended, at least one."""

    def result(self, task: Any) -> Any:
        """Of a block's task that ended its outcome. Raises: LostError."""


class Schedule:
    """Hands blocks to workers that are ready, one each; those of a worker that died once more."""

    def __init__(self, cluster: Cluster, blocks: Iterable[int], workers: int) -> None:
        self._cluster, self._workers = cluster, workers
        self._stream, self._again = iter(blocks), list[int]()
        self._tasks: dict[Any, tuple[int, int | None]] = {}  # worker, and block unless it starts
        self._idle: list[int] = []
        self._deaths, self._failed_starts = Counter[int](), Counter[int]()
        self._said = ""

    def outcomes(self) -> Iterator[Outcome]:
        """Of every block once; ends with the last one, whether or not all workers came up."""
        for worker in range(self._workers):
            self._start(worker)
        while self._tasks:
            for task in self._cluster.wait(list(self._tasks)):
                yield from self._ended(task)
            self._hand_out()
            if self._idle and all(block is None for _, block in self._tasks.values()):
                return
        left = next(chain(self._again, self._stream), None)
        if left is not None:
            yield Outcome(left, Counts(), f"no worker starts: {self._said}", stop=True)

    def _start(self, worker: int) -> None:
        self._tasks[self._cluster.start(worker)] = worker, None

    def _hand_out(self) -> None:
        while self._idle:
            block = self._again.pop() if self._again else next(self._stream, None)
            if block is None:
                return
            worker = self._idle.pop()
            self._tasks[self._cluster.submit(worker, block)] = worker, block

    def _ended(self, task: Any) -> Iterator[Outcome]:
        worker, block = self._tasks.pop(task)
        try:
            found = self._cluster.result(task)
        except LostError as error:
            yield from self._lost(worker, block, str(error))
            return
        self._idle.append(worker)
        if block is None:
            del self._failed_starts[worker]
        else:
            yield found

    def _lost(self, worker: int, block: int | None, said: str) -> Iterator[Outcome]:
        if block is None:
            self._said = said
            logger.warning("a worker does not start (%s)", said)
            self._failed_starts[worker] += 1
        else:
            logger.warning("block %d: its worker was lost (%s)", block, said)
            self._deaths[block] += 1
            if self._deaths[block] < MOST_ATTEMPTS:
                self._again.append(block)
            else:
                yield Outcome(block, Counts(), f"its worker died each time: {said}")
        if self._failed_starts[worker] < MOST_ATTEMPTS:
            self._start(worker)


class RayEngine:
    """Workers as actors, an `Engine`; in the place of one that dies another is started."""

    def __init__(
        self,
        make: Callable[[], Worker],
        *,
        workers: int,
        address: str = "local",
        cpus: float = 1,
        gpus: float = 0,
    ) -> None:
        """
        Args:
            make: called in each worker's process; can be pickled.
            address: of a running cluster, "auto" for this machine's; "local" starts one here.
            cpus, gpus: of each worker.
        Raises: ConnectionError where there is no cluster; what `make` raises.
        """
        import ray

        self._ray = ray
        os.environ["PYTHONPATH"] = environment_of_children()["PYTHONPATH"]  # of a cluster made here
        try:
            ray.init(
                address=address,
                log_to_driver=False,
                logging_level=logging.ERROR,
                include_dashboard=False if address == "local" else None,
            )
        except Exception as error:  # of any kind: of the network, of a machine that is too busy
            token = "of one that asks for a token, set RAY_AUTH_MODE=token"
            there = f"no Ray cluster answers at {address} ({token})"
            what = "Ray does not start here" if address == "local" else there
            raise ConnectionError(f"{what}: {describe(error)}") from error
        # What dies is started and computed again by `Schedule` alone, which counts the attempts.
        kind: Any = ray.remote(_Actor).options(
            num_cpus=cpus, num_gpus=gpus, max_restarts=0, max_task_retries=0
        )
        self._new: Callable[[], Any] = lambda: kind.remote(make)
        self._actors = [self._new() for _ in range(workers)]
        self._unused = list(self._actors)
        try:
            self._identity = ray.get(self._actors[0].identity.remote())
        except ray.exceptions.RayTaskError as error:
            raise error.cause from error
        except ray.exceptions.ActorDiedError as error:  # loading the model raised
            cause = getattr(error, "cause", None)
            raise (cause or ValueError(str(error).splitlines()[-1])) from error

    def identity(self) -> dict[str, Any]:
        """See `Engine`."""
        return self._identity

    def run(self, blocks: Iterable[int]) -> Iterator[Outcome]:
        """See `Engine`."""
        return Schedule(self, blocks, len(self._actors)).outcomes()

    def start(self, worker: int) -> Any:
        """See `Cluster`."""
        self._actors[worker] = self._unused.pop(0) if self._unused else self._new()
        return self._actors[worker].identity.remote()

    def submit(self, worker: int, block: int) -> Any:
        """See `Cluster`."""
        return self._actors[worker].run.remote(block)

    def wait(self, tasks: list[Any]) -> list[Any]:
        """See `Cluster`."""
        self._ray.wait(tasks, num_returns=1)
        ready, _ = self._ray.wait(tasks, num_returns=len(tasks), timeout=0)
        return list(ready)

    def result(self, task: Any) -> Any:
        """See `Cluster`."""
        try:
            return self._ray.get(task)
        except self._ray.exceptions.RayError as error:
            raise LostError(str(error).splitlines()[0]) from error

    def close(self) -> None:
        """Ends the workers, and a cluster that was started here."""
        self._ray.shutdown()
