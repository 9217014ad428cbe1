"""An exported model gives what the model gives, without torch and detectron2."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import frozenseg
from frozenseg import ExportedSegmenter
from frozenseg.files import environment_of_children

TASKS = ("panoptic", "semantic", "instance")
WORDS = "purple heart; sand, beach:stuff; blue star; red circle"
SIZES = {"its own": (256, 256), "up": (90, 150), "down": (640, 500), "wide": (120, 700)}

# Runs code where an exported model's packages alone can be imported.
WITHOUT = """
import sys
class Nothing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {names}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Nothing())
"""
HEAVY = ["torch", "torchvision", "detectron2", "fvcore", "open_clip", "timm", "transformers"]
DRAWING = ["cv2", "scipy", "matplotlib"]


def run_without(names: list[str], code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", WITHOUT.format(names=set(names)) + code],
        env=environment_of_children(),
        capture_output=True,
        text=True,
        check=False,
    )


def test_everything_but_the_drawing_is_imported_without_torch():
    modules = "frozenseg.exporting.runtime, frozenseg.loading, frozenseg.predict.coco_export"
    done = run_without(HEAVY + DRAWING, f"import {modules}, frozenseg.cli.segment")
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
def test_the_help_of_every_command_needs_nothing_else():
    code = (
        "from frozenseg.cli.main import COMMANDS, parser_of\n"
        "for name in COMMANDS: parser_of(name).format_help()"
    )
    done = run_without(HEAVY + DRAWING + ["onnxruntime", "tokenizers", "ftfy"], code)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    ("names", "code", "message"),
    [
        (HEAVY, "frozenseg.load('miniature-fcclip')", "'frozenseg[full]'"),
        (["detectron2"], "frozenseg.load()", "run: frozenseg setup detectron2"),
        (["onnxruntime"], "frozenseg.ExportedSegmenter", "onnxruntime.*'frozenseg[runtime]'"),
        (DRAWING, "frozenseg.Segmentation(a, (), v, 'semantic').overlay(b)", "opencv-python"),
    ],
)
def test_a_missing_package_is_one_sentence(names, code, message):
    given = "import frozenseg, numpy as np\nv = frozenseg.Vocabulary.parse('cat')\n"
    given += "a, b = np.ones((40, 40), np.int32), np.zeros((40, 40, 3), np.uint8)\n"
    done = run_without(names, given + code)
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("ModuleNotFoundError")
    assert "not installed; run: " in last
    for part in message.split(".*"):
        assert part in last


@pytest.fixture(scope="module")
def model():
    return frozenseg.load("miniature-fcclip", device="cpu")


@pytest.fixture(scope="module")
def exported(exported_fcclip):
    return ExportedSegmenter(exported_fcclip)


def scene(size: tuple[int, int]) -> Image.Image:
    return Image.open(frozenseg.sample_image()).convert("RGB").resize(size[::-1])


def assert_equal(found, expected):
    """Equal segments, scores up to rounding, and at least 99.9 % equal pixels."""
    assert (found.label_map == expected.label_map).mean() >= 0.999
    kinds = [(each.id, each.name, each.is_thing) for each in expected.segments]
    assert [(each.id, each.name, each.is_thing) for each in found.segments] == kinds
    scores = [np.nan if each.score is None else each.score for each in expected.segments]
    mine = [np.nan if each.score is None else each.score for each in found.segments]
    np.testing.assert_allclose(mine, scores, atol=1e-4)
    assert found.vocabulary == expected.vocabulary
    assert found.task == expected.task


@pytest.mark.slow
@pytest.mark.parametrize("words", [None, WORDS], ids=["own words", "new words"])
@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("size", SIZES.values(), ids=SIZES)
def test_results_are_those_of_the_model(size, task, words, model, exported):
    expected = model(scene(size), words, task)
    assert_equal(exported(scene(size), words, task), expected)
    assert expected.segments or size == SIZES["wide"]  # shapes stretched out of recognition


@pytest.mark.slow
def test_the_whole_api_is_there(model, exported, tmp_path):
    options = {"background": "grass", "score_threshold": 0.3}
    assert exported.tasks == model.tasks
    assert exported.vocabulary == model.vocabulary
    assert_equal(
        exported(scene((99, 80)), WORDS, **options), model(scene((99, 80)), WORDS, **options)
    )
    images = [scene((128, 128)), scene((90, 150)), scene((128, 128)).rotate(90)]
    for found, expected in zip(
        exported.batch(images, WORDS), model.batch(images, WORDS), strict=True
    ):
        assert_equal(found, expected)
    exported.set_vocabulary("red circle; sand:stuff")
    assert exported(frozenseg.sample_image()).vocabulary.names == ("red circle", "sand")
    exported.set_vocabulary(model.vocabulary)
    (tmp_path / "bad.png").write_text("no image")
    results = exported([frozenseg.sample_image(), tmp_path / "bad.png"], WORDS, skip_bad=True)
    (found,) = results
    assert len(results.skipped) == 1
    files = found.save(tmp_path, "scene", about=exported.about)
    assert json.loads(files["json"].read_text())["architecture"] == "mask_classification"
    with pytest.raises(ValueError, match="unknown task 'video'"):
        exported(scene((64, 64)), WORDS, "video")


@pytest.mark.slow
def test_it_runs_where_torch_cannot_be_imported(exported_fcclip, model):
    code = (
        "import frozenseg, json\n"
        f"segmenter = frozenseg.load({str(exported_fcclip)!r})\n"
        f"found = segmenter(frozenseg.sample_image(), {WORDS!r})\n"
        "print(json.dumps(found.to_json()))"
    )
    done = run_without(HEAVY + DRAWING, code)
    assert done.returncode == 0, done.stderr
    expected = model(frozenseg.sample_image(), WORDS).to_json()["segments"]
    found = json.loads(done.stdout)["segments"]
    assert [each["category_name"] for each in found] == [x["category_name"] for x in expected]


@pytest.mark.slow
def test_the_command_line_takes_the_folder(exported_fcclip, tmp_path):
    words = ["segment", "--model", str(exported_fcclip), "--input", str(frozenseg.sample_image())]
    words += ["--vocabulary", WORDS, "--write", "labels", "json", "--output", str(tmp_path)]
    code = f"from frozenseg.cli.main import main; main({words!r})"
    done = run_without(HEAVY + DRAWING, code)
    assert done.returncode == 0, done.stderr
    assert "1 of 1 images segmented" in done.stdout
    assert "1 there already" in run_without(HEAVY + DRAWING, code).stdout


def damage(folder: Path, how: str) -> None:
    manifest = folder / "export.json"
    if how in ("image.onnx", "tokenizer.json"):
        content = (folder / how).read_bytes()
        (folder / how).write_bytes(content[: len(content) // 2])
    elif how == "no text.onnx":
        (folder / "text.onnx").unlink()
    else:
        old, new = how.split(" -> ")
        assert old in manifest.read_text()
        manifest.write_text(manifest.read_text().replace(old, new))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("image.onnx", "image.onnx: damaged or incomplete"),
        ("tokenizer.json", "tokenizer.json: damaged or incomplete"),
        ("no text.onnx", "text.onnx is missing"),
        ('"format_version": 1 -> "format_version": 7', "format_version is 7"),
        ('"format": "onnx" -> "format": "pt2"', "export with --format onnx"),
        ('"text": "text.onnx" -> "txt": "text.onnx"', "no 'text'"),
        ('"text.onnx" -> "../text.onnx"', "is no plain file name"),
        ('"divisor": 32 -> "divisor": "32"', r"export.json: \$.divisor: Expected int"),
    ],
)
def test_a_damaged_folder_is_one_sentence(how, message, exported_fcclip, tmp_path):
    folder = tmp_path / "exported"
    shutil.copytree(exported_fcclip, folder)
    damage(folder, how)
    with pytest.raises((ValueError, FileNotFoundError), match=message) as error:
        frozenseg.load(folder)
    assert "frozenseg export" in str(error.value) or "--format onnx" in str(error.value)


@pytest.mark.slow
def test_what_an_export_has_itself_cannot_be_chosen(exported_fcclip):
    for options in ({"weights": "x.pth"}, {"precision": "float16"}, {"opts": ("A", "1")}):
        with pytest.raises(ValueError, match="leave weights, precision, compile and"):
            frozenseg.load(exported_fcclip, **options)
    with pytest.raises(ValueError, match="device 'mps': an exported model runs on cpu"):
        frozenseg.load(exported_fcclip, device="mps")
