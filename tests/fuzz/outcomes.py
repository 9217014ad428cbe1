"""What may come of a wrong input: a sane result, or one clear line; nothing else."""

from __future__ import annotations

import contextlib
import io
import math
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings

from frozenseg.cli.main import main
from frozenseg.errors import describe, is_user_error

LONGEST_LINE = 2000
# More with FUZZ_EXAMPLES=1000 python -m pytest tests/fuzz
budget = settings(
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", 25)),
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
    deadline=None,
)


def attempt(door: str, call: Callable[[], Any], named: Iterable[str]) -> Any:
    """What `call` returns, or the message of a user's error, which must name one of `named`."""
    try:
        result = call()
    except Exception as error:  # noqa: BLE001 -- of which kind it is, is the question
        clear = is_user_error(error) or (isinstance(error, TypeError) and door.startswith("python"))
        line = describe(error)
        report(door, "error", line)
        require(clear, f"{door}: an unexpected error", error)
        require_clear(door, line, named)
        return line
    report(door, "accepted", "")
    return result


def command(*words: object, named: Iterable[str], codes: tuple[int, ...] = (0,)) -> tuple[int, str]:
    """The exit code of `frozenseg WORDS` in this process, and what it printed.

    Args: codes: those of a command that did its work; another one is that of a user's error.
    """
    door = f"frozenseg {' '.join(map(str, words[:2]))}"
    out, err = io.StringIO(), io.StringIO()
    code: Any = None
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main([str(word) for word in words])
        except SystemExit as ended:
            code = ended.code
    said = err.getvalue()
    errors = [line for line in said.splitlines() if "error: " in line]
    accepted = code in codes and not errors
    report(door, "accepted" if accepted else "error", errors[0] if errors else said)
    if not accepted:
        require(code == 2, f"{door}: exit code {code}: {said}")
        require(len(errors) == 1, f"{door}: not one line: {said}")
        require_clear(door, errors[0], named)
    return code, out.getvalue()


def require_clear(door: str, line: str, named: Iterable[str]) -> None:
    """One line, not too long, that names what is wrong."""
    require("(unexpected" not in line and "Traceback" not in line, f"{door}: {line}")
    require("\n" not in line and len(line) <= LONGEST_LINE, f"{door}: no short line: {line[:200]}")
    require(any(name in line for name in named), f"{door}: names none of {list(named)}: {line}")


def require(holds: bool, problem: str, cause: BaseException | None = None) -> None:
    """Raises AssertionError with the problem unless `holds`."""
    if not holds:
        raise AssertionError(problem) from cause


def report(door: str, outcome: str, line: str) -> None:
    """Called for every outcome; a campaign counts them."""


def require_percents(scores: Any, where: str = "") -> None:
    """Raises AssertionError for a score that no score can be; NaN is one of nothing."""
    if isinstance(scores, Mapping):
        for key, value in scores.items():
            if key not in ("classes", "items", "images", "masks", "matches"):
                require_percents(value, f"{where}/{key}")
    elif isinstance(scores, (int, float)):
        sane = math.isnan(scores) or -1e-6 <= scores <= 100 + 1e-6
        require(sane, f"{where} is {scores}")


def require_no_parts(folder: Path) -> None:
    """Raises AssertionError for a half-written file."""
    parts = [path.name for path in folder.rglob(".*") if ".part" in path.name]
    require(not parts, f"left behind: {parts}")
