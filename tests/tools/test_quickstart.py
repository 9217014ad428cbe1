"""The quickstart: its plan, its failures, and the whole way with 4 iterations."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from frozenseg.data.miniature.classes import ALL, CLASSES
from frozenseg.visualization.plots import read_losses
from tools import quickstart

pytestmark = pytest.mark.slow

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


def plan(*words):
    args = quickstart.build_parser().parse_args([*words, "--opts", "SEED", "3"])
    return {step.name: step.words for step in quickstart.plan(args, Path("/out"), ["a.jpg"])}


@pytest.mark.parametrize(
    ("model", "section"), [("frozenseg", "MODEL.FROZEN_SEG"), ("fcclip", "MODEL.FC_CLIP")]
)
def test_either_model_is_one_flag_away(model, section):
    words = plan("--model", model)
    config = Path(words["training"][words["training"].index("--config-file") + 1])
    assert config.name == f"{model}.yaml"
    assert config.is_file()
    assert f"{section}.CLASS_ENSEMBLE" in words["without ensemble"]


def test_novel_shapes_are_one_flag_away():
    words = plan("--novel")
    assert words["data"][-1] == "--novel"
    for step in ("training", "without ensemble", "pictures", "photographs"):
        assert str(quickstart.CONFIGS / "novel_frozenseg.yaml") in words[step]
    assert (quickstart.CONFIGS / "novel_frozenseg.yaml").is_file()


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


def test_every_step_leaves_its_results_where_they_are_easy_to_find(finished):
    folder, _ = finished
    for path in (
        "model_final.pth",
        "results.json",
        "metrics.json",
        "curves.png",
        "pictures/000000.png",
        "pictures/000003.png",
        "without_ensemble/results.json",
        "report.html",
        "photographs/photo_overlay.png",
        "datasets/miniature/panoptic_train.json",
    ):
        assert (folder / path).is_file(), path


def test_it_trained_and_scored_all_classes_with_and_without_the_ensemble(finished):
    folder, _ = finished
    assert list(read_losses(folder / "metrics.json")["total_loss"]) == [3]  # the last iteration
    for path, enabled in (("results.json", True), ("without_ensemble/results.json", False)):
        (entry,) = json.loads((folder / path).read_text())["results"]
        assert entry["protocol"]["ensemble"]["enabled"] is enabled
        assert entry["protocol"]["classes"] == len(ALL)
        assert set(entry["metrics"]) == {"panoptic", "instance", "semantic", "regions"}
        unseen = entry["metrics"]["regions"]["unseen"]
        assert {"recall50", "accuracy"} <= set(unseen)


def test_the_report_is_of_both_evaluations(finished):
    folder, _ = finished
    page = (folder / "report.html").read_text()
    assert f"Results: without_ensemble and {folder.name}" in page
    assert (folder / "predictions").is_dir()  # which its pictures need
    assert "Is one of them better?" in page


def test_what_it_prints_at_the_end(finished):
    folder, output = finished
    end = output[output.index("Done in") :]
    assert re.search(r"classes\s*\|\s*PQ\s*\|\s*SQ\s*\|\s*RQ\s*\|\s*AP\s*\|\s*mIoU", end)
    for group in ("all", "seen", "unseen", "unseen things"):
        assert re.search(rf"^\| {group} +\|", end, re.MULTILINE), group
    assert re.search(r"class accuracy.*\|.*\|", end)
    for place in quickstart.PLACES.values():
        assert str(folder / place) in end


def test_demo_used_the_trained_weights_and_the_words(finished):
    folder, _ = finished
    content = json.loads((folder / "photographs" / "photo.json").read_text())
    assert [word["name"] for word in content["vocabulary"]] == ["roof", "sky"]
    assert content["model"]["weights"] == str(folder / "model_final.pth")
    assert content["image_size"] == {"height": 48, "width": 64}


def test_settings_reach_every_step_that_has_a_model_and_the_ensemble_is_off_in_one():
    steps = plan()
    assert list(steps) == [
        *("data", "training", "without ensemble", "report", "pictures", "photographs")
    ]
    for name, words in steps.items():
        assert ("SEED" in words) == (name not in ("data", "report"))
        assert ("MODEL.FROZEN_SEG.CLASS_ENSEMBLE" in words) == (name == "without ensemble")
        assert ("MODEL.MASK_FORMER.TEST.RECALL_ON" in words) == (words[0] == "train_net.py")
    assert "--resume" in plan("--resume")["training"]
    assert "--resume" not in steps["training"]


def test_verify_scores_again_with_the_same_settings():
    steps = plan("--verify")
    again = list(steps["again"])
    off = list(steps["without ensemble"])
    assert off[: -len(("folder", "key", "value"))] == again[: -len(("folder",))]


def test_other_scores_from_the_checkpoint_are_an_error(finished, tmp_path):
    folder, _ = finished
    content = json.loads((folder / "results.json").read_text())
    again = tmp_path / quickstart.AGAIN / "results.json"
    again.parent.mkdir()
    for path in ("results.json", "metrics.json", "without_ensemble"):
        (tmp_path / path).symlink_to(folder / path)
    again.write_text(json.dumps(content))
    quickstart.report(tmp_path, 60, verified=True)
    assert (tmp_path / "curves.png").is_file()
    content["results"][0]["metrics"]["panoptic"]["all"]["PQ"] += 1
    again.write_text(json.dumps(content))
    with pytest.raises(ValueError, match="PQ of all classes was"):
        quickstart.report(tmp_path, 60, verified=True)


def test_a_failing_step_stops_with_its_name_and_code(monkeypatch, capsys):
    ran = []

    def fail_in_training(step, position, variables):
        ran.append(step.name)
        failing = step._replace(words=("-c", "raise SystemExit(7)")) if len(ran) == 2 else None
        monkeypatch.setattr(quickstart, "ROOT", Path())
        return original(failing, position, variables) if failing else 0

    original = quickstart.run_step
    monkeypatch.setattr(quickstart, "run_step", fail_in_training)
    monkeypatch.setattr(quickstart, "report", lambda *_, **__: ran.append("report"))
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


def test_the_miniature_world_has_unseen_things_and_stuff():
    assert {row.is_thing for row in CLASSES if not row.seen} == {True, False}
