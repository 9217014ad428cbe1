"""Mask AP: hand-computed cases and empty ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from detectron2.structures import Instances
from PIL import Image

from frozenseg.data.reading import rgb_of_ids
from frozenseg.evaluation.averages import class_groups
from frozenseg.evaluation.instance_ap import InstanceEvaluator

NAMES = ("cat", "dog", "grass")
GROUPS = class_groups([True, True, False], [True, False, True], stuff=False)


@pytest.fixture
def record(tmp_path):
    """Two cats, a crowd of dogs, grass; 20 x 20."""
    ids = np.full((20, 20), 4)
    ids[:8, :8], ids[:8, 10:18], ids[12:, :6] = 1, 2, 3
    Image.fromarray(rgb_of_ids(ids)).save(tmp_path / "x.png")
    rows = ((1, 0, 0), (2, 0, 0), (3, 1, 1), (4, 2, 0))
    segments = [
        {"id": i, "category_id": c, "iscrowd": crowd, "isthing": c < 2} for i, c, crowd in rows
    ]
    return {
        "image_id": 5,
        "file_name": "x.jpg",
        "height": 20,
        "width": 20,
        "pan_seg_file_name": str(tmp_path / "x.png"),
        "segments_info": segments,
        "ids": ids,
    }


def evaluate(record, found):
    """`found`: (mask, class, score) triples."""
    instances = Instances((20, 20))
    masks = [mask for mask, _, _ in found]
    instances.pred_masks = torch.from_numpy(np.array(masks).reshape(-1, 20, 20)).float()
    instances.pred_classes = torch.tensor([label for _, label, _ in found], dtype=torch.int64)
    instances.scores = torch.tensor([score for _, _, score in found])
    evaluator = InstanceEvaluator(NAMES, GROUPS)
    evaluator.process([record], [{"instances": instances}])
    return evaluator.evaluate()["instance"]


def test_exact_masks_score_100_and_crowds_are_not_scored(record):
    ids = record["ids"]
    result = evaluate(record, [(ids == 1, 0, 0.9), (ids == 2, 0, 0.8), (ids == 3, 1, 0.7)])
    assert result["all"]["AP"] == pytest.approx(100)
    assert result["all"]["classes"] == 1
    assert np.isnan(result["unseen"]["AP"])
    assert list(result["per_class"]) == ["cat"]


def test_an_alpha_channel_of_the_ground_truth_means_nothing(record):
    ids = record["ids"]
    clear = np.dstack([rgb_of_ids(ids), np.zeros(ids.shape, np.uint8)])
    Image.fromarray(clear).save(record["pan_seg_file_name"])
    assert evaluate(record, [(ids == 1, 0, 0.9), (ids == 2, 0, 0.8)])["all"]["AP"] == 100


def test_one_of_two_with_iou_3_4_by_hand(record):
    mask = record["ids"] == 1
    mask[6:8] = False  # 48 of 64 pixels: IoU 0.75 passes thresholds 0.50 to 0.75, 6 of 10
    result = evaluate(record, [(mask, 0, 0.9)])
    recalled_half = 51 / 101  # recalls 0, 0.01, ... 0.5 have precision 1
    assert result["all"]["AP50"] == pytest.approx(100 * recalled_half)
    assert result["all"]["AP"] == pytest.approx(100 * recalled_half * 6 / 10)


def test_nothing_found_and_nothing_to_find(record):
    assert evaluate(record, [])["all"]["AP"] == 0
    record["segments_info"] = [s for s in record["segments_info"] if not s["isthing"]]
    assert np.isnan(evaluate(record, [(record["ids"] == 1, 0, 0.9)])["all"]["AP"])
