"""What every command of this project shares: one clear line per error, and exit codes.

Exit codes: 0 done, 1 unexpected error, 2 the user's input is wrong, 130 interrupted (Ctrl-C).
Nothing here imports torch, so that `--help` and wrong arguments answer at once.
"""

from __future__ import annotations

import argparse
import sys
import warnings
from collections.abc import Callable

from frozenseg.errors import describe, is_user_error

EXIT_UNEXPECTED, EXIT_USER_ERROR, EXIT_INTERRUPTED = 1, 2, 130


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
    try:
        code = main(args)
    except KeyboardInterrupt:
        _report("interrupted")
        code = EXIT_INTERRUPTED
    except Exception as error:
        if debug:
            raise
        if is_user_error(error):
            _report(f"error: {describe(error)}")
            code = EXIT_USER_ERROR
        else:
            _report(f"error: {describe(error)} (unexpected; run again with --debug for details)")
            code = EXIT_UNEXPECTED
    sys.exit(code or 0)


def _report(line: str) -> None:
    sys.stdout.flush()
    print(line, file=sys.stderr, flush=True)
