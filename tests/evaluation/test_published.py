"""The published figures are those of the configs' headers; the right model is found."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from frozenseg.config import load_config
from frozenseg.data.catalog import BENCHMARKS, find_benchmark
from frozenseg.evaluation.published import measured, published_model, published_models, published_of

CONFIGS = Path(__file__).parents[2] / "configs"
NAMES = {
    "ADE20K-150": "ade20k_150",
    "Cityscapes": "cityscapes",
    "Mapillary Vistas": "mapillary_vistas",
    "COCO val (the training vocabulary)": "coco_panoptic",
    "A-847": "ade20k_847",
    "PC-459": "pascal_context_459",
    "PC-59": "pascal_context_59",
    "PAS-21": "pascal_voc_21",
    "PAS-20": "pascal_voc_20",
}


def figures_of(path):
    """{benchmark: {score: percent}} of a config's header."""
    found: dict[str, dict[str, float]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("#   mIoU of "):
            for name, value in re.findall(r"([A-Z]+-\d+) ([\d.]+)", line):
                found[NAMES[name]] = {"mIoU": float(value)}
        else:
            name, _, rest = line.removeprefix("#   ").partition(": ")
            if name in NAMES:
                pairs = re.findall(r"(PQ|AP|mIoU) ([\d.]+)", rest)
                found[NAMES[name]] = {score: float(value) for score, value in pairs}
    return found


@pytest.mark.parametrize("model", published_models(), ids=lambda model: model.name)
def test_every_figure_stands_in_the_header_of_its_config(model):
    path = CONFIGS / f"{model.name}.yaml"
    own = {
        benchmark: {score: figure["value"] for score, figure in scores.items()}
        for benchmark, scores in model.scores.items()
    }
    assert own == figures_of(path)
    assert sum(map(len, own.values())) == 16
    header = path.read_text(encoding="utf-8")
    for benchmark, scores in model.scores.items():
        for score, figure in scores.items():
            assert model.source(benchmark, score)
            if "also" in figure:
                assert f"{score} {figure['also']['value']}" in header


@pytest.mark.parametrize("model", published_models(), ids=lambda model: model.name)
def test_the_protocol_is_that_of_the_config(model):
    cfg = load_config(CONFIGS / f"{model.name}.yaml")
    clip, test, expected = cfg.MODEL.FC_CLIP, cfg.MODEL.MASK_FORMER.TEST, model.protocol
    assert (model.architecture, model.clip) == (cfg.MODEL.META_ARCHITECTURE, clip.CLIP_MODEL_NAME)
    assert expected["templates"] == clip.TEMPLATES
    assert expected["ensemble"] == {
        "enabled": clip.CLASS_ENSEMBLE,
        "alpha": clip.GEOMETRIC_ENSEMBLE_ALPHA,
        "beta": clip.GEOMETRIC_ENSEMBLE_BETA,
    }
    assert expected["object_mask"] == test.OBJECT_MASK_THRESHOLD
    assert expected["overlap"] == test.OVERLAP_THRESHOLD
    assert expected["detections_per_image"] == cfg.TEST.DETECTIONS_PER_IMAGE
    assert expected["test_size"] == [cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST]
    [name] = cfg.DATASETS.TRAIN
    assert find_benchmark(name).benchmark == expected["trained_on"]
    assert set(model.scores) <= {row.benchmark for row in BENCHMARKS}


def test_an_entry_finds_its_model():
    entry = {"protocol": {"model": {"architecture": "FCCLIP", "clip": "RN50x4"}}}
    assert published_of(entry) == published_model("fcclip/r50x4")
    entry["protocol"]["model"]["clip"] = "miniature_clip.json"
    assert published_of(entry) is None
    assert published_of({}) is None
    with pytest.raises(ValueError, match=r"'r50'; there are fcclip/convnext_large, "):
        published_model("r50")


def test_ap_is_that_of_the_best_matching_ground_truth():
    metrics = {"instance": {"all": {"AP": 1.0, "classes": 3}}}
    assert measured({"metrics": metrics}, "AP") == ("AP", 1.0)
    metrics["instance_official"] = {"all": {"AP": 2.0, "classes": 3}}
    assert measured({"metrics": metrics}, "AP") == ("AP, official", 2.0)
    metrics["cityscapes_instance"] = {"all": {"AP": 3.0}}
    assert measured({"metrics": metrics}, "AP") == ("AP, Cityscapes", 3.0)
    assert measured({"metrics": metrics}, "mIoU") is None
