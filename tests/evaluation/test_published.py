"""The published figures are those of the configs' headers; the right model is found."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from frozenseg.build import family
from frozenseg.config import get_config, load_config
from frozenseg.data.catalog.lookup import DATASET_SPLITS, find_split
from frozenseg.encoders.clip.backbone import config_section
from frozenseg.evaluation.published import (
    measured,
    published_model,
    published_models,
    published_of,
    published_pairings,
)

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
    names = (model.name, model.name.replace("released_", ""))
    paths = [CONFIGS / f"{name}.yaml" for name in dict.fromkeys(names)]
    headers = [path for path in paths if path.is_file()]
    own = {
        benchmark: {score: figure["value"] for score, figure in scores.items()}
        for benchmark, scores in model.scores.items()
    }
    assert headers
    assert all(figures_of(path) == own for path in headers)
    counts = {"fcclip": 16, "frozenseg": 3, "mask_adapter": 5, "maftplus": 5, "ovrcoat": 4}
    panoptic = model.name.endswith("panoptic")
    assert sum(map(len, own.values())) == (1 if panoptic else counts[model.name.split("/")[0]])
    header = headers[0].read_text(encoding="utf-8")
    for scores in model.scores.values():
        for score, figure in scores.items():
            assert model.sources[figure["source"]]
            if "also" in figure:
                assert f"{score} {figure['also']['value']}" in header


@pytest.mark.slow
@pytest.mark.parametrize("model", published_models(), ids=lambda model: model.name)
def test_the_protocol_is_that_of_the_config(model):
    cfg = load_config(CONFIGS / f"{model.name}.yaml")
    clip = cfg.MODEL[config_section(cfg)]
    test, expected = cfg.MODEL.MASK_FORMER.TEST, model.protocol
    assert (model.architecture, model.clip) == (cfg.MODEL.META_ARCHITECTURE, clip.CLIP_MODEL_NAME)
    assert expected["templates"] == clip.TEMPLATES
    assert expected["ensemble"] == {
        "enabled": clip.CLASS_ENSEMBLE,
        "alpha": clip.GEOMETRIC_ENSEMBLE_ALPHA,
        "beta": clip.GEOMETRIC_ENSEMBLE_BETA,
        "void_trust": clip.VOID_TRUST,
    }
    assert expected["object_mask"] == test.OBJECT_MASK_THRESHOLD
    assert expected["overlap"] == test.OVERLAP_THRESHOLD
    assert expected["detections_per_image"] == cfg.TEST.DETECTIONS_PER_IMAGE
    assert expected["test_size"] == [cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST]
    injection = family(cfg).protocol(cfg)["sam_injection"] or {}
    wanted = expected["sam_injection"] or {}
    assert {key: injection.get(key) for key in wanted} == wanted
    assert bool(injection) == bool(wanted)
    for part in ("mask_adapter", "content_text"):
        assert family(cfg).protocol(cfg)[part] == expected.get(part)
    assert not cfg.TEST.USE_SAM_MASKS
    [name] = cfg.DATASETS.TRAIN
    assert find_split(name).benchmark == expected["trained_on"]
    assert set(model.scores) <= {row.benchmark for row in DATASET_SPLITS}


def test_figures_of_frozenseg():
    rows = {one.name: one for one in published_models() if one.architecture == "FrozenSeg"}
    found = {
        name.removeprefix("frozenseg/released_"): [
            one.scores["ade20k_150"][score]["value"] for score in ("PQ", "AP", "mIoU")
        ]
        for name, one in rows.items()
    }
    assert found == {"convnext_large": [25.9, 16.4, 34.4], "r50x64": [23.1, 13.5, 30.7]}
    large = rows["frozenseg/released_convnext_large"]
    assert large.protocol["ensemble"] == published_model("fcclip/r50").protocol["ensemble"]
    model = {"architecture": "FrozenSeg", "clip": "convnext_large_d_320"}
    entry = {"protocol": {"model": model, "sam_injection": {"sam": "vit_b"}}}
    assert published_of(entry) == large
    entry["protocol"]["sam_injection"]["sam"] = "vit_h"
    assert published_of(entry) is None


def test_an_entry_finds_its_model():
    entry = {"protocol": {"model": {"architecture": "FCCLIP", "clip": "RN50x4"}}}
    assert published_of(entry) == published_model("fcclip/r50x4")
    adapted = {"protocol": {**entry["protocol"], "mask_adapter": {"threshold": 0.5}}}
    assert published_of(adapted) is None  # another model
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


PAIRS = {
    "CLIP-B": "clip-vit-b-16", "CLIP-L": "clip-vit-l-14", "DINO-B": "dino-vit-b-16",
    "MoCo-B": "moco-v3-vit-b-16", "BERT-B": "bert-base", "BERT-L": "bert-large",
}  # fmt: skip
# Visual encoder -> mIoU on PASCAL-5i with CLIP's own tower (its base one), BERT-B, BERT-L.
EARLY = {
    "CLIP-B": (52.1, 49.1, 49.7), "CLIP-L": (59.0, 54.6, 54.0),
    "DINO-B": (55.2, 53.9, 53.7), "MoCo-B": (56.3, 56.4, 56.8),
}  # fmt: skip
LATE = {
    "CLIP-B": (43.6, 45.9, 46.0), "CLIP-L": (50.1, 52.1, 52.1),
    "DINO-B": (54.1, 53.3, 54.3), "MoCo-B": (54.5, 55.3, 55.0),
}  # fmt: skip


def test_the_pairings_of_fusioner_have_the_labels_encoders_and_figures_of_the_paper():
    rows = {one.name: one for one in published_pairings()}
    for method, table in (("early", EARLY), ("late", LATE)):
        for visual, values in table.items():
            clip = "CLIP-L" if visual == "CLIP-L" else "CLIP-B"
            for language, value in zip((clip, "BERT-B", "BERT-L"), values, strict=True):
                one = rows.pop(f"fusioner/{visual}+{language}, {method} fusion")
                figure = {"value": value, "source": "paper", "folds": 4, "split": "val"}
                assert one.scores == {"pascal_5i": {"mIoU of items": figure}}
                encoders = {"visual": PAIRS[visual], "language": PAIRS[language]}
                assert one.model == {"method": method, **encoders}
    found = {
        name.removeprefix("fusioner/"): [
            one.scores.get(benchmark, {}).get("mIoU of items", {}).get("value")
            for benchmark in ("pascal_5i", "coco_20i")
        ]
        for name, one in rows.items()
    }
    assert found == {
        "Fusioner ViT-L/14": [59.0, 33.5],
        "Fusioner ResNet-101": [46.4, 27.6],
        "LSeg ViT-L/16": [52.3, 27.2],
        "LSeg ResNet-101": [47.4, 23.4],
        "ZS3Net": [38.3, 21.1],
        "SPNet": [18.3, None],
    }
    assert "arXiv:2210.15138" in rows["fusioner/SPNet"].sources["paper"]


def test_the_published_protocol_of_items_is_that_of_the_rows():
    defaults = get_config().MODEL.FUSIONER
    for one in published_pairings():
        assert set(one.scores) <= {row.benchmark for row in DATASET_SPLITS}
        assert one.protocol["threshold"] == defaults.THRESHOLD
        assert one.protocol["window"] == {"crop": defaults.CROP, "stride": defaults.STRIDE}
        of_clip = one.model.get("language", "").startswith("clip")
        assert one.protocol.get("templates") == (defaults.TEMPLATES if of_clip else None)


def test_an_entry_of_fusioner_finds_its_pairing():
    model = {"architecture": "Fusioner", "method": "late", "threshold": 0.5,
             "visual": "dino-vit-b-16", "language": "bert-large"}  # fmt: skip
    found = published_of({"protocol": {"model": model}})
    assert found == published_model("fusioner/DINO-B+BERT-L, late fusion")
    large = {**model, "method": "early", "visual": "clip-vit-l-14", "language": "clip-vit-l-14"}
    assert published_of({"protocol": {"model": large}}).name == "fusioner/Fusioner ViT-L/14"
    assert published_of({"protocol": {"model": {**model, "visual": "vit.json"}}}) is None
    assert published_of({"protocol": {"model": {"architecture": "Fusioner"}}}) is None


def test_a_score_of_nothing_is_measured_and_is_none():
    metrics = {
        "panoptic": {"all": {"PQ": None, "classes": 0}},
        "instance": {"all": {"AP": 12.0, "classes": 3}},
        "instance_official": {"all": {"AP": None, "classes": 0}},
    }
    assert measured({"metrics": metrics}, "PQ") == ("PQ", None)
    assert measured({"metrics": metrics}, "AP") == ("AP", 12.0)
    assert measured({"metrics": metrics}, "mIoU") is None
