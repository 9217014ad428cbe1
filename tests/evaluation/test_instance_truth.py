"""Ground truth of instances from annotation files and from Cityscapes' maps."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from frozenseg.evaluation.instance_truth import AnnotationFile, CityscapesMaps, annotated_objects
from frozenseg.vocab import Vocabulary
from tests.shapes_world import VAL

WORDS = Vocabulary.parse("cat; dog; sky:stuff")


def test_areas_are_those_of_the_file_where_it_has_them():
    square = [[0, 0, 4, 0, 4, 4, 0, 4]]
    common = {"category_id": 1, "iscrowd": 0, "segmentation": square}
    record = {"height": 6, "width": 8, "annotations": [{**common, "area": 15.5}, common]}
    size, objects = annotated_objects(record)
    assert size == (6, 8)
    assert [one["area"] for one in objects] == [15.5, 16]
    assert coco_mask.decode(objects[0]["segmentation"]).sum() == 16


@pytest.fixture
def other_file(tmp_path):
    """The row of a panoptic dataset, and an instance file of its single image, 8 x 6."""
    row = replace(
        VAL,
        category_ids=(1, 2, 3),
        images="pictures",
        instance_json="marks/instances.json",
    )
    (tmp_path / "marks").mkdir()
    (tmp_path / "pictures").mkdir()
    Image.new("RGB", (8, 6)).save(tmp_path / "pictures/x.png")
    square = [[0, 0, 4, 0, 4, 4, 0, 4]]
    one = {"id": 1, "image_id": 5, "category_id": 2, "bbox": [0, 0, 4, 4], "segmentation": square}
    images = [{"id": 5, "file_name": "x.png", "height": 6, "width": 8}]
    path = tmp_path / "marks/instances.json"
    path.write_text(json.dumps({"images": images, "annotations": [one]}))
    return AnnotationFile(path, row, WORDS)


def test_the_objects_of_another_file_are_found_by_the_image(other_file):
    record = {"image_id": 5, "file_name": "x.png", "height": 6, "width": 8}
    _, [one] = other_file(record)
    assert (one["category_id"], one["iscrowd"], one["area"]) == (1, 0, 16)
    with pytest.raises(ValueError, match=r"instances\.json: has no image 6.*get them again"):
        other_file({**record, "image_id": 6})
    with pytest.raises(ValueError, match=r"instances\.json: is 8x6 but its image x\.png is 9x6"):
        other_file({**record, "width": 9})


def test_cityscapes_maps_have_objects_groups_and_classes_that_are_not_scored(tmp_path):
    ids = np.full((4, 10), 7, np.uint16)  # road, which is stuff
    ids[:2, :2], ids[:2, 4:6], ids[3, :3] = 26000, 26001, 26  # two cars, a group of cars
    ids[3, 5:], ids[2, 0] = 29000, 24012  # a caravan, the 13th person
    Image.fromarray(ids).save(tmp_path / "x.png")
    truth = CityscapesMaps({7: 2, 24: 0, 26: 1}, WORDS.thing_mask)
    size, objects = truth({"file_name": "x", "instance_file_name": str(tmp_path / "x.png")})
    assert size == (4, 10)
    assert [(one["category_id"], one["iscrowd"], one["area"]) for one in objects] == [
        (1, 1, 3), (0, 0, 1), (1, 0, 4), (1, 0, 4)
    ]  # fmt: skip
