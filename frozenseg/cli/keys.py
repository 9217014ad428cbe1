"""The key that ends a recording, read from the terminal: OpenCV may have no windows."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def pressed(key: str) -> Iterator[Callable[[], bool]]:
    """A function that says whether the key was pressed since; always False without a terminal."""
    if not (sys.stdin and sys.stdin.isatty()):
        yield lambda: False
    elif os.name == "nt":
        yield lambda: key in _typed_on_windows()
    else:
        import termios
        import tty

        terminal = sys.stdin.fileno()
        before = termios.tcgetattr(terminal)
        tty.setcbreak(terminal)  # keys come without Enter; Ctrl-C still interrupts
        try:
            yield lambda: key in _typed(terminal)
        finally:
            termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def _typed(terminal: int) -> str:
    import select

    ready = select.select([terminal], [], [], 0)[0]
    return os.read(terminal, 1024).decode(errors="replace").lower() if ready else ""


def _typed_on_windows() -> str:
    import msvcrt

    typed = ""
    while msvcrt.kbhit():  # type: ignore[attr-defined]
        typed += msvcrt.getwch().lower()  # type: ignore[attr-defined]
    return typed
