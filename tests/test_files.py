"""Atomic writing; JSON by schema; digests of cached files; the cache folder."""

from __future__ import annotations

import errno
import json
import math
import os
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from frozenseg import files
from frozenseg.files import (
    NotWrittenError,
    cache_folder,
    check_digest,
    file_sha256,
    part_path,
    read_json,
    read_typed,
    recorded_digest,
    write_atomically,
    write_json,
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
    (part, named), last = synced
    assert Path(part).parent == tmp_path
    assert part.endswith(".part.pth")
    assert not named
    assert last == (str(tmp_path), True)


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


def ended_process():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_part_files_of_killed_processes_are_removed_once(tmp_path):
    own = part_path(tmp_path / "own.json").name
    killed = own.replace(f"-{os.getpid()}-", f"-{ended_process()}-")
    elsewhere = killed.replace(files._HOST, "abcdef")
    old = elsewhere.replace("own", "old")
    others = [own, elsewhere, ".hidden.json", ".a.part", "x.part.json"]
    for name in (*others, killed, old):
        (tmp_path / name).touch()
    os.utime(tmp_path / old, (time.time() - 2 * 24 * 3600,) * 2)
    files._swept.discard(tmp_path)
    write_json(tmp_path / "new.json", 1)
    assert {path.name for path in tmp_path.iterdir()} == {*others, "new.json"}


def test_the_longest_name_can_be_written(tmp_path):
    name = "é" * 125 + ".json"  # 255 bytes
    write_json(tmp_path / name, 1)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_name_that_is_not_utf8_can_be_written_in_json(tmp_path):
    write_json(tmp_path / "a.json", {"é": "caf\udce9"}, ensure_ascii=False)
    assert json.loads((tmp_path / "a.json").read_bytes()) == {"é": "caf\udce9"}
    assert read_json(tmp_path / "a.json") == {"é": "caf\udce9"}


FULL = """
import resource, sys
from pathlib import Path
import numpy, torch
from PIL import Image
from safetensors.torch import save_file
from frozenseg.files import write_atomically
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))
path = Path(sys.argv[1])
big = torch.rand(10_000)
write = {
    ".txt": lambda part: part.write_bytes(bytes(10_000)),
    ".pth": lambda part: torch.save(big, part),
    ".safetensors": lambda part: save_file({"big": big}, part),
    ".png": lambda part: Image.fromarray(numpy.random.rand(99, 99) * 255).convert("L").save(part),
}[path.suffix]
try:
    write_atomically(path, write)
except OSError as error:
    print(type(error).__name__, error.is_about_folder, error)
"""


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".txt", ".pth", ".safetensors", ".png"])
def test_no_room_names_the_file_and_what_was_kept(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    path.write_text("old")
    result = subprocess.run(
        [sys.executable, "-c", FULL, path], capture_output=True, text=True, check=True
    )
    assert result.stdout.startswith(f"NotWrittenError True {path}: cannot be written (")
    assert "the file that was there is kept; make room" in result.stdout
    assert [each.read_text() for each in tmp_path.iterdir()] == ["old"]


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    def refuse(part):
        raise PermissionError(errno.EACCES, "Permission denied", str(part))

    with pytest.raises(
        NotWrittenError, match=r"x\.json: cannot be written.*choose a folder"
    ) as told:
        write_atomically(tmp_path / "x.json", refuse)
    assert told.value.errno == errno.EACCES
    assert "nothing of it is kept" in str(told.value)


def test_errors_that_are_not_about_writing_pass(tmp_path):
    for error in (ValueError("shapes"), RuntimeError("expected a tensor")):
        with pytest.raises(type(error), match=str(error)):
            write_atomically(tmp_path / "x", lambda _, error=error: (_ for _ in ()).throw(error))


def test_a_user_without_a_home_is_told_to_name_a_cache(monkeypatch):
    monkeypatch.delenv("FROZENSEG_CACHE", raising=False)
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)

    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "home", homeless)
    with pytest.raises(FileNotFoundError, match="set FROZENSEG_CACHE"):
        cache_folder("text")
