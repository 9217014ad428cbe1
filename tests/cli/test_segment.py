"""The command line of the demo over images, with a stand-in for the model.

The real one: test_demo_videos.py and the quickstart's test.
"""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from frozenseg.cli.main import main
from frozenseg.predict import segmenter as segmenter_module
from frozenseg.predict.predictor import Predictor
from frozenseg.vocab import Vocabulary

SCRIPT = Path(__file__).parents[2] / "demo" / "demo.py"
CONFIG = Path(__file__).parents[1] / "shapes_fcclip.yaml"
MODEL = ("--config-file", CONFIG, "--weights", "")


class OneSegmentModel(nn.Module):
    """Everything is the first word; remembers how many images came together."""

    vocabulary = Vocabulary.parse("thing; other")

    def __init__(self):
        super().__init__()
        self.batches = []

    def set_vocabulary(self, vocabulary):
        self.vocabulary = vocabulary

    def forward(self, batch):
        self.batches.append(len(batch))
        info = [{"id": 1, "isthing": True, "category_id": 0, "score": 0.5}]
        sizes = [(each["height"], each["width"]) for each in batch]
        return [{"panoptic_seg": (torch.ones(size, dtype=torch.int32), info)} for size in sizes]


@pytest.fixture
def model():
    return OneSegmentModel()


@pytest.fixture
def demo(monkeypatch, model):
    """Runs the script in this process with a stand-in model; gives its exit code."""
    monkeypatch.setattr(
        segmenter_module,
        "build_predictor",
        lambda cfg, *, task, **_: (
            Predictor(model, task=task or "panoptic", shortest_edge=32),
            None,
        ),
    )

    def call(*words):
        with pytest.raises(SystemExit) as ended:
            main(["segment", *map(str, words)])
        return ended.value.code

    return call


@pytest.fixture
def photos(tmp_path):
    folder = tmp_path / "photos"
    folder.mkdir()
    for name, color in (("a.png", "red"), ("b.jpg", "blue")):
        Image.new("RGB", (48, 32), color).save(folder / name)
    return folder


def test_writes_pictures_label_maps_and_json(demo, photos, tmp_path, capsys, caplog):
    code = demo(
        *MODEL, "--input", photos, "--output", tmp_path / "out", "--device", "cpu",
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
    assert content["model"]["name"] == str(CONFIG)
    assert (np.asarray(Image.open(tmp_path / "out" / "a_labels.png")) == 1).all()
    assert "2 of 2 images" in capsys.readouterr().out
    assert "random" in caplog.text  # no weights were given


def test_bad_files_are_named_skipped_and_counted(demo, photos, tmp_path, capsys):
    (photos / "empty.png").write_bytes(b"")
    (photos / "text.jpg").write_text("no image")
    code = demo(
        *MODEL, "--output", tmp_path / "out", "--device", "cpu",
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
    assert demo(*MODEL, "--input", photos, "--output", tmp_path / "out") == 0
    images = {json.loads(path.read_text())["image"] for path in (tmp_path / "out").glob("*.json")}
    assert images == {str(photos / name) for name in ("a.bmp", "a.png", "b.jpg")}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "give --input PATH or --webcam"),
        (["--input", "{tmp}/nothing*.png"], "no image or video file found"),
        (["--input", "{photos}", "--vocabulary", " ; "], "empty"),
        (["--input", "{photos}", "--vocabulary", "{tmp}/no.txt"], "no.txt"),
        (["--input", "{photos}", "--opts", "MODEL.WHEIGHTS", "x"], "MODEL.WEIGHTS"),
        (["--input", "{photos}", "--device", "abacus"], "abacus"),
        (["--input", "{photos}", "--task", "semantic", "--score-threshold", "0.5"], "semantic"),
        (["--input", "{photos}", "--output", "{photos}"], "choose another"),
        (["--input", "{photos}", "--output", "{photos}/a.png"], "a.png is a file: name a folder"),
        (["--input", "{photos}", "--config-file", "{tmp}/no.yaml"], "no.yaml"),
        (["--input", "{photos}", "--background", "thing"], "'thing' is a word of the vocabulary"),
        (["--webcam", "--write", "sheet"], "a video has only overlay and json"),
    ],
)
def test_mistakes_are_one_line_and_exit_code_2(demo, photos, tmp_path, capsys, words, message):
    words = [word.format(tmp=tmp_path, photos=photos) for word in words]
    assert demo(*MODEL, "--output", tmp_path / "out", *words) == 2
    errors = capsys.readouterr().err.strip().splitlines()
    assert len(errors) == 1
    assert errors[0].startswith("error: ")
    assert message in errors[0]


def names_in(folder):
    return sorted(path.name for path in folder.iterdir())


def test_only_what_is_wanted_is_written(demo, photos, tmp_path):
    assert demo(*MODEL, "--input", photos, "--output", tmp_path, "--write", "labels", "json") == 0
    assert names_in(tmp_path) == ["a.json", "a_labels.png", "b.json", "b_labels.png", "photos"]


