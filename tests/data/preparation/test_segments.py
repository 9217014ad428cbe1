"""Areas and boxes of segments, against pycocotools."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pycocotools import mask as coco_mask

from frozenseg.data.preparation.segments import (
    Kind,
    boxes_and_areas,
    categories_of,
    describe_segments,
)
from frozenseg.vocab import Vocabulary


@pytest.mark.slow
@given(
    arrays(np.int32, st.tuples(st.integers(1, 9), st.integers(1, 9)), elements=st.integers(0, 4))
)
def test_boxes_and_areas_are_those_of_pycocotools(ids):
    ids = ids * 16777215 // 4  # also the largest id
    found = boxes_and_areas(ids)
    assert [identity for identity, _, _ in found] == [i for i in np.unique(ids).tolist() if i]
    for identity, box, area in found:
        rle = coco_mask.encode(np.asfortranarray(ids == identity, dtype=np.uint8))
        assert box == coco_mask.toBbox(rle).tolist()
        assert area == coco_mask.area(rle)


def test_kinds_of_ids_that_have_no_pixel_are_left_out():
    kinds = {7: Kind(3), 8: Kind(4, crowd=True), 9: Kind(5)}
    found = describe_segments(np.array([[7, 7, 0], [8, 0, 0]]), kinds)
    assert found == [
        {"id": 7, "category_id": 3, "area": 2, "bbox": [0, 0, 2, 1], "iscrowd": 0},
        {"id": 8, "category_id": 4, "area": 1, "bbox": [0, 1, 1, 1], "iscrowd": 1},
    ]
    assert describe_segments(np.zeros((2, 2), int), kinds) == []


def test_categories_are_those_of_the_table():
    categories = categories_of("cityscapes")
    classes = Vocabulary.from_table("cityscapes").classes
    assert [c["id"] for c in categories] == [item.dataset_id for item in classes]
    assert categories[0] == {"id": 7, "name": "road", "isthing": 0, "color": [128, 64, 128]}
    assert len(categories_of("cityscapes", things_only=True)) == 8
