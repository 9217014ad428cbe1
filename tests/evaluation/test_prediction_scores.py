"""Kept predictions read and scored again, alone and against each other."""

from __future__ import annotations

import json
import shutil

import pytest

from frozenseg.data.catalog.register import register_splits
from frozenseg.engine.evaluate import evaluate
from frozenseg.evaluation.prediction_folder import PredictionFolder, index_of
from frozenseg.evaluation.prediction_scores import (
    agreement,
    check_comparable,
    score_predictions,
    truth_of,
)
from frozenseg.evaluation.prediction_tables import class_rows, extremes, image_rows
from frozenseg.evaluation.prediction_writer import INDEX
from frozenseg.evaluation.results import read_results
from tests.evaluation.kept_predictions import (
    EMPTY,
    NAME,
    ROW,
    WrongOften,
    config,
    write_dataset,
)
from tests.stand_in import StandIn

assert StandIn


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """The data, and two evaluations: a/ and b/, which is worse."""
    root = tmp_path_factory.mktemp("scores")
    write_dataset(root)
    for name, shift in (("a", 2), ("b", 5)):
        evaluate(config(root / name), WrongOften(shift))
    return root


@pytest.fixture(autouse=True)
def registered(root):
    """Other modules and tests register the name for data of their own."""
    register_splits([ROW], root)


def kept(root, run):
    return PredictionFolder(index_of(root / run / "predictions" / NAME))


def test_the_scores_are_those_of_the_evaluation(root):
    """Every digit, of every class: both sum up image by image."""
    folder = kept(root, "a")
    scores = score_predictions(folder, truth_of(folder))
    [entry] = read_results(root / "a/results.json")
    assert scores.metrics == entry["metrics"]
    assert list(scores.images) == [0, 1, 2, 3, 4]
    assert scores.images[EMPTY] == {"PQ": 0.0, "mIoU": 0.0, "AP": 0.0}
    assert all(10 < scores.images[i]["PQ"] < 95 for i in (0, 1, 3, 4))


def test_agreement_takes_the_first_one_for_the_truth(root):
    first, second = kept(root, "a"), kept(root, "b")
    check_comparable(first, second)
    itself = agreement(first, first)
    assert itself.metrics["panoptic"]["all"]["PQ"] == 100
    assert itself.metrics["semantic"]["ground_truth"]["all"]["mIoU"] == 100
    assert "PQ" not in itself.images[EMPTY]  # nothing is there in both
    both = agreement(first, second).metrics["panoptic"]["all"]
    assert 30 < both["PQ"] < 99
    assert agreement(second, first).metrics["panoptic"]["all"]["RQ"] == pytest.approx(both["RQ"])


def test_tables_name_what_differs_most(root):
    folders = {run: kept(root, run) for run in "ab"}
    truth = truth_of(folders["a"])
    scores = {run: score_predictions(folder, truth) for run, folder in folders.items()}
    rows = class_rows({run: one.metrics for run, one in scores.items()})
    row = next(row for row in rows if (row.name, row.score) == ("red disk", "IoU"))
    values = {
        run: one.metrics["semantic"]["per_class"]["red disk"]["IoU"] for run, one in scores.items()
    }
    assert row.runs == values
    files = {0: "x.jpg", 1: "y.jpg"}
    rows = image_rows({run: one.images for run, one in scores.items()}, files)
    assert {row.name for row in rows} == {"x.jpg (id 0)", "y.jpg (id 1)"}
    tables = dict(extremes(rows, "image", ["a", "b"], 1))
    assert "PQ: b has less than a" in tables
    worst = min((row for row in rows if row.score == "PQ"), key=lambda row: row.gain("a", "b"))
    assert f"| {worst.name} |" in tables["PQ: b has less than a"]
    assert f"{worst.gain('a', 'b'):+.2f}" in tables["PQ: b has less than a"]
    alone = dict(extremes(rows, "image", ["a"], 1))
    lowest = min((row for row in rows if row.score == "mIoU"), key=lambda row: row.runs["a"])
    assert f"| {lowest.name} |" in alone["lowest mIoU"]


