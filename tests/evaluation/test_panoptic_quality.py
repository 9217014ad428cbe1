"""Panoptic quality: hand-computed cases, crowds and void, and panopticapi run on files."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from PIL import Image

from frozenseg.data.reading import rgb_of_ids
from frozenseg.evaluation.averages import class_groups
from frozenseg.evaluation.panoptic_quality import PanopticEvaluator, panoptic_scores

NAMES = ("cat", "dog", "grass", "sky")
GROUPS = class_groups([True, True, False, False], [True, False, True, False])


def record_of(folder, name, ids, classes, crowds=()):
    Image.fromarray(rgb_of_ids(ids)).save(folder / f"{name}.png")
    segments = [
        {"id": i, "category_id": c, "iscrowd": int(i in crowds), "area": int((ids == i).sum())}
        for i, c in classes.items()
    ]
    return {
        "image_id": name,
        "file_name": f"{name}.jpg",
        "pan_seg_file_name": str(folder / f"{name}.png"),
        "segments_info": segments,
    }


def output_of(ids, classes):
    segments = [{"id": i, "category_id": c, "isthing": c < 2} for i, c in classes.items()]
    return {"panoptic_seg": (torch.from_numpy(ids.astype(np.int32)), segments)}


def evaluate(pairs):
    evaluator = PanopticEvaluator(NAMES, GROUPS)
    evaluator.process(*map(list, zip(*pairs, strict=True)))
    return evaluator.evaluate()["panoptic"]


def strip(*runs):
    return np.repeat([i for i, _ in runs], [n for _, n in runs])[None]


def test_by_hand(tmp_path):
    # cat: one match with IoU 8/10 and one missed; grass: exact; sky: only predicted.
    truth = strip((300, 10), (70000, 4), (3, 6))
    guess = strip((1, 8), (2, 6), (3, 6))
    record = record_of(tmp_path, "x", truth, {300: 0, 70000: 0, 3: 2})
    result = evaluate([(record, output_of(guess, {1: 0, 2: 3, 3: 2}))])
    cat = result["per_class"]["cat"]
    assert cat["SQ"] == pytest.approx(80)
    assert cat["RQ"] == pytest.approx(100 * 1 / 1.5)
    assert cat["PQ"] == pytest.approx(80 / 1.5)
    assert result["per_class"]["grass"]["PQ"] == pytest.approx(100)
    assert result["per_class"]["sky"]["PQ"] == 0
    assert "dog" not in result["per_class"]
    assert result["all"]["PQ"] == pytest.approx((80 / 1.5 + 100 + 0) / 3)
    assert result["seen"]["PQ"] == pytest.approx((80 / 1.5 + 100) / 2)
    assert result["unseen"]["PQ"] == 0
    assert np.isnan(result["unseen_things"]["PQ"])
    assert result["things"]["classes"] == 1


def test_a_prediction_on_crowd_or_void_is_no_false_positive(tmp_path):
    truth = strip((0, 5), (9, 5), (3, 5))
    record = record_of(tmp_path, "x", truth, {9: 0, 3: 2}, crowds=(9,))
    guess = strip((1, 5), (2, 5), (3, 5))
    result = evaluate([(record, output_of(guess, {1: 1, 2: 0, 3: 2}))])
    assert result["per_class"] == {"grass": {"PQ": 100, "SQ": 100, "RQ": 100}}
    other_class = evaluate([(record, output_of(guess, {1: 1, 2: 1, 3: 2}))])
    assert other_class["per_class"]["dog"]["PQ"] == 0


def test_a_perfect_prediction_scores_100_and_swapped_classes_score_0(tmp_path):
    ids = strip((5, 4), (6, 4), (7, 4))
    record = record_of(tmp_path, "x", ids, {5: 0, 6: 1, 7: 2})
    assert evaluate([(record, output_of(ids, {5: 0, 6: 1, 7: 2}))])["all"]["PQ"] == 100
    swapped = evaluate([(record, output_of(ids, {5: 1, 6: 0, 7: 2}))])
    assert swapped["all"]["PQ"] == pytest.approx(100 / 3)


def test_empty_prediction(tmp_path):
    ids = strip((5, 4), (6, 4))
    record = record_of(tmp_path, "x", ids, {5: 0, 6: 2})
    assert evaluate([(record, output_of(np.zeros_like(ids), {}))])["all"]["PQ"] == 0


def test_equals_panopticapi_on_files(tmp_path):
    """The official function on a whole folder of random segmentations."""
    from panopticapi.evaluation import pq_compute_single_core

    generator = np.random.default_rng(0)
    pairs, annotations = [], []
    for name in range(4):
        truth = np.kron(generator.integers(0, 6, (4, 4)), np.ones((3, 3), int))
        guess = np.where(generator.random(truth.shape) < 0.85, truth, 0)
        classes = {i: (i * 7) % 4 for i in np.unique(truth).tolist() if i}
        guessed = {i: classes[i] if i % 5 else 1 for i in np.unique(guess).tolist() if i}
        record = record_of(tmp_path, name, truth, classes, crowds=(2,))
        pairs.append((record, output_of(guess, guessed)))
        Image.fromarray(rgb_of_ids(guess)).save(tmp_path / f"guess_{name}.png")
        annotation = {**record, "file_name": f"{name}.png"}
        segments = [{"id": i, "category_id": c} for i, c in guessed.items()]
        prediction = {"file_name": f"guess_{name}.png", "segments_info": segments}
        annotations.append(json.loads(json.dumps((annotation, prediction))))
    categories = {i: {"id": i, "isthing": int(i < 2)} for i in range(4)}
    stat = pq_compute_single_core(0, annotations, str(tmp_path), str(tmp_path), categories)
    result = evaluate(pairs)
    for group, isthing in (("all", None), ("things", True), ("stuff", False)):
        expected, _ = stat.pq_average(categories, isthing)
        for name in ("PQ", "SQ", "RQ"):
            assert result[group][name] == pytest.approx(100 * expected[name.lower()]), (group, name)


def test_an_alpha_channel_of_the_ground_truth_means_nothing(tmp_path):
    ids = strip((5, 4), (6, 4), (7, 4))
    record = record_of(tmp_path, "x", ids, {5: 0, 6: 1, 7: 2})
    clear = np.dstack([rgb_of_ids(ids), np.zeros_like(ids, dtype=np.uint8)])
    Image.fromarray(clear).save(tmp_path / "x.png")
    assert evaluate([(record, output_of(ids, {5: 0, 6: 1, 7: 2}))])["all"]["PQ"] == 100


def test_a_grey_ground_truth_is_named(tmp_path):
    ids = strip((5, 4))
    record = record_of(tmp_path, "x", ids, {5: 0})
    Image.fromarray(ids.astype(np.uint8)).save(tmp_path / "x.png")
    with pytest.raises(ValueError, match=r"x\.png: is a PNG of mode L.*prepare"):
        evaluate([(record, output_of(ids, {5: 0}))])


def test_a_map_of_another_size_is_reported(tmp_path):
    record = record_of(tmp_path, "x", strip((5, 4)), {5: 0})
    with pytest.raises(ValueError, match=r"x\.png: is 4x1 .*3x1"):
        evaluate([(record, output_of(strip((5, 3)), {5: 0}))])


def test_no_images_are_nan_not_a_crash():
    assert np.isnan(panoptic_scores(np.zeros((4, 4)), GROUPS, NAMES)["all"]["PQ"])
