"""What the installer keeps, replaces and says, with stand-ins for the download and pip."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from frozenseg.cli import setup_detectron2
from frozenseg.cli.main import parser_of
from frozenseg.detectron2_setup import fetch, repack

ORIGIN = {"url": "https://example.org/d2.git", "commit": "0123456789abcdef"}


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Replaces the parts of the installer that change the environment; their calls are noted."""
    called: list[str] = []

    def build_wheel(wheel: Path) -> None:
        called.append("build")
        wheel.parent.mkdir(parents=True, exist_ok=True)
        wheel.write_bytes(b"packed")

    monkeypatch.setattr(setup_detectron2, "build_wheel", build_wheel)
    monkeypatch.setattr(setup_detectron2, "install", lambda wheel: called.append("install"))
    return called


def answer(
    monkeypatch: pytest.MonkeyPatch, problem: str = "", wheel: str = "", ops: str = "some"
) -> None:
    """Makes the probe of the environment give this answer."""
    facts = {"version": "0.6", "path": "/somewhere", "ops": ops, "wheel": wheel, **ORIGIN}
    monkeypatch.setattr(
        setup_detectron2, "probe", lambda modules: ({}, problem) if problem else (facts, "")
    )


def call_main(tmp_path: Path, *options: str) -> None:
    setup_detectron2.main(
        parser_of("setup detectron2").parse_args(["--wheel-dir", str(tmp_path), *options])
    )


def test_keeps_what_can_be_imported_and_says_which(
    monkeypatch: pytest.MonkeyPatch,
    steps: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    answer(monkeypatch, ops="with compiled ops")
    call_main(tmp_path)
    assert steps == []
    assert (
        "keeping version 0.6, another build than this project's wheel from "
        "https://example.org/d2.git at 0123456789 (with compiled ops) in /somewhere"
    ) in capsys.readouterr().out
    call_main(tmp_path, "--force")
    assert steps == ["build", "install"]
    call_main(tmp_path, "--force")
    assert steps == ["build", "install", "install"]  # the wheel was kept


def test_its_own_wheel_is_named_as_such(
    monkeypatch: pytest.MonkeyPatch,
    steps: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    answer(monkeypatch, wheel=f"Generator: {repack.GENERATOR}\nBuild: {repack.build_tag()}\n")
    call_main(tmp_path)
    assert steps == []
    assert "keeping version 0.6, this project's wheel (some) in" in capsys.readouterr().out


@pytest.mark.parametrize("what", ["wheel", "record", "no record"])
def test_a_cached_wheel_that_is_not_as_it_was_packed_is_packed_again(
    monkeypatch: pytest.MonkeyPatch,
    steps: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    what: str,
) -> None:
    answer(monkeypatch)
    call_main(tmp_path, "--force")
    wheel = tmp_path / repack.wheel_name()
    note = wheel.with_name(f"{wheel.name}.sha256")
    if what == "no record":
        note.unlink()
    else:
        (wheel if what == "wheel" else note).write_bytes(b"other")
    call_main(tmp_path, "--force")
    assert steps == ["build", "install"] * 2
    assert wheel.read_bytes() == b"packed"
    assert "is not as it was packed; packing it again" in capsys.readouterr().out


def test_replaces_its_own_older_wheel(
    monkeypatch: pytest.MonkeyPatch, steps: list[str], tmp_path: Path
) -> None:
    answer(monkeypatch, wheel=f"Generator: {repack.GENERATOR}\nBuild: 1older\n")
    call_main(tmp_path)
    assert steps == ["build", "install"]


def test_replaces_one_that_fails_and_stops_if_its_own_does(
    monkeypatch: pytest.MonkeyPatch,
    steps: list[str],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    answer(monkeypatch, problem="ImportError: libfoo.so")
    with pytest.raises(fetch.InstallError, match="cannot be imported: ImportError: libfoo"):
        call_main(tmp_path)
    assert steps == ["build", "install"]
    assert "cannot be imported (ImportError: libfoo.so); replacing it" in capsys.readouterr().out


@pytest.mark.slow
def test_probe_reports_the_package_that_python_would_import(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    package = tmp_path / "detectron2"
    package.mkdir()
    (package / "__init__.py").write_text("__version__ = '0.7'")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    facts, problem = setup_detectron2.probe(("detectron2",))
    assert problem == ""
    assert (facts["version"], facts["path"]) == ("0.7", str(package))
    facts, problem = setup_detectron2.probe(("detectron2.absent",))
    assert facts == {}
    assert problem == "ModuleNotFoundError: No module named 'detectron2.absent'"


@pytest.mark.parametrize("missing", ["torch", "setuptools"])
def test_what_the_sources_need_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, missing: str
) -> None:
    def find_spec(name: str) -> object:
        return None if name == missing else object()

    monkeypatch.setattr(setup_detectron2.importlib.util, "find_spec", find_spec)
    with pytest.raises(fetch.InstallError, match=rf"{missing} is not installed.*frozenseg\[full\]"):
        setup_detectron2.build_wheel(tmp_path / "x.whl")


@pytest.mark.slow
@pytest.mark.parametrize("script", ["install_detectron2.py", "lock_requirements.py"])
def test_help_works_anywhere_and_without_torch(tmp_path: Path, script: str) -> None:
    path = Path(__file__).resolve().parents[2] / "tools" / script
    result = subprocess.run(
        [sys.executable, "-X", "importtime", str(path), "--help"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert "--debug" in result.stdout
    assert "frozenseg.cli" in result.stderr
    assert "| torch" not in result.stderr
