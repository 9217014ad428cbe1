"""Counts of every image: kept by an evaluation, written, read, and refused when damaged."""

from __future__ import annotations

import json

import numpy as np
import pytest

from frozenseg.data.catalog.register import register_splits
from frozenseg.engine.evaluate import evaluate
from frozenseg.evaluation.bootstrap import draw_scores
from frozenseg.evaluation.per_image import (
    KINDS,
    check_belongs,
    per_image_file,
    read_per_image,
    write_per_image,
)
from frozenseg.evaluation.results import column, read_results
from tests.evaluation.kept_predictions import EMPTY, NAME, ROW, WrongOften, config, write_dataset
from tests.stand_in import StandIn

assert StandIn


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """The folder of an evaluation that kept counts."""
    root = tmp_path_factory.mktemp("per_image")
    write_dataset(root)
    cfg = config(root / "run")
    cfg.TEST.SAVE_PREDICTIONS, cfg.TEST.SAVE_PER_IMAGE = False, True
    evaluate(cfg, WrongOften())
    return root / "run"


def test_sums_over_the_images_are_the_scores_of_results_json(run):
    record = read_per_image(per_image_file(run, NAME))
    [entry] = read_results(run / "results.json")
    assert len(record.images) == entry["images"] == 5
    assert list(record.rows) == ["panoptic", "semantic"]
    for kind in record.rows:
        scores = draw_scores(record, kind, np.ones((5, 1)))
        expected = column(entry["metrics"], KINDS[kind].score)
        assert set(expected) >= {"all", "things", "stuff"}
        for group, value in expected.items():
            assert scores[group][0] == pytest.approx(value, abs=1e-9)
    check_belongs(record, entry, run)


def test_the_score_of_an_image_is_the_mean_over_its_classes(run):
    record = read_per_image(per_image_file(run, NAME))
    for kind in record.rows:
        scores = record.image_scores(kind)
        for place, score in enumerate(scores):
            only = np.zeros((5, 1))
            only[place] = 1
            assert score == pytest.approx(draw_scores(record, kind, only)["all"][0])
    assert record.image_scores("panoptic")[record.images.index(EMPTY)] == 0


def test_nothing_is_kept_unless_asked_for(tmp_path):
    write_dataset(tmp_path, images=3)
    cfg = config(tmp_path / "run")
    cfg.TEST.SAVE_PREDICTIONS = False
    evaluate(cfg, WrongOften())
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["results.json"]


def test_written_again_it_is_the_same(run, tmp_path):
    path = per_image_file(run, NAME)
    write_per_image(tmp_path / "again.json", read_per_image(path))
    assert (tmp_path / "again.json").read_bytes() == path.read_bytes()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda file: file.update(format=2), "format"),
        (lambda file: file["files"].pop(), "images and files must be lists of the same length"),
        (lambda file: file["images"].__setitem__(1, file["images"][0]), "every id once"),
        (lambda file: file["groups"].update(all=[99]), "index of a class is not below 11"),
        (lambda file: file["kinds"].update(other=file["kinds"]["panoptic"]), "other is none of"),
        (lambda file: file["kinds"]["panoptic"]["counts"].pop("tp"), "counts must be tp, fp, fn"),
        (lambda file: file["kinds"]["panoptic"]["image"].pop(), "lists differ in length"),
        (lambda file: file["kinds"]["semantic"]["image"].__setitem__(0, 5), "not below 5 images"),
        (lambda file: file["kinds"]["panoptic"]["counts"]["iou"].__setitem__(0, -1), "float >= 0"),
        (
            lambda file: file["kinds"]["panoptic"]["counts"]["iou"].__setitem__(0, float("inf")),
            "not finite",
        ),
    ],
)
def test_a_damaged_file_is_one_line_with_the_remedy(run, tmp_path, change, message):
    content = json.loads(per_image_file(run, NAME).read_text())
    change(content)
    path = tmp_path / "damaged.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=message) as error:
        read_per_image(path)
    assert str(path) in str(error.value)
    assert "evaluate again with --per-image" in str(error.value)


def test_counts_of_another_evaluation_are_refused(run):
    register_splits([ROW], run.parent)
    record = read_per_image(per_image_file(run, NAME))
    [entry] = read_results(run / "results.json")
    with pytest.raises(ValueError, match="theirs other"):
        check_belongs(record, {**entry, "config_hash": "other"}, run)
    with pytest.raises(FileNotFoundError, match="--per-image"):
        read_per_image(run / "none.json")
