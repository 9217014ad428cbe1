"""Requests that wait for the model; those that want the same go through it together."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

Kind = TypeVar("Kind")
Item = TypeVar("Item")
Answer = TypeVar("Answer")


@dataclass(eq=False)
class _Waiting(Generic[Kind, Item, Answer]):
    kind: Kind
    item: Item
    answer: asyncio.Future[Answer]


class Batches(Generic[Kind, Item, Answer]):
    """One computation at a time, of the request that waits longest and others of its kind.

    Nobody waits for a batch to fill up: what has come meanwhile is computed when the model is free.

    Attributes:
        computed: requests so far.
        batches: computations so far.
    """

    def __init__(
        self,
        compute: Callable[[Kind, Sequence[Item]], Sequence[Answer | Exception]],
        most_together: int,
    ) -> None:
        """`compute` gives an answer or error for each of some items; it runs in a thread."""
        self._compute, self._most = compute, most_together
        self._waiting: list[_Waiting[Kind, Item, Answer]] = []
        self._came = asyncio.Event()
        self.computed = self.batches = 0

    @property
    def waiting(self) -> int:
        """Requests that are not computed yet."""
        return len(self._waiting)

    async def ask(self, kind: Kind, item: Item) -> Answer:
        """The answer, or its error; whoever is cancelled no longer waits."""
        one = _Waiting[Kind, Item, Answer](kind, item, asyncio.get_running_loop().create_future())
        self._waiting.append(one)
        self._came.set()
        try:
            return await one.answer
        finally:
            with contextlib.suppress(ValueError):
                self._waiting.remove(one)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Within it requests are answered; at its end the last computation has ended."""
        with ThreadPoolExecutor(1, "model") as thread:
            task = asyncio.create_task(self._run(thread))
            try:
                yield
            finally:
                task.cancel()

    async def _run(self, thread: ThreadPoolExecutor) -> None:
        while True:
            self._came.clear()
            while self._waiting:
                together = self._next()
                items = [each.item for each in together]
                answers = await asyncio.get_running_loop().run_in_executor(
                    thread, self._compute, together[0].kind, items
                )
                self.computed, self.batches = self.computed + len(items), self.batches + 1
                for each, answer in zip(together, answers, strict=True):
                    _settle(each.answer, answer)
            await self._came.wait()

    def _next(self) -> list[_Waiting[Kind, Item, Answer]]:
        """The longest waiting request and those of its kind, which no longer wait."""
        kind = self._waiting[0].kind
        together = [each for each in self._waiting if each.kind == kind][: self._most]
        self._waiting = [each for each in self._waiting if each not in together]
        return together


def _settle(future: asyncio.Future[Answer], answer: Answer | Exception) -> None:
    if future.done():  # who asked has left
        return
    if isinstance(answer, Exception):
        future.set_exception(answer)
    else:
        future.set_result(answer)
