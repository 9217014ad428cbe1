"""Progress of long work: a bar on a terminal, a log line now and then elsewhere."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

from tqdm import tqdm

logger = logging.getLogger(__name__)

T = TypeVar("T")
_SECONDS_BETWEEN_LINES = 15.0
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
