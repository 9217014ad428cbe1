from __future__ import annotations

import logging

from frozenseg import progress
from frozenseg.progress import Progress


class Terminal:
    def __init__(self):
        self.text = ""

    def isatty(self):
        return True

    def write(self, text):
        self.text += text

    def flush(self):
        pass


def test_elsewhere_a_line_comes_now_and_then(monkeypatch, caplog):
    clock = iter(float(second) for second in range(0, 1000, 10))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with caplog.at_level(logging.INFO), Progress(100, "texts", "prompt") as bar:
        for _ in range(5):
            bar.advance(20)
    lines = [record.getMessage() for record in caplog.records]
    assert lines == [
        "texts: 40 of 100 prompts, 2 per second, 30 s left",
        "texts: 80 of 100 prompts, 2 per second, 10 s left",
    ]


def test_short_work_is_silent(caplog):
    with caplog.at_level(logging.INFO), Progress(2, "texts", "prompt") as bar:
        bar.advance(1)
        bar.advance(1)
    assert not caplog.records


def test_a_terminal_gets_a_bar_that_counts_whole_units(monkeypatch):
    terminal = Terminal()
    monkeypatch.setattr(progress.sys, "stderr", terminal)
    with Progress(3, "texts", "prompt") as bar:
        for _ in range(4):
            bar.advance(0.75)
        assert bar._bar.n == 3
    assert "texts" in terminal.text


def test_a_bar_goes_on_where_an_earlier_run_stopped(monkeypatch):
    monkeypatch.setattr(progress.sys, "stderr", Terminal())
    work = Progress(5, "training", "it", done=3)
    work.advance(loss="8")
    assert (work._bar.n, work._bar.total, work._bar.postfix) == (4, 5, "loss=8")
    work.close()


def test_items_keep_their_length_and_are_counted_on_a_terminal_alone(monkeypatch, capsys):
    assert len(progress.bar([1, 2], "texts", "prompt")) == 2
    assert list(progress.bar([1, 2], "texts", "prompt")) == [1, 2]
    assert not capsys.readouterr().err
    terminal = Terminal()
    monkeypatch.setattr(progress.sys, "stderr", terminal)
    assert list(progress.bar([1, 2], "texts", "prompt", shown=False)) == [1, 2]
    assert not terminal.text
    assert list(progress.bar([1, 2], "texts", "prompt")) == [1, 2]
    assert "texts" in terminal.text


def test_without_a_total_and_a_terminal_lines_are_printed(monkeypatch, capsys):
    monkeypatch.setattr(progress, "_SECONDS_BETWEEN_LINES", 0.0)
    # Without what commands that ran in this process have left there.
    monkeypatch.setattr(logging.getLogger("frozenseg"), "handlers", [])
    with progress.lines_on_stderr(), Progress(None, "clip.mp4", "frame") as work:
        work.advance()
        work.advance()
    first, second = capsys.readouterr().err.splitlines()
    assert first.startswith("clip.mp4: 1 frames, ")
    assert second.startswith("clip.mp4: 2 frames, ")
    assert second.endswith(" per second")
    with Progress(None, "clip.mp4", "frame") as work:
        work.advance()
    assert not capsys.readouterr().err
