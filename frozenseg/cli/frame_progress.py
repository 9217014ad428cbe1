"""Progress of a video: a bar on a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time

SECONDS_BETWEEN_LINES = 15.0


class FrameProgress:
    """Counts frames, with rate and, where the total is known, time left; a context manager."""

    def __init__(self, title: str, total: int | None) -> None:
        from tqdm import tqdm

        self._title, self._total, self._done = title, total, 0
        self._start = self._last_line = time.monotonic()
        on_terminal = sys.stderr.isatty()
        self._bar = tqdm(desc=title, total=total, unit="frame") if on_terminal else None

    def advance(self) -> None:
        """One frame more is done."""
        self._done += 1
        if self._bar is not None:
            self._bar.update()
            return
        now = time.monotonic()
        if now - self._last_line >= SECONDS_BETWEEN_LINES:
            self._last_line = now
            total = "" if self._total is None else f" of {self._total}"
            rate = self._done / (now - self._start)
            print(f"{self._title}: {self._done}{total} frames, {rate:.1f} per second", flush=True)

    def __enter__(self) -> FrameProgress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
