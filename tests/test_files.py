"""Atomic writing; JSON by schema; digests of cached files; the cache folder."""

from __future__ import annotations

import math
import os
import subprocess
from pathlib import Path

import msgspec
import pytest

from frozenseg import files
from frozenseg.files import (
    cache_folder,
    check_digest,
    file_sha256,
    read_json,
    read_typed,
    recorded_digest,
    write_atomically,
    write_text,
)


class Page(msgspec.Struct):
    """A schema."""

    words: list[int]
    size: float = 0


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


def test_a_durable_file_is_on_the_disk_before_it_has_its_name_and_then_the_name_is(
    tmp_path, monkeypatch
):
    synced = []

    def fsync(descriptor):
        synced.append((os.readlink(f"/proc/self/fd/{descriptor}"), (tmp_path / "x.pth").exists()))

    monkeypatch.setattr(os, "fsync", fsync)
    write_text(tmp_path / "x.pth", "all")
    assert synced == []
    (tmp_path / "x.pth").unlink()
    write_text(tmp_path / "x.pth", "all", durable=True)
    part = tmp_path / f".x.{os.getpid()}.part.pth"
    assert synced == [(str(part), False), (str(tmp_path), True)]


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


def test_a_file_is_compared_with_its_published_digest_or_with_its_first_use(tmp_path):
    path = tmp_path / "w.pth"
    path.write_bytes(b"weights")
    check_digest(path, file_sha256(path))
    assert recorded_digest(path) == ""
    check_digest(path)
    command = ["sha256sum", "--check", "w.pth.sha256"]
    assert subprocess.run(command, cwd=tmp_path, capture_output=True).returncode == 0
    path.write_bytes(b"others!")
    with pytest.raises(ValueError, match=r"w\.pth is damaged or was replaced.*delete the \.sha256"):
        check_digest(path)
    with pytest.raises(ValueError, match=r"0123 is published; delete it and get it again$"):
        check_digest(path, "0123")


@pytest.mark.parametrize("note", [b"", b"\xff\xfe\n"])
def test_a_damaged_record_of_a_digest_does_not_pass_for_one(tmp_path, note):
    path = tmp_path / "w.pth"
    path.write_bytes(b"weights")
    (tmp_path / "w.pth.sha256").write_bytes(note)
    if note:
        with pytest.raises(ValueError, match="first used with"):
            check_digest(path)
    else:
        check_digest(path)
        assert recorded_digest(path) == file_sha256(path)


def test_a_folder_that_cannot_be_written_is_no_reason_to_refuse_a_file(tmp_path, monkeypatch):
    (tmp_path / "w.pth").write_bytes(b"weights")

    def refuse(path, text):
        raise PermissionError("read-only")

    monkeypatch.setattr(files, "write_text", refuse)
    check_digest(tmp_path / "w.pth")
    assert [path.name for path in tmp_path.iterdir()] == ["w.pth"]


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_json_is_read_with_and_without_a_byte_order_mark_and_nan(tmp_path, mark):
    path = tmp_path / "x.json"
    path.write_bytes(mark + b'{"words": [1, 2], "other": null}')
    assert read_typed(path, Page) == Page([1, 2])
    path.write_bytes(mark + b'{"words": [1], "size": NaN, "other": [Infinity]}')
    assert math.isnan(read_typed(path, Page).size)
    assert read_json(path)["other"] == [math.inf]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"words": [1, "2"]}', r"\$\.words\[1\]: Expected int, got str"),
        ("[]", r"\$: Expected object, got array"),
        ("null", r"\$: Expected object, got null"),
        ("{}", r"\$: Object missing required field words"),
        ('{"words": [], "size": 1e400}', r"\$\.size: Number out of range"),
        ('{"words": [1, NaN]}', r"\$\.words\[1\]: Expected int, got float"),
        ('{"words": [', "not valid JSON"),
        ("", "not valid JSON"),
        ('{"words": [1]} {}', "not valid JSON"),
        ('{"words": %s}' % ("[" * 10**5), r"\$\.words\[0\]: Expected int, got array"),
        ('{"other": %s' % ("[" * 10**5), "is nested too deeply"),
        ('{"other": NaN, "x": %s' % ('{"a":' * 10**5), "is nested too deeply"),
        (b"\xff\xfe{\0", "not valid JSON"),
        (b'{"words": "\xe4"}', r"\$\.words: Expected array, got str|not valid JSON"),
    ],
)
def test_json_of_another_structure_is_one_line_with_file_place_and_remedy(tmp_path, text, message):
    path = tmp_path / "x.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(ValueError, match=rf"x\.json: ({message}).*; do it again$") as error:
        read_typed(path, Page, "do it again")
    assert len(str(error.value)) < 300
    with pytest.raises(FileNotFoundError, match=r"no\.json does not exist; do it again"):
        read_typed(tmp_path / "no.json", Page, "do it again")
