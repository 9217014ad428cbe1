"""datasets/prepare_miniature.py: two kinds of files, each with its own sizes."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "datasets/prepare_miniature.py"


def run(*words):
    command = [sys.executable, str(SCRIPT), *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_folds_are_written_beside_the_other_files(tmp_path):
    result = run("--folds", "--root", tmp_path, "--train", 1, "--val", 2, "--mosaics", 1)
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"{tmp_path}: 1 train, 2 val, 1 mosaics\n"
    assert {path.name for path in tmp_path.iterdir()} == {"miniature_folds", "miniature_mosaic_4"}
    index = json.loads((tmp_path / "miniature_folds/val.json").read_text())
    assert [entry["image"] for entry in index["images"]] == [
        "miniature_folds/val/000000.jpg",
        "miniature_folds/val/000001.jpg",
    ]


@pytest.mark.slow
def test_the_novel_split_is_written_beside_the_other(tmp_path):
    result = run("--novel", "--root", tmp_path, "--train", 1, "--dev", 0, "--val", 1)
    assert result.returncode == 0, result.stderr
    assert result.stdout == f"{tmp_path}/miniature_novel: 1 train, 0 dev, 1 val\n"
    assert (tmp_path / "miniature_novel/panoptic_train/000000.png").is_file()


@pytest.mark.slow
def test_folds_of_novel_shapes_have_training_scenes_of_their_own(tmp_path):
    result = run("--folds", "--novel", "--root", tmp_path, "--train", 1, "--val", 0, "--mosaics", 0)
    assert result.returncode == 0, result.stderr
    found = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*.json")}
    novel = {f"miniature_novel_folds/fold{i}_train.json" for i in range(4)}
    assert found == {"miniature_folds/train.json"} | novel


@pytest.mark.slow
def test_sizes_of_the_other_kind_are_refused(tmp_path):
    for words, option in (
        (("--mosaics", 1), "--mosaics is used with --folds only"),
        (("--folds", "--dev", 1), "--dev is used without --folds only"),
    ):
        result = run("--root", tmp_path, *words)
        assert result.returncode == 2
        assert option in result.stderr
    assert list(tmp_path.iterdir()) == []
