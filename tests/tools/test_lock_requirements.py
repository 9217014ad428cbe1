"""The lock file fits the ranges, for every Python; and how it is merged."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from frozenseg.detectron2_setup.repack import REQUIREMENTS
from tools import lock_requirements

ROOT = Path(__file__).resolve().parents[2]
PYTHONS = ("3.10", "3.11", "3.12", "3.13")


def read(path: Path) -> list[Requirement]:
    """The requirement lines of a file."""
    lines = [line.split("#")[0].strip() for line in path.read_text().splitlines()]
    return [Requirement(line) for line in lines if line]


def locked(python: str) -> dict[str, str]:
    """The versions, by canonical name, that a Python on Linux installs."""
    environment = {"python_version": python, "sys_platform": "linux"}
    versions: dict[str, str] = {}
    for requirement in read(ROOT / "requirements.lock"):
        if requirement.marker is None or requirement.marker.evaluate(environment):
            name = canonicalize_name(requirement.name)
            assert name not in versions, f"{name} stands twice for Python {python}"
            (specifier,) = requirement.specifier
            assert specifier.operator == "=="
            versions[name] = specifier.version
    return versions


@pytest.mark.parametrize("python", PYTHONS)
def test_lock_meets_every_range(python: str) -> None:
    versions = locked(python)
    wanted = read(ROOT / "requirements.txt")
    wanted += [Requirement(x) for x in (*REQUIREMENTS, *lock_requirements.extra_requirements())]
    for requirement in wanted:
        version = versions[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(Version(version)), (requirement, version)


def test_lock_has_the_versions_that_the_issue_names() -> None:
    for python in PYTHONS:
        versions = locked(python)
        assert (versions["torch"], versions["torchvision"]) == ("2.14.1", "0.29.1")
    assert Version(locked("3.12")["numpy"]) < Version("2") < Version(locked("3.13")["numpy"])


def test_lock_names_no_host_and_no_folder() -> None:
    for requirement in read(ROOT / "requirements.lock"):
        assert requirement.url is None
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    assert not [line for line in lines if line.startswith("-") or "://" in line or " /" in line]


def test_equal_versions_give_one_line_and_others_markers() -> None:
    resolved = {
        "3.9": {"a": "1", "b": "1", "old": "3"},
        "3.10": {"a": "1", "b": "2", "triton": "7"},
        "3.11": {"a": "1", "b": "2", "triton": "7"},
    }
    assert lock_requirements.merge(resolved) == [
        "a==1",
        'b==1; python_version < "3.10"',
        'b==2; python_version >= "3.10"',
        'old==3; python_version < "3.10"',
        'triton==7; sys_platform == "linux" and python_version >= "3.10"',
    ]


def test_package_whose_metadata_exclude_a_python_is_for_all() -> None:
    (name,) = lock_requirements.DESPITE_METADATA
    assert lock_requirements.merge({"3.12": {name: "1"}, "3.13": {}}) == [f"{name}==1"]


def test_middle_and_split_ranges_of_pythons() -> None:
    conditions = lock_requirements.python_conditions
    assert conditions(["3.11"], ["3.10", "3.11", "3.12"]) == [
        'python_version >= "3.11"',
        'python_version < "3.12"',
    ]
    with pytest.raises(ValueError, match="write it by hand"):
        conditions(["3.10", "3.12"], ["3.10", "3.11", "3.12"])


def test_interpreter_that_does_not_run_is_named() -> None:
    major, minor = sys.version_info[:2]
    assert lock_requirements.python_version(sys.executable) == f"{major}.{minor}"
    with pytest.raises(ValueError, match="/nowhere/python is not a Python that runs"):
        lock_requirements.python_version("/nowhere/python")
