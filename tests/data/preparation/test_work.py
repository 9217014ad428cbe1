"""Running conversions: order, failures, processes, interruption; nothing half-written stays."""

from __future__ import annotations

import json
import logging
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from frozenseg import progress
from frozenseg.data.preparation import labels, segments
from frozenseg.data.preparation.coco import prepare_coco_stuff
from frozenseg.data.preparation.work import Done, Preparation
from tests.data.preparation.conftest import content, counts, leftovers
from tests.data.raw_datasets import make_cityscapes, make_coco_stuff
from tests.data.raw_writers import canvas, run_prepare, save, save_photo

MASKS = "coco/stuffthingmaps_detectron2"

ROOT = Path(__file__).resolve().parents[3]


def double(job: int) -> Done:
    if job == 13:
        raise ValueError("13: an unlucky\n  number")
    return Done(made=bool(job % 2), value=2 * job)


def test_values_come_in_the_order_of_the_jobs(tmp_path, capsys):
    preparation = Preparation(tmp_path)
    assert preparation.convert("numbers", double, [3, 1, 2]) == [6, 2, 4]
    assert preparation.finish() == 0
    assert capsys.readouterr().out == "numbers: 3 images: 2 made, 1 already there, 0 failed\n"


def test_failures_are_counted_named_and_give_exit_code_1(tmp_path, capsys):
    preparation = Preparation(tmp_path)
    assert preparation.convert("numbers", double, [1, 13, 2]) is None
    index = tmp_path / "index.json"
    index.write_text("{}")
    preparation.write_index(index, lambda values: {"v": values}, "again", double, [13])
    assert not index.exists()
    assert preparation.finish() == 1
    captured = capsys.readouterr()
    assert "numbers: 3 images: 1 made, 1 already there, 1 failed" in captured.out
    assert f"{index}: not written, because images failed" in captured.out
    assert captured.err.splitlines()[0] == "failed: 13: an unlucky number"
    assert "2 failed. Repair what is named above and run the same command again" in captured.err


def test_of_many_failures_some_are_named(tmp_path, capsys):
    preparation = Preparation(tmp_path)
    preparation.convert("numbers", double, [13] * 25)
    assert preparation.finish() == 1
    assert "... and 5 more" in capsys.readouterr().err


def test_an_index_is_written_after_all_images(tmp_path):
    index = tmp_path / "index.json"
    Preparation(tmp_path).write_index(index, lambda v: {"v": v}, "numbers", double, [1, 2])
    assert json.loads(index.read_text()) == {"v": [2, 4]}


