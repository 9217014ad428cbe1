"""Hashes, archives and the failure of pip, without the network."""

from __future__ import annotations

import hashlib
import io
import sys
import tarfile
from pathlib import Path

import pytest

from frozenseg.detectron2_setup import fetch


def test_a_file_with_another_hash_is_not_used(tmp_path: Path) -> None:
    path = tmp_path / "a.tar.gz"
    path.write_bytes(b"abc")
    fetch.check_hash(path, hashlib.sha256(b"abc").hexdigest())
    with pytest.raises(ValueError, match=r"a\.tar\.gz has SHA-256"):
        fetch.check_hash(path, fetch.SDIST_SHA256)


def write_tar(path: Path, *names: str) -> Path:
    """A .tar.gz with small files of these names."""
    with tarfile.open(path, "w:gz") as archive:
        for name in names:
            info = tarfile.TarInfo(name)
            info.size, info.mode = 1, 0o600
            archive.addfile(info, io.BytesIO(b"x"))
    return path


def test_sources_are_unpacked_below_one_folder(tmp_path: Path) -> None:
    sdist = write_tar(tmp_path / "a.tar.gz", "pkg-1/setup.py", "pkg-1/detectron2/__init__.py")
    root = fetch.unpack(sdist, tmp_path / "out")
    assert root == tmp_path / "out" / "pkg-1"
    assert (root / "detectron2/__init__.py").read_bytes() == b"x"


@pytest.mark.parametrize("names", [("a/x", "b/y"), ("a/x", "a/../../y"), ("../y",), ("/etc/y",)])
def test_archives_that_reach_outside_are_refused(tmp_path: Path, names: tuple[str, ...]) -> None:
    (tmp_path / "in").mkdir()
    with pytest.raises((ValueError, tarfile.TarError)):
        fetch.unpack(write_tar(tmp_path / "in/a.tar.gz", *names), tmp_path / "in" / "out")
    assert not (tmp_path / "y").exists()
    assert not (tmp_path / "in" / "y").exists()


def test_pip_failure_is_one_clear_error(tmp_path: Path) -> None:
    fails = [sys.executable, "-c", "raise SystemExit(3)"]
    with pytest.raises(fetch.InstallError, match=r"could not download x==1 \(exit code 3"):
        fetch._download(fails, "x", "1", "00", tmp_path, [])
