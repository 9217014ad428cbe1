"""Ray: actors that write parts; the driver hands out numbers of blocks.

Not Ray Data: its retries may run a task twice and its output blocks have no names that last, while
a part belongs to one block. Of Ray Data's own pipelines `SegmentBatch` is a part (docs/label.md).
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from frozenseg.files import environment_of_children
from frozenseg.labelling.job import Job, Outcome, Worker
from frozenseg.labelling.parts import Counts
from frozenseg.labelling.segment_batch import SegmentBatch

logger = logging.getLogger(__name__)

MOST_ATTEMPTS = 3  # of a block that Ray gave up
RETRIES = 2  # by Ray itself, which waits until the worker has started again
IN_FLIGHT = 2  # blocks of an actor: the next one is there when one is done


class RayEngine:
    """Workers as actors; one that dies is started again, its blocks are computed again."""

    def __init__(
        self,
        job: Job,
        *,
        workers: int,
        address: str = "local",
        cpus: float = 1,
        gpus: float = 0,
        make: Callable[..., Any] = SegmentBatch,
    ) -> None:
        """
        Args:
            address: of a running cluster, "auto" for this machine's; "local" starts one here.
            cpus, gpus: of each worker.
        Raises: ConnectionError where there is no cluster; what loading the model raises.
        """
        import ray

        self._ray = ray
        os.environ["PYTHONPATH"] = environment_of_children()["PYTHONPATH"]  # of a cluster made here
        ray.init(
            address=address,
            log_to_driver=False,
            logging_level=logging.ERROR,
            include_dashboard=False if address == "local" else None,
        )
        actor = ray.remote(Worker).options(
            num_cpus=cpus, num_gpus=gpus, max_restarts=-1, max_task_retries=RETRIES
        )
        self._actors = [actor.remote(job, make) for _ in range(workers)]
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
        ray = self._ray

        def submit(actor: int, block: int) -> Any:
            return self._actors[actor].run.remote(block)

        def wait(tasks: list[Any]) -> list[Any]:
            ready, _ = ray.wait(tasks, num_returns=1)
            more, _ = ray.wait(tasks, num_returns=len(tasks), timeout=0)
            return list({*ready, *more})

        return schedule(blocks, len(self._actors), submit, wait, ray.get, ray.exceptions.RayError)

    def close(self) -> None:
        """Ends the workers, and a cluster that was started here."""
        self._ray.shutdown()


def schedule(
    blocks: Iterable[int],
    workers: int,
    submit: Callable[[int, int], Any],
    wait: Callable[[list[Any]], list[Any]],
    result: Callable[[Any], Outcome],
    lost: type[Exception],
) -> Iterator[Outcome]:
    """Hands blocks to workers, `IN_FLIGHT` each; those of a worker that died are handed out again.

    Args:
        submit: worker and block -> a task. wait: tasks -> those that ended, at least one.
        result: of a task; raises `lost` where its worker died.
    """
    stream, again = iter(blocks), list[int]()
    attempts: dict[int, int] = {}
    running: dict[Any, tuple[int, int]] = {}
    free = [worker for _ in range(IN_FLIGHT) for worker in range(workers)][::-1]
    while True:
        while free:
            block = again.pop() if again else next(stream, None)
            if block is None:
                break
            worker = free.pop()
            running[submit(worker, block)] = worker, block
        if not running:
            return
        for task in wait(list(running)):
            worker, block = running.pop(task)
            free.append(worker)
            try:
                outcome = result(task)
            except lost as error:
                attempts[block] = attempts.get(block, 0) + 1
                said = str(error).splitlines()[0]
                logger.warning("block %d: its worker was lost (%s)", block, said)
                if attempts[block] < MOST_ATTEMPTS:
                    again.append(block)
                    continue
                outcome = Outcome(block, Counts(), f"its worker died each time: {said}")
            attempts.pop(block, None)
            yield outcome
