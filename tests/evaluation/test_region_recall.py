"""Recall and class accuracy of regions on cases counted by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from detectron2.structures import Instances
from PIL import Image

from frozenseg.data.reading import rgb_of_ids
from frozenseg.evaluation.averages import class_groups
from frozenseg.evaluation.region_recall import (
    RegionEvaluator,
    count_image,
    region_ious,
    region_scores,
)
from frozenseg.evaluation.results import flat_scores


def strip(*pixels: int) -> np.ndarray:
    mask = np.zeros(10, dtype=bool)
    mask[list(pixels)] = True
    return mask


REGIONS = np.stack([strip(0, 1, 2, 3), strip(5, 6, 7, 8, 9)])


def test_iou_of_every_pair():
    masks = np.stack([strip(0, 1, 2, 3), strip(2, 3, 4, 5), strip()])
    np.testing.assert_allclose(region_ious(masks, REGIONS), [[1, 2 / 6, 0], [0, 1 / 8, 0]])


def test_found_regions_and_right_names():
    # Region 0: IoU 3/4 with a proposal of the right class. Region 1: IoU 1, but another class.
    masks = np.stack([strip(0, 1, 2), strip(5, 6, 7, 8, 9), strip(5)])
    ious = region_ious(masks, REGIONS)
    counts = count_image(ious, np.array([0, 2, 1]), np.array([0, 1]), 3)
    assert counts.tolist() == [[1, 1, 0, 0, 1], [1, 1, 1, 1, 0], [0, 0, 0, 0, 0]]


def test_the_largest_overlap_names_the_region():
    masks = np.stack([strip(0, 1, 2), strip(0, 1, 2, 3)])
    counts = count_image(region_ious(masks, REGIONS[:1]), np.array([0, 1]), np.array([0]), 2)
    assert counts[0].tolist() == [1, 1, 1, 1, 0]


@pytest.mark.parametrize("proposals", [0, 2])
def test_no_proposals_or_no_regions(proposals):
    masks, classes = np.zeros((proposals, 10), dtype=bool), np.zeros(proposals, dtype=np.int64)
    counts = count_image(region_ious(masks, REGIONS), classes, np.array([1, 1]), 2)
    assert counts.tolist() == [[0] * 5, [2, 0, 0, 0, 0]]
    no_truth = np.zeros(0, dtype=np.int64)
    nothing = count_image(region_ious(masks, REGIONS[:0]), classes, no_truth, 2)
    assert not nothing.any()


def test_groups_pool_their_regions():
    counts = np.array([[3, 3, 2, 0, 1], [1, 0, 0, 0, 0], [0, 0, 0, 0, 0]], dtype=float)
    groups = class_groups([True, True, False], seen=[True, False, False])
    scores = region_scores(counts, groups, ("a", "b", "c"))
    assert scores["all"]["recall50"] == 75
    assert scores["seen"]["accuracy"] == pytest.approx(100 / 3)
    assert scores["unseen"]["recall50"] == 0
    assert math.isnan(scores["unseen"]["accuracy"])
    assert math.isnan(scores["stuff"]["recall50"])
    assert set(scores["per_class"]) == {"a", "b"}


# Ten pixels: a cat (seen) of 4, a dog (unseen) of 5, and one pixel of nothing.
NAMES = ("cat", "dog")
GROUPS = class_groups([True, True], seen=[True, False])
CAT, DOG = strip(0, 1, 2, 3), strip(5, 6, 7, 8, 9)


@pytest.fixture
def record(tmp_path):
    ids = (1 * CAT + 2 * DOG)[None]
    Image.fromarray(rgb_of_ids(ids)).save(tmp_path / "truth.png")
    segments = [{"id": i + 1, "category_id": i, "iscrowd": 0} for i in range(2)]
    return {
        "file_name": "a.jpg",
        "pan_seg_file_name": str(tmp_path / "truth.png"),
        "segments_info": segments,
    }


def instances(*masks_and_classes):
    found = Instances((1, 10))
    masks = np.array([mask for mask, _ in masks_and_classes], dtype=bool).reshape(-1, 1, 10)
    found.pred_masks = torch.from_numpy(masks)
    found.pred_classes = torch.tensor([c for _, c in masks_and_classes], dtype=torch.int64)
    return found


def recalls(result, group):
    return [result[group][f"recall{limit}"] for limit in (50, 75, 90)]


def test_recall_of_queries_of_sam_and_of_both(record):
    # Queries: IoU 1 with the cat, 3/5 with the dog. SAM: 3/4 with the cat (not above 0.75) and
    # 4/5 with the dog, called a cat.
    queries = instances((CAT, 0), (strip(5, 6, 7), 1))
    sam = instances((strip(0, 1, 2), 0), (strip(6, 7, 8, 9), 0))
    evaluator = RegionEvaluator(NAMES, GROUPS)
    evaluator.process([record], [{"query_masks": queries, "sam_proposals": sam}])
    result = evaluator.evaluate()
    assert list(result) == ["regions", "regions_sam", "regions_with_sam"]
    assert recalls(result["regions"], "seen") == [100, 100, 100]
    assert recalls(result["regions"], "unseen") == [100, 0, 0]
    assert recalls(result["regions_sam"], "seen") == [100, 0, 0]
    assert recalls(result["regions_sam"], "unseen") == [100, 100, 0]
    assert recalls(result["regions_with_sam"], "seen") == [100, 100, 100]
    assert recalls(result["regions_with_sam"], "unseen") == [100, 100, 0]
    assert recalls(result["regions_with_sam"], "all") == [100, 100, 50]
    accuracy = {name: groups["all"]["accuracy"] for name, groups in result.items()}
    assert accuracy == {"regions": 100, "regions_sam": 50, "regions_with_sam": 50}
    assert flat_scores(result)["regions_with_sam/unseen/recall75"] == 100
    alone = RegionEvaluator(NAMES, GROUPS)
    alone.process([record], [{"query_masks": queries}])
    without = alone.evaluate()
    assert list(without) == ["regions"]
    assert flat_scores(without) == flat_scores({"regions": result["regions"]})


def test_of_equal_overlaps_the_query_names_the_region(record):
    evaluator = RegionEvaluator(NAMES, GROUPS)
    same = {"query_masks": instances((CAT, 0)), "sam_proposals": instances((CAT, 1))}
    evaluator.process([record], [same])
    assert evaluator.evaluate()["regions_with_sam"]["all"]["accuracy"] == 100


def test_an_image_where_sam_found_nothing_counts(record):
    evaluator = RegionEvaluator(NAMES, GROUPS)
    found = {"query_masks": instances((CAT, 0)), "sam_proposals": instances()}
    evaluator.process([record], [found])
    result = evaluator.evaluate()
    assert recalls(result["regions_sam"], "all") == [0, 0, 0]
    assert flat_scores(result["regions_with_sam"]) == flat_scores(result["regions"])


@pytest.mark.parametrize("first", [True, False])
def test_proposals_of_some_images_only_are_an_error_that_names_one(record, first):
    outputs = [{"query_masks": instances((CAT, 0))} for _ in range(2)]
    outputs[not first]["sam_proposals"] = instances()
    evaluator = RegionEvaluator(NAMES, GROUPS)
    other = {**record, "file_name": "b.jpg"}
    with pytest.raises(ValueError, match="b.jpg has no" if first else "b.jpg has prop"):
        evaluator.process([record, other], outputs)
    evaluator.reset()
    evaluator.process([other], outputs[1:])


def test_processes_that_disagree_are_an_error(record, monkeypatch):
    parts = []
    for extra in ({}, {"sam_proposals": instances((CAT, 0))}):
        evaluator = RegionEvaluator(NAMES, GROUPS)
        evaluator.process([record], [{"query_masks": instances((CAT, 0)), **extra}])
        parts.append(evaluator.counts)
    monkeypatch.setattr("detectron2.utils.comm.gather", lambda counts: parts)
    with pytest.raises(ValueError, match="2 of 4 regions"):
        evaluator.evaluate()


def test_proposals_of_another_size_are_an_error(record):
    wrong = Instances((1, 9))
    evaluator = RegionEvaluator(NAMES, GROUPS)
    with pytest.raises(ValueError, match=r"a\.jpg is 9x1"):
        evaluator.process([record], [{"query_masks": instances(), "sam_proposals": wrong}])
