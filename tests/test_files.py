"""Atomic writing; the cache folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from frozenseg.files import cache_folder, write_atomically


def test_the_file_appears_whole_with_its_folder(tmp_path):
    path = tmp_path / "new" / "x.png"
    seen = []

    def write(part):
        assert part.suffix == ".png"
        part.write_text("all")
        seen.append(path.exists())

    write_atomically(path, write)
    assert seen == [False]
    assert path.read_text() == "all"
    assert [p.name for p in path.parent.iterdir()] == ["x.png"]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "x.pth"
    path.write_text("old")

    def fail(part):
        part.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, fail)
    assert [p.name for p in tmp_path.iterdir()] == ["x.pth"]
    assert path.read_text() == "old"


def test_the_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.setenv("FROZENSEG_CACHE", str(tmp_path))
    assert cache_folder("text") == tmp_path / "text"
    monkeypatch.delenv("FROZENSEG_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_folder("weights") == tmp_path / "xdg" / "frozenseg" / "weights"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder("weights") == Path.home() / ".cache" / "frozenseg" / "weights"
