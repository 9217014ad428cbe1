"""Many benchmarks in one process: names, resuming, missing and broken data."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import pytest
import torch

from frozenseg.build import build_model
from frozenseg.engine import zero_shot
from frozenseg.engine.inputs import missing
from frozenseg.engine.zero_shot import dataset_names, score_benchmarks
from frozenseg.evaluation.results import read_results, read_skipped
from tests.shapes_world import register_shapes, write_shapes

SHAPES, ADE = "shapes_val_panoptic", "openvocab_ade20k_panoptic_val"


@pytest.fixture
def weights(stand_in_cfg, tmp_path):
    """A checkpoint of the stand-in."""
    torch.manual_seed(0)
    model = build_model(stand_in_cfg)
    path = tmp_path / "stand_in.pth"
    torch.save({"model": model.state_dict()}, path)
    return str(path)


@pytest.fixture
def evaluated(monkeypatch):
    """The names of the datasets that were scored, not only looked up."""
    names: list[str] = []
    plain = zero_shot.evaluate_dataset

    def counted(model, planned, folder):
        names.append(planned.about["dataset"])
        return plain(model, planned, folder)

    monkeypatch.setattr(zero_shot, "evaluate_dataset", counted)
    return names


def test_names_are_benchmarks_data_sets_files_and_all(stand_in_cfg, tmp_path):
    assert dataset_names(["ade20k_150", "lvis", SHAPES]) == (ADE, "openvocab_lvis_v1_val", SHAPES)
    assert dataset_names(["ade20k_sem_seg_val", ADE]) == ("ade20k_sem_seg_val", ADE)
    everything = dataset_names(["all"])
    assert len(everything) == 13
    assert {ADE, "openvocab_pascal_ctx459_sem_seg_val", "bdd10k_40_panoptic_val"} < {*everything}
    assert not any(name.startswith(("shapes", "miniature")) for name in everything)
    sets = dataset_names(["mess"])
    assert len(sets) == 16
    assert {"mess_suim", "bdd10k_val_sem_seg"} < {*sets}
    assert {*sets} & {*everything} == {"bdd10k_val_sem_seg"}
    file = tmp_path / "mine.yaml"
    file.write_text("{name: zero_shot_mine, images: i, semantic_masks: m, classes: [cat, dog]}")
    assert dataset_names([str(file)]) == ("zero_shot_mine",)
    with pytest.raises(ValueError, match=r"unknown dataset 'ade20k_15'; did you mean"):
        dataset_names(["ade20k_15"])


def test_what_is_missing_comes_with_download_and_command(stand_in_cfg, shapes_root):
    assert missing(SHAPES) == ""
    text = missing(ADE)
    assert str(shapes_root / "ADEChallengeData2016") in text
    assert "datasets/README.md, section ADE20K; then run frozenseg data prepare ade20k" in text


@pytest.mark.slow
def test_scores_one_skips_the_other_and_goes_on_where_it_stopped(
    stand_in_cfg, weights, evaluated, tmp_path, caplog
):
    names, folder = (ADE, SHAPES), tmp_path / "zero_shot"
    results = folder / "results.json"
    score_benchmarks(stand_in_cfg, weights, names, folder)
    first = read_results(results)
    assert [entry["dataset"] for entry in first] == [SHAPES]
    assert list(read_skipped(results)) == [ADE]
    assert first[0]["checkpoint"] == "stand_in.pth"
    text = (folder / "results.md").read_text()
    assert "shapes_val_panoptic" in text
    assert f"skipped: {ADE}: the folder of images is missing" in text
    with caplog.at_level(logging.INFO):
        score_benchmarks(stand_in_cfg, weights, names, folder)
    assert evaluated == [SHAPES]
    assert "scored before with the same config and checkpoint" in caplog.text
    assert read_results(results) == first
    score_benchmarks(stand_in_cfg, weights, ("shapes_train_panoptic",), folder)
    assert [entry["dataset"] for entry in read_results(results)] == [
        "shapes_train_panoptic",
        SHAPES,
    ]


def test_other_weights_or_configs_do_not_mix(stand_in_cfg, weights, evaluated, tmp_path):
    folder = tmp_path / "zero_shot"
    score_benchmarks(stand_in_cfg, weights, (SHAPES,), folder)
    before = (folder / "results.json").read_text()
    stand_in_cfg.TEST.DETECTIONS_PER_IMAGE = 7
    with pytest.raises(ValueError, match=r"another config_hash: choose another --output"):
        score_benchmarks(stand_in_cfg, weights, (SHAPES,), folder)
    assert (folder / "results.json").read_text() == before


@pytest.mark.slow
def test_more_images_or_other_words_are_scored_again(
    stand_in_cfg, weights, evaluated, tmp_path, monkeypatch
):
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    folder = tmp_path / "zero_shot"
    for images in (1, 2):
        shutil.rmtree(tmp_path / "shapes", ignore_errors=True)
        write_shapes(tmp_path / "shapes", train=1, val=images, size=(32, 40))
        register_shapes(tmp_path)
        score_benchmarks(stand_in_cfg, weights, (SHAPES,), folder)
        [entry] = read_results(folder / "results.json")
        assert entry["images"] == images
    assert evaluated == [SHAPES, SHAPES]
    content = json.loads((folder / "results.json").read_text())
    content["results"][0]["protocol"]["vocabulary"] = "other"
    (folder / "results.json").write_text(json.dumps(content))
    score_benchmarks(stand_in_cfg, weights, (SHAPES,), folder)
    assert len(evaluated) == 3


@pytest.mark.slow
def test_a_broken_data_set_is_named_and_the_next_one_follows(
    stand_in_cfg, weights, tmp_path, monkeypatch
):
    write_shapes(tmp_path / "shapes", train=1, val=2, size=(32, 40))
    monkeypatch.setenv("DETECTRON2_DATASETS", str(tmp_path))
    register_shapes(tmp_path)
    names = dataset_names([SHAPES, "shapes_train_panoptic"])
    broken = next((tmp_path / "shapes/panoptic_val").glob("*.png"))
    broken.write_bytes(broken.read_bytes()[:60])
    results = tmp_path / "out" / "results.json"
    score_benchmarks(stand_in_cfg, weights, names, results.parent)
    assert [entry["dataset"] for entry in read_results(results)] == ["shapes_train_panoptic"]
    assert str(broken) in read_skipped(results)[SHAPES]


def test_weights_that_are_not_there_are_reported_before_anything_is_built(stand_in_cfg, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.pth"):
        score_benchmarks(stand_in_cfg, "none.pth", (SHAPES,), tmp_path / "out")
    assert not Path(tmp_path / "out").exists()
