"""What every command of this project shares: one clear line per error, and exit codes.

Exit codes: 0 done, 1 unexpected error, 2 the user's input is wrong, 130 interrupted (Ctrl-C,
SIGTERM, a closed terminal), 141 nobody reads the output any more (`| head`).
Nothing here imports torch, so that `--help` and wrong arguments answer at once.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import select
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from typing import Any

from frozenseg.errors import describe, is_user_error, was_interrupted

EXIT_UNEXPECTED, EXIT_USER_ERROR, EXIT_INTERRUPTED, EXIT_BROKEN_PIPE = 1, 2, 130, 141
_STOPPING = ("SIGINT", "SIGTERM", "SIGHUP")


def add_debug_flag(parser: argparse.ArgumentParser, default: object = False) -> None:
    """Adds `--debug`: show the Python traceback of an error instead of one line."""
    parser.add_argument(
        "--debug",
        action="store_true",
        default=default,
        help="show the full traceback when something goes wrong",
    )


def run(main: Callable[[argparse.Namespace], int | None], args: argparse.Namespace) -> None:
    """Calls `main(args)` and ends the program with its exit code (None means 0).

    A user's mistake (ValueError, FileNotFoundError and other OSErrors, KeyError with a sentence) is
    printed as `error: ...` on stderr, exit code 2. Any other exception is one line too, exit code
    1, with the advice to use `--debug`. With `args.debug` exceptions are raised as they are.
    Raises: SystemExit, always (except with `args.debug` and an exception).
    """
    debug = getattr(args, "debug", False)
    # detectron2 and fvcore still script a few functions; nothing that a user could change.
    warnings.filterwarnings("ignore", message=r".*torch\.jit\.script", category=FutureWarning)
    with _stopped_by_signals() as signals:
        try:
            code = main(args)
        except KeyboardInterrupt:
            _report("interrupted")
            code = EXIT_INTERRUPTED
        except Exception as error:
            if signals or was_interrupted(error):  # which a library took for something else
                _report("interrupted")
                code = EXIT_INTERRUPTED
            elif debug or _is_gone(error):
                raise
            elif is_user_error(error):
                _report(f"error: {describe(error)}")
                code = EXIT_USER_ERROR
            else:
                advice = "(unexpected; run again with --debug for details)"
                _report(f"error: {describe(error)} {advice}")
                code = EXIT_UNEXPECTED
    sys.exit(code or 0)


@contextlib.contextmanager
def console() -> Iterator[None]:
    """Within it, what the console cannot show is escaped, and a closed pipe is no error.

    Names of files need not be of the console's encoding, nor of any. Raises: SystemExit 141, in
    silence, where nobody reads the output any more.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # not pytest's
            stream.reconfigure(errors="backslashreplace")
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError as error:
        if not _is_gone(error):
            raise
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in filter(_has_no_reader, (sys.stdout, sys.stderr)):
            os.dup2(nowhere, stream.fileno())  # Python flushes them once more at its end
        sys.exit(EXIT_BROKEN_PIPE)


def _is_gone(error: BaseException) -> bool:
    """Whether an error says that nobody reads stdout or stderr any more (and not another pipe)."""
    streams = (sys.stdout, sys.stderr)
    return isinstance(error, BrokenPipeError) and any(map(_has_no_reader, streams))


def _has_no_reader(stream: Any) -> bool:
    try:
        poll = select.poll()
        poll.register(stream.fileno(), 0)  # errors are told unasked
        return any(events & (select.POLLERR | select.POLLHUP) for _, events in poll.poll(0))
    except (AttributeError, OSError, ValueError):  # Windows; no file (pytest's)
        return False


@contextlib.contextmanager
def _stopped_by_signals() -> Iterator[list[int]]:
    """Within it, SIGTERM and SIGHUP do what Ctrl-C does; the list gets the signals that came.

    A command may handle them in its own way; ignored ones (`nohup`) stay so.
    """
    came: list[int] = []
    process, before = os.getpid(), {}

    def stop(number: int, _frame: object) -> None:
        if os.getpid() != process:  # a fork that is ended by its parent
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        came.append(number)
        raise KeyboardInterrupt

    if threading.current_thread() is threading.main_thread():
        for name in _STOPPING:
            number = getattr(signal, name, None)  # Windows has no SIGHUP
            if number is None or signal.getsignal(number) in (signal.SIG_IGN, None):
                continue
            before[number] = signal.signal(number, stop)
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _report(line: str) -> None:
    sys.stdout.flush()
    print(line, file=sys.stderr, flush=True)
