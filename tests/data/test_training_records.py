"""What is left out of training records, and said of them."""

from __future__ import annotations

import logging
import math

import numpy as np
import pytest
from detectron2.data.transforms import NoOpTransform
from pycocotools import mask as coco_mask

from frozenseg.data.mappers.targets import InstanceTargets, PanopticTargets, SemanticTargets
from frozenseg.data.training_records import (
    repeat_factors,
    warn_of_empty_masks,
    warn_of_many_targets,
    with_annotations,
)

SQUARE = [[2, 1, 5, 1, 5, 4, 2, 4]]


def record(name, *objects, **options):
    annotations = [
        {"id": i, "category_id": c, "iscrowd": 0, "segmentation": SQUARE, **options}
        for i, c in enumerate(objects)
    ]
    return {"file_name": name, "height": 20, "width": 30, "annotations": annotations}


def test_images_without_objects_are_left_out_and_counted(caplog):
    caplog.set_level(logging.INFO, "frozenseg")
    records = [record("a"), record("b", 1), record("c", 1, iscrowd=1), {"file_name": "panoptic"}]
    assert [r["file_name"] for r in with_annotations(records)] == ["b", "panoptic"]
    assert "2 of 4 training images have no annotation" in caplog.text


def rle(mask):
    return coco_mask.encode(np.asfortranarray(mask.astype(np.uint8)))


@pytest.mark.parametrize(
    ("segmentation", "empty"),
    [
        (SQUARE, False),
        ([[10, 10, 10, 10, 10, 10]], True),
        ([[-50, -50, -40, -50, -40, -40]], True),
        ([[1000, 1000, 1100, 1000, 1100, 1100]], True),
        ([[5, 5, 25, 5, 25, 5]], True),
        ([[-50, -50, -40, -50, -40, -40], *SQUARE], False),
        ([[-5, -5, 5, -5, 5, 5, -5, 5]], False),  # reaches out
        (rle(np.zeros((20, 30))), True),
        (rle(np.ones((20, 30))), False),
    ],
)
def test_masks_without_a_pixel_are_named(segmentation, empty, caplog):
    warn_of_empty_masks([record("a.jpg", 1, segmentation=segmentation)])
    assert ("1 annotated objects have no pixel" in caplog.text) == empty
    assert ("a.jpg: annotation 0" in caplog.text) == empty
    one = record("a.jpg", 1, segmentation=segmentation)
    assert len(InstanceTargets()(one, (20, 30), NoOpTransform(), 30)[0]) == (not empty)


def test_more_targets_than_queries_are_one_warning_with_numbers(caplog):
    records = [record("a", *range(7)), record("b", *range(3)), record("c", *range(5))]
    warn_of_many_targets(records, InstanceTargets().most, 4)
    assert len(caplog.records) == 1
    assert "2 of 3 training images have more targets than" in caplog.text
    assert "NUM_OBJECT_QUERIES (4), up to 7" in caplog.text
    caplog.clear()
    warn_of_many_targets(records, InstanceTargets().most, 7)
    assert not caplog.records


def test_the_most_targets_of_a_record():
    segments = [{"category_id": c, "iscrowd": c == 9} for c in (1, 1, 2, 9)]
    assert PanopticTargets().most({"segments_info": segments}) == 3
    assert SemanticTargets(255, 10).most({"segments_info": segments}) == 3  # crowds are a class
    assert SemanticTargets(255, 10).most({"sem_seg_file_name": "a.png"}) == 0


def test_repeat_factors_are_those_of_lvis():
    records = [record("a", 1), record("b", 1, 2), record("c", 1), record("d")]
    factors = repeat_factors(records, 1.0)
    common, rare = math.sqrt(1 / 0.75), math.sqrt(1 / 0.25)
    assert factors == pytest.approx([common, rare, common, 1.0])
    assert repeat_factors(records, 0.25) == [1.0] * 4


def test_repeat_factors_need_a_threshold_and_annotations():
    with pytest.raises(ValueError, match=r"REPEAT_THRESHOLD is 0\.0, which repeats nothing"):
        repeat_factors([record("a", 1)], 0.0)
    with pytest.raises(ValueError, match=r"b\.jpg: .*needs instance or panoptic"):
        repeat_factors([record("a", 1), {"file_name": "b.jpg"}], 0.1)
