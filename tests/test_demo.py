"""The command line of the demo, with a stand-in for the model (the real one: test_quickstart)."""

import importlib.util
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from frozenseg import cli
from frozenseg.engine import predictor as predictor_module
from frozenseg.engine.predictor import Predictor
from frozenseg.vocab import Vocabulary

SCRIPT = Path(__file__).parents[1] / "demo" / "demo.py"
CONFIG = Path(__file__).parents[1] / "configs" / "quickstart" / "shapes_fcclip.yaml"


class OneSegmentModel(nn.Module):
    """Everything is the first word."""

    vocabulary = Vocabulary.parse("thing; other")

    def set_vocabulary(self, vocabulary):
        self.vocabulary = vocabulary

    def forward(self, batch):
        size = batch[0]["height"], batch[0]["width"]
        info = [{"id": 1, "isthing": True, "category_id": 0}]
        return [{"panoptic_seg": (torch.ones(size, dtype=torch.int32), info)}]


@pytest.fixture
def demo(monkeypatch):
    """Runs the script in this process with a stand-in model; gives its exit code."""
    spec = importlib.util.spec_from_file_location("demo_under_test", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(
        predictor_module,
        "build_predictor",
        lambda cfg, *, task, **_: (Predictor(OneSegmentModel(), task=task), None),
    )

    def call(*words):
        with pytest.raises(SystemExit) as ended:
            cli.run(module.main, module.build_parser().parse_args([str(word) for word in words]))
        return ended.value.code

    return call


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, color in (("a.png", "red"), ("b.jpg", "blue")):
        Image.new("RGB", (48, 32), color).save(folder / name)
    return folder


def test_writes_pictures_label_maps_and_json(demo, photos, tmp_path, capsys):
    code = demo(
        "--config-file", CONFIG, "--input", photos, "--output", tmp_path / "out", "--device", "cpu",
        "--vocabulary", "rose, red rose; sky:stuff",
    )  # fmt: skip
    assert code == 0
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    kinds = (".json", "_labels.png", "_overlay.png", "_sheet.png")
    assert names == [stem + kind for stem in "ab" for kind in kinds]
    content = json.loads((tmp_path / "out" / "a.json").read_text())
    assert [s["category_name"] for s in content["segments"]] == ["rose"]
    assert content["segments"][0]["area"] == 48 * 32
    assert [word["name"] for word in content["vocabulary"]] == ["rose", "sky"]
    assert content["image"] == str(photos / "a.png")
    assert content["model"]["config_file"] == str(CONFIG)
    assert (np.asarray(Image.open(tmp_path / "out" / "a_labels.png")) == 1).all()
    output = capsys.readouterr().out
    assert "2 of 2 images" in output
    assert "random" in output  # no weights were given


def test_bad_files_are_named_skipped_and_counted(demo, photos, tmp_path, capsys):
    (photos / "empty.png").write_bytes(b"")
    (photos / "text.jpg").write_text("no image")
    code = demo(
        "--config-file", CONFIG, "--output", tmp_path / "out", "--device", "cpu",
        "--input", photos, tmp_path / "missing.png",
    )  # fmt: skip
    assert code == 1
    output, errors = capsys.readouterr()
    skipped = [line for line in errors.splitlines() if line.startswith("skipped")]
    assert len(skipped) == 3
    for name, line in zip(("missing.png", "empty.png", "text.jpg"), skipped, strict=True):
        assert name in line
    assert "2 of 5 images" in output
    assert (tmp_path / "out" / "a.json").is_file()
    assert (tmp_path / "out" / "b.json").is_file()


def test_same_names_do_not_overwrite_each_other(demo, photos, tmp_path):
    Image.new("RGB", (8, 8)).save(photos / "a.bmp")
    assert demo("--config-file", CONFIG, "--input", photos, "--output", tmp_path / "out") == 0
    images = {json.loads(path.read_text())["image"] for path in (tmp_path / "out").glob("*.json")}
    assert images == {str(photos / name) for name in ("a.bmp", "a.png", "b.jpg")}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--input", "{tmp}/nothing*.png"], "no image file found"),
        (["--input", "{photos}", "--vocabulary", " ; "], "empty"),
        (["--input", "{photos}", "--vocabulary", "{tmp}/no.txt"], "no.txt"),
        (["--input", "{photos}", "--opts", "MODEL.WHEIGHTS", "x"], "MODEL.WEIGHTS"),
        (["--input", "{photos}", "--device", "abacus"], "abacus"),
        (["--input", "{photos}", "--task", "semantic", "--score-threshold", "0.5"], "semantic"),
        (["--input", "{photos}", "--output", "{photos}"], "choose another"),
        (["--input", "{photos}", "--config-file", "{tmp}/no.yaml"], "no.yaml"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(demo, photos, tmp_path, capsys, words, message):
    words = [word.format(tmp=tmp_path, photos=photos) for word in words]
    assert demo("--config-file", CONFIG, "--output", tmp_path / "out", *words) == 2
    errors = capsys.readouterr().err.strip().splitlines()
    assert len(errors) == 1
    assert errors[0].startswith("error: ")
    assert message in errors[0]


@pytest.mark.parametrize("value", ["1.5", "-0.1", "high", "nan"])
def test_score_threshold_is_a_probability(demo, photos, capsys, value):
    code = demo("--config-file", CONFIG, "--input", photos, f"--score-threshold={value}")
    assert code == 2
    assert "--score-threshold" in capsys.readouterr().err


def test_help_needs_no_torch_and_no_working_directory(tmp_path):
    check = (
        "import runpy, sys\n"
        f"sys.argv = ['demo.py', '--help']\n"
        "try:\n"
        f"    runpy.run_path({str(SCRIPT)!r}, run_name='__main__')\n"
        "except SystemExit as ended:\n"
        "    heavy = {'torch', 'detectron2', 'numpy'} & set(sys.modules)\n"
        "    sys.exit(ended.code or ', '.join(heavy) or 0)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", check], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "--vocabulary" in done.stdout