@pytest.fixture
def copied(root, tmp_path):
    """A copy of the first predictions, to be spoilt."""
    shutil.copytree(root / "a/predictions" / NAME, tmp_path / "copy")
    return tmp_path / "copy"


def edit(path, old, new):
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))


def copy_png(folder, kind):
    shutil.copy(folder / kind / "000001.png", folder / kind / "000000.png")


@pytest.mark.parametrize(
    ("spoil", "error"),
    [
        (lambda f: edit(f / "instance.json", '"score": 0.', '"score": 0.1'), "was changed"),
        (lambda f: (f / "panoptic.json").write_text("{"), r"panoptic\.json: not valid JSON"),
        (lambda f: (f / "instance.json").write_text("{}"), r"instance\.json: \$: Expected array"),
        (lambda f: (f / "images.json").unlink(), r"images\.json does not exist; evaluate again"),
        (lambda f: (f / "semantic/000001.png").unlink(), r"000001\.png does not exist: 1 of 5"),
        (lambda f: edit(f / INDEX, '"format": 1', '"format": 9'), r"predictions\.json: \$\.format"),
        (lambda f: edit(f / INDEX, '"id": 300', '"id": 301'), r"copy: its categories are not"),
        (lambda f: edit(f / INDEX, '"label": 0', '"label": 1e9'), r"predictions\.json: \$\.categ"),
        (lambda f: edit(f / INDEX, f'"dataset": "{NAME}"', '"dataset": "x"'), "dataset 'x'"),
        (lambda f: copy_png(f, "semantic"), r"semantic/000000\.png: was changed after the eval"),
        (lambda f: copy_png(f, "panoptic"), r"panoptic/000000\.png: was changed after the eval"),
    ],
)
def test_spoilt_files_are_named(copied, spoil, error):
    spoil(copied)
    with pytest.raises((ValueError, FileNotFoundError), match=error):
        score_copy(copied)


def score_copy(path):
    folder = PredictionFolder(index_of(path))
    return score_predictions(folder, truth_of(folder))


def test_other_images_are_not_compared(root, tmp_path):
    write_dataset(tmp_path, images=2)
    evaluate(config(tmp_path / "c"), WrongOften())
    fewer, whole = kept(tmp_path, "c"), kept(root, "a")
    with pytest.raises(ValueError, match=r"has 2 images, .* has 5, and image 2 is only in"):
        check_comparable(whole, fewer)
    with pytest.raises(ValueError, match=r"has 5 images, the dataset's annotation has 2"):
        truth_of(whole)
    register_splits([ROW], root)
    with pytest.raises(ValueError, match="is given twice"):
        check_comparable(whole, kept(root, "a"))
    other = kept(root, "b")
    other.about["dataset"] = "y"
    with pytest.raises(ValueError, match=f"has predictions of {NAME}, .* of y: give those of one"):
        check_comparable(whole, other)


def test_places_without_whole_predictions(root, copied):
    place = root / "a/predictions"
    assert index_of(place / NAME / "panoptic.json") == place / NAME / INDEX
    assert index_of(root / "a/results.json") is None
    assert index_of(root / "a") is None
    with pytest.raises(ValueError, match=f"predictions: has predictions of {NAME}: name one"):
        index_of(place)
    (copied / INDEX).unlink()
    with pytest.raises(FileNotFoundError, match="copy the whole folder"):
        index_of(copied)
    copied.rename(copied.with_name(".copy.part"))
    for broken in (copied, copied.with_name(".copy.part")):
        with pytest.raises(FileNotFoundError, match="has not ended, or was broken off"):
            index_of(broken)


def test_a_dataset_file_that_is_gone(copied):
    index = json.loads((copied / INDEX).read_text())
    (copied / INDEX).write_text(json.dumps({**index, "dataset_file": "/gone/own.yaml"}))
    with pytest.raises(FileNotFoundError, match=r"/gone/own\.yaml does not exist: it describes"):
        truth_of(PredictionFolder(copied / INDEX))