def test_a_mistake_in_the_code_is_no_failure_of_the_data(tmp_path):
    with pytest.raises(ZeroDivisionError):
        Preparation(tmp_path).convert("numbers", lambda job: Done(bool(1 // job)), [1, 0])


def test_progress_is_logged_where_there_is_no_terminal(tmp_path, caplog, monkeypatch):
    clock = iter(range(0, 1000, 10))
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with caplog.at_level(logging.INFO):
        Preparation(tmp_path).convert("numbers", double, list(range(6)))
    assert caplog.messages == [
        "numbers: 2 of 6 images, 0.1 per second, 40 s left",
        "numbers: 4 of 6 images, 0.1 per second, 20 s left",
    ]


def test_progress_is_a_bar_on_a_terminal(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    assert Preparation(tmp_path).convert("numbers", double, [1, 2]) == [2, 4]
    assert "numbers: " in capsys.readouterr().err


def many_stuff_maps(root, number):
    for k in range(number):
        stem = f"{k:012d}"
        save_photo(root / "coco/val2017" / f"{stem}.jpg")
        save(root / "coco/stuffthingmaps/val2017" / f"{stem}.png", canvas(k % 10))


@pytest.mark.slow
def test_processes_give_the_same_files_as_one(tmp_path):
    many_stuff_maps(tmp_path, 18)
    broken = tmp_path / "coco/stuffthingmaps/val2017/000000000007.png"
    broken.write_bytes(broken.read_bytes()[:40])
    for workers in (1, 2):
        preparation = Preparation(tmp_path, workers=workers)
        prepare_coco_stuff(preparation)
        assert len(preparation.failures) == 1
        assert str(broken) in preparation.failures[0]
        shutil.move(tmp_path / MASKS, tmp_path / f"{workers} processes")
    assert len(content(tmp_path / "1 processes")) == 17
    assert content(tmp_path / "1 processes") == content(tmp_path / "2 processes")


def die(_job: int) -> Done:
    import os

    os._exit(9)


@pytest.mark.slow
def test_a_process_that_dies_is_explained(tmp_path):
    with pytest.raises(OSError, match=r"ended abruptly.*fewer --workers"):
        Preparation(tmp_path, workers=2).convert("numbers", die, list(range(16)))


def test_an_interrupted_run_goes_on_where_it_stopped(tmp_path, run, monkeypatch, capsys):
    make_cityscapes(tmp_path / "whole")
    make_cityscapes(tmp_path)
    assert run_prepare("cityscapes", tmp_path / "whole") == 0
    write, calls = labels.write_mask, []

    def stop_at_fourth(path, *args):
        calls.append(path)
        if len(calls) == 4:
            raise KeyboardInterrupt
        write(path, *args)

    for module in (labels, segments):
        monkeypatch.setattr(module, "write_mask", stop_at_fourth)
    with pytest.raises(KeyboardInterrupt):
        run("cityscapes")
    assert not list(tmp_path.glob("cityscapes/gtFine/*.json"))
    assert len(list(tmp_path.glob("cityscapes/gtFine/cityscapes_panoptic_val/*.png"))) == 1
    monkeypatch.undo()
    capsys.readouterr()
    assert run("cityscapes") == 0
    printed = capsys.readouterr().out
    assert "semantic val: 2 images: 0 made, 2 already there" in printed
    assert "panoptic val: 2 images: 1 made, 1 already there" in printed
    assert content(tmp_path / "cityscapes") == content(tmp_path / "whole/cityscapes")


def test_a_file_is_whole_or_not_there(tmp_path, run, monkeypatch):
    make_coco_stuff(tmp_path)
    write = Image.Image.save

    def half(image, path, **options):
        write(image, path, **options)
        path.write_bytes(path.read_bytes()[:30])
        raise KeyboardInterrupt

    monkeypatch.setattr(Image.Image, "save", half)
    with pytest.raises(KeyboardInterrupt):
        run("coco_stuff")
    assert not leftovers(tmp_path)
    assert not list((tmp_path / MASKS).rglob("*.png"))


@pytest.mark.parametrize("left", [b"", b"\x89PNG\r\n", None])
def test_an_incomplete_mask_of_another_tool_is_made_again(tmp_path, run, capsys, left):
    make_coco_stuff(tmp_path)
    assert run("coco_stuff") == 0
    path = tmp_path / MASKS / "val2017/000000000139.png"
    whole = path.read_bytes()
    path.write_bytes(whole[:-3] if left is None else left)
    capsys.readouterr()
    assert run("coco_stuff") == 0
    assert path.read_bytes() == whole
    assert "1 made, 1 already there" in capsys.readouterr().out


def test_overwrite_makes_complete_files_again(tmp_path, run):
    make_coco_stuff(tmp_path)
    assert run("coco_stuff") == 0
    path = tmp_path / MASKS / "val2017/000000000139.png"
    save(path, canvas(5))
    assert run("coco_stuff") == 0
    assert counts(path) == {5: 600}  # complete, so it is kept
    assert run("coco_stuff", "--overwrite") == 0
    assert counts(path) == {0: 300, 255: 100, 170: 200}


BREAK = {
    "truncated": (lambda path: path.write_bytes(path.read_bytes()[:60]), "damaged or incomplete"),
    "empty file": (lambda path: path.write_bytes(b""), "is empty (0 bytes); unpack"),
    "no image": (lambda path: path.write_bytes(b"<html>"), "damaged or incomplete"),
    "out of range": (lambda path: save(path, canvas(200)), "label 200 at x=0, y=0 is out of range"),
    "nothing labelled": (lambda path: save(path, canvas(255)), "no pixel is labelled"),
    "another size": (lambda path: save(path, canvas(0)[:15]), "is 30x15 but its image"),
    "colours": (lambda path: save(path, canvas()[..., None].repeat(3, -1)), "is of mode RGB"),
    "missing": (lambda path: path.unlink(), "does not exist"),
}


@pytest.mark.slow
@pytest.mark.parametrize("way", BREAK)
def test_a_broken_annotation_is_named_with_a_remedy_and_stops_no_other(tmp_path, run, capsys, way):
    make_coco_stuff(tmp_path)
    path = tmp_path / "coco/stuffthingmaps/val2017/000000000139.png"
    whole = path.read_bytes()
    spoil, message = BREAK[way]
    spoil(path)
    assert run("coco_stuff") == 1
    captured = capsys.readouterr()
    assert "2 images: 1 made, 0 already there, 1 failed" in captured.out
    [line] = [line for line in captured.err.splitlines() if line.startswith("failed: ")]
    assert str(path) in line
    assert message in line
    assert any(remedy in line for remedy in ("again", "get it"))
    assert [file.name for file in (tmp_path / MASKS / "val2017").iterdir()] == ["000000000285.png"]
    path.write_bytes(whole)
    assert run("coco_stuff") == 0
    assert "1 made, 1 already there, 0 failed" in capsys.readouterr().out


@pytest.mark.slow
def test_the_exit_codes_of_a_script(tmp_path):
    make_coco_stuff(tmp_path)
    command = [sys.executable, "-m", "frozenseg", "data", "prepare", "coco_stuff", "--root"]
    command.append(str(tmp_path))

    def code(*words):
        done = subprocess.run(
            [*command, *words], cwd=ROOT, capture_output=True, text=True, check=False
        )
        return done.returncode, done.stderr

    assert code()[0] == 0
    (tmp_path / "coco/stuffthingmaps/val2017/000000000139.png").write_bytes(b"")
    failed, error = code("--overwrite")
    assert failed == 1
    assert "000000000139.png: the annotation is empty" in error
    wrong, error = code("--splits", "train")
    assert wrong == 2
    assert error.startswith("error: ")
    assert error.count("\n") == 1
    assert code("--workers", "0")[0] == 2
