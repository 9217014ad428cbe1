"""python -m frozenseg.data: exit codes, JSON, and a start without torch and detectron2."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from frozenseg.cli import data_list, data_verify
from frozenseg.cli.main import parser_of
from frozenseg.data.miniature.dataset import write_miniature


def main(command, *words):
    args = parser_of(f"data {command}").parse_args(words)
    return {"list": data_list, "verify": data_verify}[command].main(args)


ROOT = Path(__file__).resolve().parents[2]
# A None in sys.modules makes every import of that name fail.
RUN = """
import runpy, sys
sys.modules.update(dict.fromkeys(("torch", "detectron2", "open_clip", "cv2")))
runpy.run_module("frozenseg.data", run_name="__main__", alter_sys=True)
"""


def start(*arguments, cwd):
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, "-c", RUN, *map(str, arguments)],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_verify_runs_without_torch_and_tells_by_its_exit_code(shapes_root, tmp_path):
    own = shapes_root / "shapes" / "shapes.yaml"
    good = start("verify", own, cwd=tmp_path)
    assert good.returncode == 0, good.stderr
    assert good.stdout.count("in order") == 2
    bad = start("verify", "ade20k_panoptic_val", "--root", tmp_path, "--json", cwd=tmp_path)
    assert bad.returncode == 1
    [report] = json.loads(bad.stdout)
    assert report["findings"][1]["remedy"] == "run frozenseg data prepare ade20k"
    wrong = start("verify", "miniature_vall", "--root", tmp_path, cwd=tmp_path)
    assert wrong.returncode == 2
    assert wrong.stderr.startswith("error: unknown dataset 'miniature_vall'; did you mean")


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [["--help"], ["verify", "--help"], ["list", "--help"]])
def test_help_answers_anywhere(arguments, tmp_path):
    result = start(*arguments, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("usage: frozenseg data")


def test_list_shows_what_is_there(tmp_path, capsys):
    write_miniature(tmp_path / "miniature", {"train": 1, "dev": 1, "val": 1})
    main("list", "--root", str(tmp_path))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"Root: {tmp_path}"
    [scenes] = [line for line in lines if line.startswith("miniature_val_panoptic")]
    assert scenes.split()[-1] == "yes"
    main("list", "bdd100k_40", "--json", "--root", str(tmp_path))
    [row] = json.loads(capsys.readouterr().out)
    assert row["name"] == "bdd10k_40_panoptic_val"
    assert row["on_disk"] == "missing"


def test_all_of_an_empty_root_is_not_in_order(tmp_path, capsys):
    assert main("verify", "all", "--root", str(tmp_path)) == 1
    assert "no dataset here" in capsys.readouterr().err


def test_a_file_of_ones_own_needs_no_root(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("DETECTRON2_DATASETS", raising=False)
    monkeypatch.setattr("frozenseg.files.PACKAGE", tmp_path / "a" / "frozenseg")
    own = tmp_path / "own.yaml"
    own.write_text("{name: own, images: i, semantic_masks: m, classes: [cat, dog]}")
    assert main("verify", str(own)) == 1
    assert f"the folder of images is missing\n    {tmp_path / 'i'}" in capsys.readouterr().out


def test_commands_for_another_root_are_told_it(tmp_path, capsys):
    main("verify", "miniature_val_panoptic", "--root", str(tmp_path))
    assert capsys.readouterr().out.endswith(f"The commands need the root, too: --root {tmp_path}\n")


def test_a_negative_number_of_images_is_refused(capsys):
    with pytest.raises(SystemExit):
        main("verify", "all", "--images", "-1")
    assert (
        "--images: expects a whole number from 0 to 2147483647, got -1" in capsys.readouterr().err
    )
