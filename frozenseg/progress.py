"""Progress of long work: a bar on a terminal, a log line now and then elsewhere."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TypeVar

from tqdm import tqdm

logger = logging.getLogger(__name__)

T = TypeVar("T")
_SECONDS_BETWEEN_LINES = 15.0
_open: ContextVar[_OpenStage | None] = ContextVar("_open", default=None)
_SHOWN = (__name__, "frozenseg.build", "frozenseg.checkpoints")


def on_terminal() -> bool:
    """True if a bar can be drawn."""
    return sys.stderr.isatty()


@contextlib.contextmanager
def lines_on_stderr() -> Iterator[None]:
    """Within it `Progress` and what says where weights come from are printed.

    For programs that set up no logging.
    """
    handler = logging.StreamHandler()
    levels = {name: logging.getLogger(name).level for name in _SHOWN}
    for name in levels:
        logging.getLogger(name).addHandler(handler)
        logging.getLogger(name).setLevel(logging.INFO)
    try:
        yield
    finally:
        for name, level in levels.items():
            logging.getLogger(name).removeHandler(handler)
            logging.getLogger(name).setLevel(level)


def bar(items: Iterable[T], title: str, unit: str, *, shown: bool = True) -> Iterable[T]:
    """The items (with their length, if they have one), counted by a bar on a terminal alone.

    Args: shown: False draws no bar there either.
    """
    counted: Iterable[T] = tqdm(
        items, desc=title, unit=unit, dynamic_ncols=True, disable=not (shown and on_terminal())
    )
    return counted


class Progress:
    """Counts work done, with rate and, where `total` is known, time left; a context manager."""

    def __init__(self, total: int | None, title: str, unit: str, *, done: int = 0) -> None:
        """`done`: units that an earlier run did."""
        self._title, self._unit, self._total = title, unit, total
        self._earlier, self._done = done, float(done)
        self._start = self._last_line = time.monotonic()
        self._bar = None
        if on_terminal():
            self._bar = tqdm(total=total, initial=done, desc=title, unit=unit, dynamic_ncols=True)

    def advance(self, amount: float = 1, **shown: object) -> None:
        """`amount` more units are done; the bar ends with the values `shown`."""
        before, self._done = round(self._done), self._done + amount
        if self._bar is not None:
            self._bar.set_postfix(shown, refresh=False)
            self._bar.update(round(self._done) - before)
            return
        now, total = time.monotonic(), self._total
        if now - self._last_line >= _SECONDS_BETWEEN_LINES and (not total or self._done < total):
            self._last_line = now
            rate = (self._done - self._earlier) / (now - self._start)
            of = f" of {total}" if total else ""
            left = f", {(total - self._done) / rate:.0f} s left" if total else ""
            counted = f"{round(self._done)}{of} {self._unit}s"
            logger.info("%s: %s, %.3g per second%s", self._title, counted, rate, left)

    def close(self) -> None:
        """Ends the bar; it stays on the screen."""
        if self._bar is not None:
            self._bar.close()

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class StageSeconds:
    """Wall seconds of named stages of a run, those within one another counted once.

    Stages of several threads at once may add up to more than passed. What a GPU still computes
    counts where its result is waited for.
    """

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._start = time.perf_counter()

    @contextlib.contextmanager
    def running(self, name: str) -> Iterator[None]:
        """Adds the time of the `with` block to a stage; stages entered by `stage` come off it."""
        around, this = _open.get(), _OpenStage(self)
        self.seconds[name] += 0.0  # the line names stages as they begin
        token, start = _open.set(this), time.perf_counter()
        try:
            yield
        finally:
            taken = time.perf_counter() - start
            self.seconds[name] += taken - this.within
            _open.reset(token)
            if around is not None:
                around.within += taken

    def each(self, name: str, items: Iterable[T]) -> Iterator[T]:
        """The items; waiting for the next one is a stage."""
        iterator = iter(items)
        while True:
            with self.running(name):
                try:
                    item = next(iterator)
                except StopIteration:
                    return
            yield item

    def line(self, count: int, unit: str) -> str:
        """How many units a second, and the seconds of every stage."""
        wall = time.perf_counter() - self._start
        parts = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in self.seconds.items())
        return f"{count} {unit}s in {wall:.1f} s, {count / wall:.3g} a second: {parts}"


@dataclass
class _OpenStage:
    """A stage that a thread is in, and the seconds of the stages within it so far."""

    clock: StageSeconds
    within: float = 0.0


def stage(name: str) -> contextlib.AbstractContextManager[None]:
    """The `with` block as a stage of the `StageSeconds` that runs in this thread, if one does."""
    around = _open.get()
    return around.clock.running(name) if around else contextlib.nullcontext()
