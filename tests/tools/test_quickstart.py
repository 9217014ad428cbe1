"""The quickstart: its plan, its failures, and the whole way with 4 iterations."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tools import quickstart

SCRIPT = Path(quickstart.__file__)


def run(*words, cwd, timeout=300):
    return subprocess.run(
        [sys.executable, str(SCRIPT), *words],
        cwd=cwd,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A fast run from another working directory: (its folder, what it printed)."""
    folder = tmp_path_factory.mktemp("quickstart")
    photo = folder / "photo.png"
    pixels = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(photo)
    words = ("--fast", "--output", "out", "--photos", str(photo), "--words", "roof; sky:stuff")
    done = run(*words, cwd=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder / "out", done.stdout


def test_every_step_leaves_its_results(finished):
    folder, _ = finished
    for path in (
        "datasets/shapes/panoptic_train.json",
        "training/model_final.pth",
        "training/results.json",
        "evaluation/results.json",
        "shapes/000000_sheet.png",
        "photographs/photo_overlay.png",
        "photographs/photo_labels.png",
    ):
        assert (folder / path).is_file(), path


def test_demo_used_the_trained_weights_and_the_words(finished):
    folder, _ = finished
    content = json.loads((folder / "photographs" / "photo.json").read_text())
    assert [word["name"] for word in content["vocabulary"]] == ["roof", "sky"]
    assert content["model"]["weights"] == str(folder / "training" / "model_final.pth")
    assert content["image_size"] == {"height": 48, "width": 64}
    shapes = json.loads((folder / "shapes" / "000000.json").read_text())
    assert len(shapes["vocabulary"]) == 11  # the words of the validation set


def test_checkpoint_scores_are_those_after_training(finished):
    folder, output = finished
    assert quickstart.scores(folder / "training") == quickstart.scores(folder / "evaluation")
    assert "PQ" in output
    assert "mIoU" in output
    assert "words mean nothing" in output


def test_other_scores_from_the_checkpoint_are_an_error(tmp_path, monkeypatch):
    values = {"training": {"PQ": 20.0, "mIoU": 30.0}, "evaluation": {"PQ": 21.0, "mIoU": 30.0}}
    monkeypatch.setattr(quickstart, "scores", lambda folder: values[folder.name])
    with pytest.raises(ValueError, match=r"PQ was 20.0000 .* but 21.0000"):
        quickstart.report(tmp_path, 60)


def test_a_failing_step_stops_with_its_name_and_code(monkeypatch, capsys):
    ran = []

    def fail_in_training(step, position, variables):
        ran.append(step.name)
        failing = step._replace(words=("-c", "raise SystemExit(7)")) if len(ran) == 2 else None
        monkeypatch.setattr(quickstart, "ROOT", Path())
        return original(failing, position, variables) if failing else 0

    original = quickstart.run_step
    monkeypatch.setattr(quickstart, "run_step", fail_in_training)
    monkeypatch.setattr(quickstart, "report", lambda *_: ran.append("report"))
    args = quickstart.build_parser().parse_args(["--fast", "--photos", "x.png", "--output", "."])
    assert quickstart.main(args) == 7
    assert ran == ["data", "training"]
    assert "step 'training' failed with exit code 7" in capsys.readouterr().err


def test_missing_photographs_are_an_error_before_anything_runs(monkeypatch):
    monkeypatch.setattr(quickstart.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(FileNotFoundError, match="--photos"):
        quickstart.sample_photos()


def test_sample_photographs_are_found_without_importing_scikit_learn():
    pytest.importorskip("sklearn")
    assert all(Path(path).is_file() for path in quickstart.sample_photos())


def test_help_needs_no_torch(tmp_path):
    done = run("--help", cwd=tmp_path)
    assert done.returncode == 0
    assert "--photos" in done.stdout