@pytest.mark.slow
def test_the_same_command_again_does_only_what_is_not_done(demo, model, photos, tmp_path, capsys):
    command = (*MODEL, "--input", photos, "--output", tmp_path / "out")

    def segmented(*more):
        model.batches.clear()
        assert demo(*command, *more) == 0
        return sum(model.batches)

    assert segmented() == 2
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    assert segmented() == 0
    assert "0 of 2 images segmented, 2 there already" in capsys.readouterr().out
    assert before == {path: path.stat().st_mtime_ns for path in (tmp_path / "out").iterdir()}
    Image.new("RGB", (40, 40)).save(photos / "c.png")
    assert segmented() == 1  # a new image
    (tmp_path / "out" / "a_sheet.png").unlink()
    assert segmented() == 1  # a result is missing
    (tmp_path / "out" / "a.json").write_text("{")
    assert segmented() == 1  # its record cannot be read
    Image.new("RGB", (50, 40)).save(photos / "b.jpg")
    assert segmented() == 1  # another image of this name
    assert segmented("--vocabulary", "thing; more") == 3
    assert segmented("--vocabulary", "thing; more") == 0
    assert segmented("--vocabulary", "thing; more", "--background", "rest") == 3
    assert segmented("--opts", "SEED", "7") == 3  # another config
    assert segmented("--opts", "SEED", "7", "--overwrite") == 3
    assert segmented("--opts", "SEED", "7", "--write", "overlay") == 3  # nothing tells


@pytest.mark.slow
def test_files_of_other_words_are_not_taken_for_those_of_the_record(demo, model, photos, tmp_path):
    one = ("--vocabulary", "thing; other")
    other = ("--vocabulary", "other; thing")
    command = (*MODEL, "--input", photos, "--output", tmp_path / "out")

    def segmented(*more):
        model.batches.clear()
        assert demo(*command, *more) == 0
        return sum(model.batches)

    assert segmented(*one) == 2
    assert segmented(*other, "--write", "json") == 2
    assert segmented(*other) == 2  # the pictures beside its records were those of `one`
    assert segmented(*other) == 0
    assert segmented(*one, "--write", "overlay") == 2
    assert segmented(*other) == 2  # the overlays were drawn again after its records


def test_images_of_one_size_go_through_the_model_together(demo, model, photos, tmp_path):
    for number, size in enumerate([(48, 32), (20, 20), (48, 32), (20, 20), (20, 20)]):
        Image.new("RGB", size, "red").save(photos / f"c{number}.png")
    out = tmp_path / "out"
    assert demo(*MODEL, "--input", photos, "--output", out, "--batch-size", "3") == 0
    assert sorted(model.batches) == [1, 3, 3]
    for path in photos.iterdir():
        with Image.open(path) as image, Image.open(out / f"{path.stem}_labels.png") as labels:
            assert labels.size == image.size
        assert json.loads((out / f"{path.stem}.json").read_text())["image"] == str(path)


def test_few_images_wait_for_others_of_their_size(demo, model, photos, tmp_path):
    for number in range(20):
        Image.new("RGB", (20 + number, 20), "red").save(photos / f"c{number:02}.png")
    waiting = []
    forward = model.forward
    model.forward = lambda batch: waiting.append(len(names_in(tmp_path / "out"))) or forward(batch)
    (tmp_path / "out").mkdir()
    command = (*MODEL, "--input", photos, "--output", tmp_path / "out", "--write", "json")
    assert demo(*command, "--batch-size", "3") == 0
    assert waiting == sorted(waiting)
    assert len(names_in(tmp_path / "out")) == 22


def test_ctrl_c_keeps_what_is_done_and_the_same_command_goes_on(demo, model, photos, tmp_path):
    forward = model.forward

    def interrupted(batch):
        if model.batches:
            raise KeyboardInterrupt
        return forward(batch)

    model.forward = interrupted
    command = (*MODEL, "--input", photos, "--output", tmp_path / "out", "--write", "json")
    assert demo(*command) == 130
    assert names_in(tmp_path / "out") == ["a.json"]
    model.forward = forward
    assert demo(*command) == 0
    assert names_in(tmp_path / "out") == ["a.json", "b.json"]
    assert model.batches == [1, 1]


@pytest.mark.parametrize(
    "words", [("--every", "0"), ("--batch-size", "-1"), ("--max-frames", "x"), ("--webcam", "-1")]
)
def test_numbers_have_a_range(demo, photos, capsys, words):
    assert demo(*MODEL, "--input", photos, *words) == 2
    assert words[0] in capsys.readouterr().err


def test_a_model_has_one_name(demo, photos, capsys):
    assert demo(*MODEL, "--model", "miniature-fcclip", "--input", photos) == 2
    assert "not allowed with" in capsys.readouterr().err


@pytest.mark.parametrize("value", ["1.5", "-0.1", "high", "nan"])
def test_score_threshold_is_a_probability(demo, photos, capsys, value):
    code = demo(*MODEL, "--input", photos, f"--score-threshold={value}")
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


def test_an_input_is_never_overwritten_by_a_result(demo, photos, capsys):
    first = next(iter(photos.glob("a.*")))
    (photos / "a_overlay.png").write_bytes(first.read_bytes())
    command = (*MODEL, "--input", first, photos / "a_overlay.png", "--output", photos)
    assert demo(*command) == 2
    assert "a_overlay.png would be overwritten" in capsys.readouterr().err
