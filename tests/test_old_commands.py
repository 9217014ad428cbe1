"""The commands of the pages before the console command: the old programs still parse every one.

Each line runs in this process up to where its program has parsed its arguments, which checks the
path of the program and each of its options.
"""

from __future__ import annotations

import argparse
import re
import runpy
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = [
    line
    for line in (ROOT / "tests" / "old_commands.txt").read_text(encoding="utf-8").splitlines()
    if line and not line.startswith("#")
]
# What the targets of the Makefile pass ARGS on to.
BEHIND_MAKE = {"quickstart": "tools/quickstart.py", "demo": "demo/demo.py", "app": "demo/app.py"}
SCRIPT = re.compile(r"(?:[\w.]+/)*\w+\.py")


class Parsed(BaseException):
    """Raised in place of the program's work; a BaseException passes every handler of errors."""


def parse(program: list[str], monkeypatch: pytest.MonkeyPatch) -> argparse.Namespace:
    """The arguments as the program reads them. Raises: SystemExit where it refuses them."""
    original = argparse.ArgumentParser.parse_args

    def parse_args(self, args=None, namespace=None):
        raise Parsed(original(self, args, namespace))

    monkeypatch.setattr(argparse.ArgumentParser, "parse_args", parse_args)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "argv", program[program[0] == "-m" :])
    with pytest.raises(Parsed) as parsed:
        start(program)
    return parsed.value.args[0]


def start(program: list[str]) -> None:
    """Runs a script, or a module after "-m", as the interpreter does."""
    if program[0] == "-m":
        runpy.run_module(program[1], run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(str(ROOT / program[0]), run_name="__main__")


def program_of(command: str) -> list[str]:
    """The program of ours, and its arguments, in a command line; empty for a bare `make` target."""
    words = shlex.split(command)
    if words[0] == "make":
        arguments = [word.removeprefix("ARGS=") for word in words[2:]]
        program = BEHIND_MAKE.get(words[1])
        return [program, *shlex.split(" ".join(arguments))] if program else []
    if words[0] == "torchrun":
        return words[next(i for i, word in enumerate(words) if SCRIPT.fullmatch(word)) :]
    return words[1:]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_program_still_takes_it(command, monkeypatch):
    if command.startswith("make "):
        done = subprocess.run(
            ["make", "--dry-run", *shlex.split(command)[1:]], cwd=ROOT, capture_output=True
        )
        assert done.returncode == 0, done.stderr
    program = program_of(command)
    if program:
        parse(program, monkeypatch)


def test_a_program_or_an_option_that_went_is_noticed(monkeypatch, capsys):
    with pytest.raises(FileNotFoundError):
        parse(["tools/gone.py"], monkeypatch)
    with pytest.raises(SystemExit):
        parse(["tools/benchmark.py", "--config-file", "a.yaml", "--gone"], monkeypatch)
    assert "--gone" in capsys.readouterr().err
