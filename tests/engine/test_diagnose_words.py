"""`TEST.DIAGNOSE`: the diagnosis in results.json, and its questions with other words."""

from __future__ import annotations

import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from detectron2.data import MetadataCatalog
from detectron2.modeling import build_model

from frozenseg.build import load_model
from frozenseg.checkpoints.named_models import model_config
from frozenseg.engine import diagnose_words as words
from frozenseg.engine import evaluate as evaluation
from frozenseg.engine.evaluate import evaluate, evaluate_dataset, plan
from frozenseg.evaluation.results import read_results, write_results

VAL = "shapes_val_panoptic"


def test_the_diagnosis_is_in_the_results_and_changes_no_score(stand_in_cfg, monkeypatch):
    knows_nothing = SimpleNamespace(synsets=lambda *_: [])
    monkeypatch.setattr(evaluation, "installed_wordnet", lambda: knows_nothing)
    torch.manual_seed(0)
    model = build_model(stand_in_cfg)
    plain = evaluate(stand_in_cfg, model)
    path = Path(stand_in_cfg.OUTPUT_DIR) / "results.json"
    assert "diagnosis" not in read_results(path)[0]
    stand_in_cfg.TEST.DIAGNOSE = True
    assert evaluate(stand_in_cfg, model) == plain
    entry = read_results(path)[0]
    diagnosis, metrics = entry["diagnosis"], entry["metrics"]
    real = {name: oracle["real"]["all"] for name, oracle in diagnosis["oracles"].items()}
    assert real == pytest.approx(
        {
            "PQ": metrics["panoptic"]["all"]["PQ"],
            "AP": metrics["instance"]["all"]["AP"],
            "mIoU": metrics["semantic"]["ground_truth"]["all"]["mIoU"],
        }
    )
    counted = {"recall", "calibration", "boundary", "per_class", "confusions"}
    assert counted <= set(diagnosis)
    assert "absent_words" not in diagnosis  # the stand-in has no text tower
    [near] = diagnosis["open"]
    assert (near["similarity"], near["PQ"]["all"]) == ("WordNet", pytest.approx(real["PQ"]))
    assert near["mIoU"]["all"] == pytest.approx(real["mIoU"])
    assert near["unknown_classes"] == len(MetadataCatalog.get(VAL).vocabulary)


@pytest.mark.slow
def test_a_model_with_a_text_tower_is_asked_with_other_words(stand_in_cfg, monkeypatch, tmp_path):
    pool = [f"{colour} {thing}" for colour in ("mauve", "teal") for thing in ("boat", "car", "sea")]
    monkeypatch.setattr(words, "word_pool", lambda: pool)
    monkeypatch.setattr(words, "NUMBERS", (2, 4))
    cfg, weights = model_config("miniature-fcclip", opts=["MODEL.DEVICE", "cpu", "SEED", "1"])
    cfg.defrost()
    cfg.DATASETS.TEST, cfg.OUTPUT_DIR = (VAL,), str(tmp_path)
    cfg.DATASETS.TRAIN = stand_in_cfg.DATASETS.TRAIN
    cfg.INPUT.MIN_SIZE_TEST, cfg.TEST.DIAGNOSE = 32, True
    model = load_model(cfg, weights)[0]
    classifier = model.classifier
    first, again = (evaluate_dataset(model, plan(cfg, VAL)) for _ in range(2))
    assert model.classifier is classifier
    assert model.vocabulary == MetadataCatalog.get(VAL).vocabulary
    write_results(tmp_path / "results.json", [first])
    found = read_results(tmp_path / "results.json")[0]["diagnosis"]  # it fits the schema
    asked = [(row["words"], row["distance"], row["images"]) for row in found["absent_words"]]
    assert asked == [
        (0, "none", 2),
        *((number, distance, 2) for distance in ("near", "far") for number in (2, 4)),
    ]
    bare = found["absent_words"][0]
    panoptic = first["metrics"]["panoptic"]["all"]["PQ"]
    assert bare["PQ"] == pytest.approx(panoptic)  # both images are asked, as in the evaluation
    assert (bare["PQ_lost"], bare["of_absent_words"]) == (0, 0)
    prompts = found["prompts"]
    names = [prompt["name"] for prompt in prompts["prompts"]]
    assert names[:2] == ["as scored", "templates bare name"]
    assert prompts["prompts"][0]["scores"]["PQ"] == pytest.approx(panoptic)
    assert found["queries"]["positive"] == 2
    assert "mIoU" in found["open"][0]
    for diagnosis in (first["diagnosis"], again["diagnosis"]):
        del diagnosis["seconds"]
    assert first["diagnosis"] == again["diagnosis"]


def test_the_model_has_its_words_again_after_an_error():
    model = SimpleNamespace(vocabulary="own", classifier="plain")
    model.set_vocabulary = lambda vocabulary: setattr(model, "vocabulary", vocabulary)
    seen = []

    def fail():
        with words.asking(model, words.Asked("others", "others", "builder")):
            seen.append((model.vocabulary, model.classifier("others")))
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert seen == [("others", "others")]
    assert (model.vocabulary, model.classifier) == ("own", "plain")


def test_chosen_images_are_evenly_spaced_and_bounded():
    assert words.chosen_records(range(5), 10) == [0, 1, 2, 3, 4]
    assert words.chosen_records(range(100), 50) == [0, 14, 28, 42, 57, 71, 85, 99]
    assert len(words.chosen_records(range(5000), 10)) == 500


def prompt(name, pq, **per_class):
    about = {"name": name, "templates": name, "synonyms": True, "words_of": "own", "images": 3}
    return {**about, "PQ": pq, "mIoU": math.nan, "per_class": per_class}


def test_the_cheapest_words_gain_most():
    rows = [
        prompt("as scored", 50.0, cat=10.0, dog=50.0, sky=90.0, sea=50.0),
        prompt("bare", 55.0, cat=20.0, dog=90.0, sky=80.0, sea=51.0),
        prompt("other", 40.0, cat=40.0, dog=10.0, sky=90.0, sea=50.0),
    ]
    found = words.prompt_rows(rows)
    assert [(one["name"], one["prompt"]) for one in found["cheapest"]] == [
        *(("dog", "bare"), ("cat", "other"), ("sea", "bare")),
    ]
    assert (found["score"], found["spread"]["PQ"]) == ("PQ", 15)
    assert found["per_class"]["cat"] == {"as scored": 10, "bare": 20, "other": 40}


def test_what_further_words_cost_is_against_none():
    counts = {"false_segments": 0.0, "of_absent_words": 0.0, "absent_pixels": 0.0, "images": 4}
    rows = words.absent_rows(
        [
            {"words": number, "distance": "near", "PQ": pq, "mIoU": 50.0, **counts}
            for number, pq in ((0, 60.0), (10, 45.0))
        ]
    )
    assert [row["PQ_lost"] for row in rows] == [0, 15]
