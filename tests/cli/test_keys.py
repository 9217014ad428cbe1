"""A key typed at a terminal ends a recording; without a terminal nothing is read."""

import io
import os
import sys

import pytest

from frozenseg.cli.keys import pressed


def test_without_a_terminal(monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("q"))
    with pressed("q") as is_pressed:
        assert not is_pressed()
    assert sys.stdin.read() == "q"


def test_at_a_terminal(monkeypatch):
    pty, termios = pytest.importorskip("pty"), pytest.importorskip("termios")
    keyboard, terminal = pty.openpty()
    before = termios.tcgetattr(terminal)
    with os.fdopen(terminal) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        with pressed("q") as is_pressed:
            assert not is_pressed()
            os.write(keyboard, b"x")
            assert not is_pressed()
            os.write(keyboard, b"yQz")  # without Enter
            assert is_pressed()
            assert not is_pressed()
        assert termios.tcgetattr(terminal) == before
    os.close(keyboard)
