"""tools/zero_shot.py on the shipped miniature model: two datasets, one that is missing, again."""

from __future__ import annotations

import json

import pytest

from frozenseg.cli.main import main
from frozenseg.data.catalog.lookup import find_split, row_vocabulary
from frozenseg.data.miniature.dataset import write_miniature
from tests.shapes_world import register_shapes, write_shapes
from tools.quickstart import CONFIGS, ROOT

WEIGHTS = ROOT / "frozenseg/weights/miniature_fcclip.safetensors"


@pytest.fixture
def call(tmp_path, monkeypatch):
    """Runs the script in this process: (exit code, output folder)."""
    write_miniature(tmp_path / "miniature", {"train": 1, "dev": 0, "val": 1})
    write_shapes(tmp_path / "shapes", train=1, val=1, size=(32, 40))
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    register_shapes(tmp_path)

    def run(*words, weights=WEIGHTS):
        output = tmp_path / "out"
        words = ("--config-file", str(CONFIGS / "fcclip.yaml"), "--weights", str(weights), *words)
        size = ("INPUT.MIN_SIZE_TEST", "64", "INPUT.MAX_SIZE_TEST", "96")
        cache = ("MODEL.TEXT_CACHE_DIR", str(tmp_path / "text"))
        words += ("--output", str(output), "--num-gpus", "0", "--opts", *size, *cache)
        with pytest.raises(SystemExit) as ended:
            main(["evaluate", *words])
        return ended.value.code, output

    return run


def test_an_exported_model_is_one_clear_line(tmp_path, capsys):
    (tmp_path / "export.json").write_text("{}")
    with pytest.raises(SystemExit) as ended:
        main(["evaluate", "--model", str(tmp_path), "--benchmarks", "miniature"])
    assert ended.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "is an exported model" in line
    assert "evaluate the model that it was made from" in line


@pytest.mark.slow
def test_scores_what_is_there_and_names_what_is_not(call, capsys):
    code, output = call("--benchmarks", "miniature", "shapes_val_panoptic", "cityscapes")
    assert code == 1
    said = capsys.readouterr().out
    assert "skipped: openvocab_cityscapes_fine_panoptic_val" in said
    assert "datasets/README.md, section Cityscapes" in said
    content = json.loads((output / "results.json").read_text())
    assert [entry["dataset"] for entry in content["results"]] == [
        *("miniature_val_panoptic", "shapes_val_panoptic")
    ]
    words = {entry["protocol"]["vocabulary"] for entry in content["results"]}
    assert len(words) == 2  # each benchmark has its own
    assert len({entry["config_hash"] for entry in content["results"]}) == 1
    code, _ = call("--benchmarks", "miniature", "shapes_val_panoptic", weights="miniature-fcclip")
    assert code == 0  # a name of the same file: nothing is scored again
    again = json.loads((output / "results.json").read_text())
    assert again["results"] == content["results"]
    assert "skipped" not in again


@pytest.mark.slow
def test_predictions_are_kept_and_compared(call, capsys):
    benchmark = ("--benchmarks", "miniature")
    _, output = call(*benchmark)
    folder = output / "predictions/miniature_val_panoptic"
    assert not folder.exists()
    assert call(*benchmark, "--save-predictions")[0] == 0  # scored again: they are not there
    written = (folder / "predictions.json").stat().st_mtime_ns
    assert call(*benchmark, "--save-predictions")[0] == 0
    assert (folder / "predictions.json").stat().st_mtime_ns == written
    capsys.readouterr()
    with pytest.raises(SystemExit) as ended:
        main(["compare", str(output / "results.json"), str(folder)])
    assert ended.value.code == 0
    table = capsys.readouterr().out.split("\n\n")[1]
    assert [line.split("|")[-2].strip() for line in table.splitlines()[2:]] == ["+0.00"] * 3


def test_mistakes_are_one_line(call, capsys, tmp_path):
    (tmp_path / "out").write_text("mine")
    assert call("--benchmarks", "miniature")[0] == 2
    assert "out is a file: name a folder" in capsys.readouterr().err
    (tmp_path / "out").unlink()
    assert call("--benchmarks", "miniatur")[0] == 2
    assert "did you mean miniature" in capsys.readouterr().err
    assert call("--benchmarks", "miniature", weights=tmp_path / "none.pth")[0] == 2
    assert "none.pth does not exist" in capsys.readouterr().err


@pytest.mark.slow
def test_other_words_are_scored_and_recorded(call, tmp_path):
    benchmark = ("--benchmarks", "miniature")
    _, output = call(*benchmark)
    [own] = json.loads((output / "results.json").read_text())["results"]
    assert own["protocol"]["words"] == {"set": "own"}
    names = row_vocabulary(find_split("miniature_val_panoptic")).names
    words = tmp_path / "others.txt"
    words.write_text("\n".join(f"{i}:{name}" for i, name in enumerate(names[::-1])))
    code, _ = call(*benchmark, "--words", str(words), "--overwrite")
    assert code == 0
    [other] = json.loads((output / "results.json").read_text())["results"]
    assert other["protocol"]["words"]["set"] == "others.txt"
    assert other["protocol"]["vocabulary"] != own["protocol"]["vocabulary"]
    scores = [entry["metrics"]["panoptic"]["all"]["PQ"] for entry in (own, other)]
    assert scores[1] < scores[0]  # every region is called by another class's name
