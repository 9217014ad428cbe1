"""Fetches the sources of detectron2 v0.6 with pip, checked by hash, and unpacks them."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path

from frozenseg.files import file_sha256

SDIST_NAME = "pb1-detectron2"  # the Python sources of v0.6 as an sdist; detectron2 is not on PyPI
SDIST_VERSION = "0.6"
SDIST_SHA256 = "5d2e9e51e523ec72f6a31cca04b0a515492e9514b773a3d134cedc0677170b29"

# Newer pips reject the metadata of this sdist (an extra of it is a URL), so that a pip of a version
# known to accept it runs from its wheel, out of a temporary folder; nothing of it is installed.
PIP_VERSION = "23.2.1"
PIP_SHA256 = "7ccf472345f20d35bdc9d1841ff5f313260c2c33fe417f48c30ac46cccabf5be"


class InstallError(OSError):
    """A step of the installation failed for a reason outside this program."""


def fetch_sources(folder: Path) -> Path:
    """Downloads the sdist into `folder` by package name; returns the root of the unpacked sources.

    pip reads the metadata by running the sdist's setup.py, which imports torch and setuptools: both
    must be installed. The hash is checked before that.
    Raises: InstallError when pip fails, ValueError when the hash differs.
    """
    pip = [sys.executable, "-m", "pip"]
    wheel = _download(pip, "pip", PIP_VERSION, PIP_SHA256, folder, ["--only-binary=:all:"])
    pip = [sys.executable, str(wheel / "pip")]
    options = ["--no-binary=:all:", "--no-build-isolation", "--use-pep517"]
    sdist = _download(pip, SDIST_NAME, SDIST_VERSION, SDIST_SHA256, folder, options)
    return unpack(sdist, folder / "sources")


def _download(
    pip: list[str], name: str, version: str, sha256: str, folder: Path, options: list[str]
) -> Path:
    requirements = folder / f"{name}.txt"
    requirements.write_text(f"{name}=={version} --hash=sha256:{sha256}\n")
    target = folder / name
    command = [*pip, "download", "--no-deps", "--require-hashes", *options]
    command += ["--disable-pip-version-check", "-r", str(requirements), "-d", str(target)]
    result = subprocess.run(command, stdin=subprocess.DEVNULL)
    if result.returncode:
        raise InstallError(
            f"pip could not download {name}=={version} (exit code {result.returncode}, its message "
            "is above); check the network connection or the package index that pip is set to use"
        )
    files = sorted(target.iterdir())
    if len(files) != 1:
        raise InstallError(f"pip left {len(files)} files for {name}=={version} instead of one")
    check_hash(files[0], sha256)
    return files[0]


def check_hash(path: Path, sha256: str) -> None:
    """Raises ValueError unless the file has the SHA-256 digest."""
    found = file_sha256(path)
    if found != sha256:
        raise ValueError(f"{path.name} has SHA-256 {found}, expected {sha256}; it is not used")


def unpack(sdist: Path, folder: Path) -> Path:
    """Unpacks a .tar.gz source distribution; returns its single top folder.

    Raises: ValueError or tarfile.TarError for entries outside one top folder.
    """
    with tarfile.open(sdist) as archive:
        tops = {Path(name).parts[0] for name in archive.getnames()}
        if len(tops) != 1 or tops == {"/"}:
            raise ValueError(f"{sdist.name} is not a source distribution with one top folder")
        if hasattr(tarfile, "data_filter"):
            archive.extractall(folder, filter="data")
        else:  # Python 3.10 before 3.10.12; the hash was checked
            archive.extractall(folder)
    return folder / tops.pop()
