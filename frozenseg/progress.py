"""Progress of long work: a bar on a terminal, a log line now and then elsewhere."""

from __future__ import annotations

import logging
import sys
import time
from types import TracebackType

from tqdm import tqdm

logger = logging.getLogger(__name__)

_SECONDS_BETWEEN_LINES = 15.0


class Progress:
    """Counts work done out of `total` units, with rate and time left; a context manager."""

    def __init__(self, total: int, title: str, unit: str):
        self._title, self._unit, self._total = title, unit, total
        self._done = 0.0
        self._start = self._last_line = time.monotonic()
        self._bar = (
            tqdm(total=total, desc=title, unit=unit, leave=False) if sys.stderr.isatty() else None
        )

    def advance(self, amount: float) -> None:
        """`amount` more units are done."""
        before, self._done = round(self._done), self._done + amount
        if self._bar is not None:
            self._bar.update(round(self._done) - before)
            return
        now = time.monotonic()
        if now - self._last_line >= _SECONDS_BETWEEN_LINES and self._done < self._total:
            self._last_line = now
            rate = self._done / (now - self._start)
            logger.info(
                "%s: %d of %d %ss, %.0f per second, %.0f s left",
                self._title,
                round(self._done),
                self._total,
                self._unit,
                rate,
                (self._total - self._done) / rate,
            )

    def __enter__(self) -> Progress:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._bar is not None:
            self._bar.close()
