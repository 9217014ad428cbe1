"""The lock files fit the ranges, for every Python, and have hashes; what is asked of uv."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from frozenseg.detectron2_setup.repack import REQUIREMENTS
from tools import lock_requirements
from tools.lock_requirements import LOCK, LOWEST, LOWEST_EXTRAS

ROOT = Path(__file__).resolve().parents[2]
PYTHONS = ("3.10", "3.11", "3.12", "3.13")


def blocks(path: Path) -> list[str]:
    """The requirements of a lock file, each with its hashes."""
    lines = [line for line in path.read_text().splitlines() if not line.startswith("#")]
    return "\n".join(lines).replace("\\\n", "").splitlines()


def locked(path: Path, python: str) -> dict[str, str]:
    """The versions, by canonical name, that a Python on Linux installs."""
    environment = {"python_version": python, "python_full_version": f"{python}.9"}
    environment |= {"sys_platform": "linux", "platform_machine": "x86_64"}
    versions: dict[str, str] = {}
    for block in blocks(path):
        requirement = Requirement(block.split("--hash")[0])
        if requirement.marker is None or requirement.marker.evaluate(environment):
            name = canonicalize_name(requirement.name)
            assert name not in versions, f"{name} stands twice for Python {python}"
            (specifier,) = requirement.specifier
            assert specifier.operator == "=="
            versions[name] = specifier.version
    return versions


def requirements(*extras: str) -> list[str]:
    """The ranges of pyproject.toml: the base and the given extras, by default all."""
    tomllib = pytest.importorskip("tomllib")  # from Python 3.11
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    optional = project["optional-dependencies"]
    return [*project["dependencies"], *(x for name in extras or optional for x in optional[name])]


@pytest.mark.parametrize(("path", "python"), [(LOCK, x) for x in PYTHONS] + [(LOWEST, "3.11")])
def test_a_lock_meets_every_range(path: Path, python: str) -> None:
    versions = locked(path, python)
    for text in [*requirements(*(LOWEST_EXTRAS if path == LOWEST else ())), *REQUIREMENTS]:
        wanted = Requirement(text)
        if wanted.marker is None or wanted.marker.evaluate({"python_version": python}):
            version = versions[canonicalize_name(wanted.name)]
            assert wanted.specifier.contains(Version(version)), (wanted, version)


def test_the_lowest_lock_has_the_lower_bounds() -> None:
    versions = locked(LOWEST, "3.11")
    bounds = {
        canonicalize_name(requirement.name): part.version
        for requirement in map(Requirement, requirements("full"))
        for part in requirement.specifier
        if part.operator == ">="
    }
    for name in ("torch", "torchvision", "timm", "open-clip-torch", "tabulate", "scipy"):
        assert Version(versions[name]).release[:2] == Version(bounds[name]).release[:2]


def test_lock_has_the_versions_that_the_issue_names() -> None:
    for python in PYTHONS:
        versions = locked(LOCK, python)
        assert (versions["torch"], versions["torchvision"]) == ("2.14.1", "0.29.1")
        assert versions["panopticapi-lite"] == "0.2.0"  # although its metadata exclude 3.13
    assert Version(locked(LOCK, "3.12")["numpy"]) < Version("2")
    assert Version(locked(LOCK, "3.13")["numpy"]) > Version("2")


@pytest.mark.parametrize("path", [LOCK, LOWEST])
def test_every_line_has_a_hash_and_names_no_host(path: Path) -> None:
    for block in blocks(path):
        assert "--hash=sha256:" in block
        assert "://" not in block
        assert " @ " not in block


def test_uv_sees_the_present_versions_and_what_no_file_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.lock").write_text("a==1\n")

    def run(command: list[str], **options: str) -> subprocess.CompletedProcess[str]:
        path = Path(command[-1])
        assert path.read_text() == "a==1\n"
        assert options["input"].splitlines()[-1] == "panopticapi-lite==0.2.0"
        assert "--generate-hashes" in command
        path.write_text("a==2 \\\n    --hash=sha256:00\n")
        return subprocess.CompletedProcess(command, returncode=0)

    monkeypatch.setattr(subprocess, "run", run)
    lock_requirements.lock(tmp_path / "a.lock", "", [])
    header, _, rest = (tmp_path / "a.lock").read_text().partition("lock_requirements.py.\n")
    assert header.startswith("# Exact versions")
    assert rest == "a==2 \\\n    --hash=sha256:00\n"


def test_a_failure_of_uv_keeps_the_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.lock").write_text("a==1\n")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ValueError, match="uv is not on the PATH; pip install uv"):
        lock_requirements.lock(tmp_path / "a.lock", "", [])
    uv = tmp_path / "uv"
    uv.write_text("#!/bin/sh\nexit 1\n")
    uv.chmod(0o755)
    with pytest.raises(ValueError, match="uv found no solution"):
        lock_requirements.lock(tmp_path / "a.lock", "", [])
    assert (tmp_path / "a.lock").read_text() == "a==1\n"
