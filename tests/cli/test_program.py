"""The exit codes and messages that every command line shares."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys

import pytest
from torch.multiprocessing import ProcessRaisedException

from frozenseg.cli import program as cli


def exit_code(error: BaseException | None, debug: bool = False, result: int | None = None) -> int:
    def main(_args: argparse.Namespace) -> int | None:
        if error is not None:
            raise error
        return result

    with pytest.raises(SystemExit) as stop:
        cli.run(main, argparse.Namespace(debug=debug))
    return stop.value.code


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (ValueError("MODEL.X is 3;\n  use 4"), 2, "error: MODEL.X is 3; use 4\n"),
        (FileNotFoundError("a.yaml does not exist"), 2, "error: a.yaml does not exist\n"),
        (KeyError("no dataset 'x'; known: y"), 2, "error: no dataset 'x'; known: y\n"),
        (PermissionError(13, "Permission denied", "a.pth"), 2, "error: a.pth: Permission denied"),
        (KeyError("stuff"), 1, "error: KeyError: stuff (unexpected; run again with --debug"),
        (RuntimeError("shapes differ"), 1, "error: RuntimeError: shapes differ (unexpected"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
)
def test_an_error_is_one_line_and_an_exit_code(capsys, error, code, line):
    assert exit_code(error) == code
    printed = capsys.readouterr().err
    assert printed.startswith(line)
    assert printed.count("\n") == 1


def test_results_become_exit_codes():
    assert exit_code(None) == 0
    assert exit_code(None, result=3) == 3


def test_debug_shows_the_exception_itself():
    with pytest.raises(ValueError, match="boom"):
        cli.run(lambda _: (_ for _ in ()).throw(ValueError("boom")), argparse.Namespace(debug=True))


def test_an_error_of_a_worker_process_is_its_last_line():
    worker = ValueError(
        "Caught ValueError in DataLoader worker process 0.\nOriginal Traceback (most recent call "
        'last):\n  File "x.py", line 3, in f\nValueError: a.png: is damaged\n'
    )
    assert cli.describe(worker) == "in a worker process: a.png: is damaged"


@pytest.mark.parametrize(
    ("last", "code", "line"),
    [
        ("ValueError: a.png: is damaged", 2, "error: in a worker process: a.png: is damaged\n"),
        (
            "frozenseg.engine.non_finite.NonFiniteError: lower it",
            2,
            "error: in a worker process: l",
        ),
        ("RuntimeError: shapes differ", 1, "error: in a worker process: RuntimeError: shapes diff"),
    ],
)
def test_an_error_that_ended_a_process_of_a_launch_is_the_users_if_it_was_there(
    capsys, last, code, line
):
    """detectron2's launch gives the text of the traceback alone."""
    text = (
        "\n\n-- Process 1 terminated with the following error:\n"
        f"Traceback (most recent call last):\n  File x\n{last}\n"
    )
    assert exit_code(ProcessRaisedException(text, 1, 2)) == code
    assert capsys.readouterr().err.startswith(line)


def test_importing_it_does_not_import_torch():
    code = "import frozenseg.cli, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


PROGRAM = """
import os, signal, sys, time
from argparse import Namespace
from frozenseg.cli import program
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
def main(args):
    try:
        print("ready", flush=True)
        time.sleep(60)
    except KeyboardInterrupt:
        if sys.argv[1] == "library":
            raise ValueError("the file is damaged")
        print("kept")
        raise
with program.console():
    program.run(main, Namespace(debug=False))
"""


@pytest.mark.slow
@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
@pytest.mark.parametrize("raised", ["itself", "library"])
def test_signals_end_as_ctrl_c(name, raised):
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, raised],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout.readline() == "ready\n"
    process.send_signal(getattr(signal, name))
    printed, told = process.communicate(timeout=60)
    assert (process.returncode, told) == (130, "interrupted\n")
    assert printed == ("" if raised == "library" else "kept\n")


@pytest.mark.slow
@pytest.mark.parametrize("words", [["data", "list"], ["--help"], ["data"]])
def test_a_closed_pipe_ends_in_silence(words):
    process = subprocess.Popen(
        [sys.executable, "-m", "frozenseg", *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    process.stdout.close()
    told = process.stderr.read()
    assert (process.wait(timeout=60), told) == (141, b"")


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ["cp1252", "ascii", "utf-8"])
def test_names_that_the_console_cannot_show_are_escaped(tmp_path, encoding):
    folder = f"{tmp_path}/\u2603caf\udce9"
    result = subprocess.run(
        [sys.executable, "-m", "frozenseg", "data", "list", "--root", folder],
        env={**os.environ, "PYTHONIOENCODING": encoding},
        capture_output=True,
        check=True,
    )
    snowman = "\u2603" if encoding == "utf-8" else "\\u2603"
    assert f"{tmp_path}/{snowman}caf\\udce9" in result.stdout.decode(encoding)


def test_a_path_below_a_home_that_is_not_there_is_the_users_error(capsys):
    error = RuntimeError("Could not determine home directory.")
    assert exit_code(error) == 2
    assert "a path begins with ~" in capsys.readouterr().err
