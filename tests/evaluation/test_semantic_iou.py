"""Semantic IoU: hand-computed cases, both conventions, and detectron2's own evaluator."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from frozenseg.data.reading import rgb_of_ids
from frozenseg.evaluation.averages import class_groups
from frozenseg.evaluation.semantic_iou import SemanticEvaluator, confusion_matrix, semantic_scores

NAMES = ("a", "b", "c", "d")
GROUPS = class_groups([True] * 4, [True, True, False, False])


def scores_of(labels: np.ndarray) -> torch.Tensor:
    return torch.nn.functional.one_hot(torch.from_numpy(labels), 4).permute(2, 0, 1).float()


def evaluate(tmp_path, truth, predicted):
    evaluator = SemanticEvaluator(NAMES, GROUPS, ignore_label=255)
    for i, (labels, guess) in enumerate(zip(truth, predicted, strict=True)):
        path = tmp_path / f"{i}.png"
        Image.fromarray(labels.astype(np.uint8)).save(path)
        record = {"file_name": f"{i}.jpg", "sem_seg_file_name": str(path)}
        evaluator.process([record], [{"sem_seg": scores_of(guess)}])
    return evaluator.evaluate()["semantic"]


def test_by_hand(tmp_path):
    # a: 2 of 3 pixels right; b: 2 right, 1 of a's on top; c: predicted once, never true.
    truth = np.array([[0, 0, 0], [1, 1, 1], [255, 255, 0]])
    guess = np.array([[0, 0, 1], [1, 1, 2], [3, 3, 0]])
    result = evaluate(tmp_path, [truth], [guess])
    iou_a, iou_b = 3 / 4, 2 / 4
    assert result["ground_truth"]["all"]["mIoU"] == pytest.approx(100 * (iou_a + iou_b) / 2)
    assert result["ground_truth_or_predicted"]["all"]["mIoU"] == pytest.approx(
        100 * (iou_a + iou_b + 0) / 3
    )
    assert result["ground_truth_or_predicted"]["all"]["classes"] == 3
    assert np.isnan(result["ground_truth"]["unseen"]["mIoU"])
    assert result["ground_truth_or_predicted"]["unseen"]["mIoU"] == 0
    assert result["fwIoU"] == pytest.approx(100 * (4 * iou_a + 3 * iou_b) / 7)
    assert result["pixel_accuracy"] == pytest.approx(100 * 5 / 7)
    assert result["mean_accuracy"] == pytest.approx(100 * (3 / 4 + 2 / 3) / 2)
    assert result["per_class"] == {
        "a": {"IoU": pytest.approx(75)},
        "b": {"IoU": pytest.approx(50)},
    }


def test_a_perfect_prediction_scores_100_and_counts_add_up_over_images(tmp_path):
    generator = np.random.default_rng(0)
    truth = [generator.integers(0, 4, (5, 7)) for _ in range(3)]
    result = evaluate(tmp_path, truth, truth)
    for value in (
        result["ground_truth"]["all"]["mIoU"],
        result["ground_truth_or_predicted"]["all"]["mIoU"],
        result["fwIoU"],
        result["pixel_accuracy"],
    ):
        assert value == pytest.approx(100)
    whole = evaluate(tmp_path, [np.vstack(truth)], [np.vstack(truth[::-1])])
    parts = evaluate(tmp_path, truth, truth[::-1])
    assert whole["fwIoU"] == pytest.approx(parts["fwIoU"])


def test_equals_detectron2(tmp_path):
    """Whichever version is installed, one of the two conventions is its mIoU."""
    from detectron2.data import DatasetCatalog, MetadataCatalog
    from detectron2.evaluation import SemSegEvaluator

    generator = np.random.default_rng(1)
    truth = [generator.integers(0, 3, (9, 8)) for _ in range(2)]
    truth[0][:2] = 255
    guess = [np.where(generator.random((9, 8)) < 0.6, t % 4, 3) for t in truth]
    result = evaluate(tmp_path, truth, guess)

    name = "semantic_equality"
    records = [
        {"file_name": f"{i}.jpg", "sem_seg_file_name": str(tmp_path / f"{i}.png")} for i in range(2)
    ]
    DatasetCatalog.pop(name, None)
    MetadataCatalog.pop(name, None)
    DatasetCatalog.register(name, lambda: records)
    MetadataCatalog.get(name).set(stuff_classes=list(NAMES), ignore_label=255)
    theirs = SemSegEvaluator(name, distributed=False)
    theirs.reset()
    for record, labels in zip(records, guess, strict=True):
        theirs.process([record], [{"sem_seg": scores_of(labels)}])
    expected = theirs.evaluate()["sem_seg"]
    ours = {
        result[c]["all"]["mIoU"].__round__(6) for c in ("ground_truth", "ground_truth_or_predicted")
    }
    assert round(expected["mIoU"], 6) in ours
    assert len(ours) == 2
    assert result["fwIoU"] == pytest.approx(expected["fwIoU"])
    assert result["pixel_accuracy"] == pytest.approx(expected["pACC"])
    assert result["mean_accuracy"] == pytest.approx(expected["mACC"])


@pytest.mark.parametrize("transparent", [False, True])
def test_ground_truth_from_the_panoptic_map(tmp_path, transparent):
    ids = np.array([[1, 1, 2], [2, 2, 0]])
    alpha = [np.zeros(ids.shape, np.uint8)] if transparent else []
    Image.fromarray(np.dstack([rgb_of_ids(ids), *alpha])).save(tmp_path / "p.png")
    record = {
        "file_name": "p.jpg",
        "pan_seg_file_name": str(tmp_path / "p.png"),
        "segments_info": [{"id": 1, "category_id": 3}, {"id": 2, "category_id": 0}],
    }
    evaluator = SemanticEvaluator(NAMES, GROUPS, ignore_label=255)
    evaluator.process([record], [{"sem_seg": scores_of(np.array([[3, 3, 0], [0, 0, 1]]))}])
    assert evaluator.counts.sum() == 5
    assert evaluator.evaluate()["semantic"]["pixel_accuracy"] == 100


def test_labels_that_do_not_fit_are_reported(tmp_path):
    wrong_label = np.array([[0, 7]])
    with pytest.raises(ValueError, match=r"0\.png: has label 7, but .*4 classes"):
        evaluate(tmp_path, [wrong_label], [np.zeros((1, 2), int)])
    with pytest.raises(ValueError, match=r"0\.png: is 2x1 .*3x1"):
        evaluate(tmp_path, [np.zeros((1, 2), int)], [np.zeros((1, 3), int)])


def test_a_confusion_matrix_leaves_out_unlabelled_pixels():
    matrix = confusion_matrix(np.array([0, 1, -1, 1]), np.array([0, 0, 1, 1]), 2)
    np.testing.assert_array_equal(matrix, [[1, 0, 0], [1, 1, 0]])


def test_a_pixel_without_a_class_is_wrong_but_nobodys_false_alarm(tmp_path):
    truth, guess = np.array([[0, 0, 1, 1, 255]]), np.array([[0, -1, 1, -1, -1]])
    matrix = confusion_matrix(np.where(truth == 255, -1, truth), guess, 2)
    np.testing.assert_array_equal(matrix, [[1, 0, 1], [0, 1, 1]])
    path = tmp_path / "a.png"
    Image.fromarray(truth.astype(np.uint8)).save(path)
    evaluator = SemanticEvaluator(NAMES, GROUPS, ignore_label=255)
    record = {"file_name": "a.jpg", "sem_seg_file_name": str(path)}
    evaluator.process([record], [{"semantic_labels": torch.from_numpy(guess)}])
    result = evaluator.evaluate()["semantic"]
    assert result["ground_truth"]["all"] == {"mIoU": 50, "classes": 2}
    assert result["ground_truth_or_predicted"]["all"] == result["ground_truth"]["all"]
    assert result["per_class"] == {"a": {"IoU": 50}, "b": {"IoU": 50}}
    assert result["pixel_accuracy"] == 50


def test_nothing_evaluated_is_nan_not_a_crash():
    empty = semantic_scores(np.zeros((4, 5), np.int64), GROUPS, NAMES)
    assert np.isnan(empty["ground_truth"]["all"]["mIoU"])
