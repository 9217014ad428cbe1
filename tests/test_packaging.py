"""The wheel has all modules and data files of the package, and imports without the checkout."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
BUILD_INPUTS = ("pyproject.toml", "setup.py", "README.md", "LICENSE")


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel built from a copy of what is needed, since building leaves files in the sources."""
    source = tmp_path_factory.mktemp("source")
    for name in BUILD_INPUTS:
        shutil.copy(ROOT / name, source / name)
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("frozenseg", "configs"):
        shutil.copytree(ROOT / name, source / name, ignore=ignored)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    command += ["--no-index", "--disable-pip-version-check", "--wheel-dir", str(source / "wheels")]
    result = subprocess.run([*command, str(source)], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    (built,) = (source / "wheels").iterdir()
    return built


def test_wheel_has_every_file_of_the_package(wheel: Path) -> None:
    expected = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "frozenseg").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts and not path.name.startswith(".")
    }
    configs = [path for path in (ROOT / "configs").rglob("*") if path.is_file()]
    expected |= {f"frozenseg/{path.relative_to(ROOT).as_posix()}" for path in configs}
    packed = set(zipfile.ZipFile(wheel).namelist())
    assert expected - packed == set()
    others = {name for name in packed - expected if ".dist-info/" not in name}
    assert others == set()  # no tests, tools or demo at the top level of site-packages


def test_wheel_imports_and_reads_its_data(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "import frozenseg\n"
        "from frozenseg.vocab.vocabulary import Vocabulary\n"
        "print(frozenseg.__file__, len(Vocabulary.from_table('ade20k_150')))\n"
    )
    output = subprocess.check_output([sys.executable, "-c", code], text=True, cwd=tmp_path)
    assert output.split() == [str(tmp_path / "frozenseg/__init__.py"), "150"]


def test_models_of_the_wheel_have_their_configs(wheel: Path, tmp_path: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from frozenseg.checkpoints.named_models import model_config\n"
        "cfg, weights = model_config('miniature-fcclip')\n"
        "clip = cfg.MODEL.FC_CLIP\n"
        "print(weights, clip.CLIP_PRETRAINED_WEIGHTS, clip.CLIP_MODEL_NAME)\n"
    )
    output = subprocess.check_output([sys.executable, "-c", code], text=True, cwd=tmp_path)
    paths = [Path(word) for word in output.split()[-3:]]
    assert all(path.is_file() and tmp_path in path.parents for path in paths)


def test_every_miniature_config_of_the_wheel_names_weights_that_are_there(
    wheel: Path, tmp_path: Path
) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    names = sorted(path.name for path in (ROOT / "configs/miniature").glob("*.yaml"))
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from frozenseg.config import load_config\n"
        f"for name in {names}:\n"
        "    print(load_config(f'miniature/{name}').dump())\n"
    )
    output = subprocess.check_output([sys.executable, "-c", code], text=True, cwd=tmp_path)
    weights = [word for word in output.split() if word.endswith(".safetensors")]
    assert len(weights) >= len(names)
    assert [path for path in weights if not Path(path).is_absolute()] == []
    assert all(tmp_path in Path(path).parents and Path(path).is_file() for path in weights)


def test_an_installed_package_segments_its_sample_and_prepares_data(
    wheel: Path, tmp_path: Path
) -> None:
    """In an empty folder, with nothing of the checkout."""
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "site")
    empty = tmp_path / "empty"
    empty.mkdir()
    environment = {**os.environ, "PYTHONPATH": str(tmp_path / "site")}

    def run(*words: str) -> str:
        command = [sys.executable, "-W", "ignore", *words]
        done = subprocess.run(command, cwd=empty, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run(
        "-c",
        "import frozenseg\n"
        "found = frozenseg.segment(frozenseg.sample_image(), 'purple heart; sand:stuff')\n"
        "found.save('scene.jpg')",
    )
    assert (empty / "scene.jpg").stat().st_size > 1000
    sizes = ["--train", "0", "--dev", "0", "--val", "1"]
    run("-m", "frozenseg", "data", "prepare", "miniature", "--root", "data", *sizes)
    assert "in order" in run(
        *("-m", "frozenseg", "data", "verify", "miniature_val_panoptic", "--subset"),
        *("--root", "data"),
    )
