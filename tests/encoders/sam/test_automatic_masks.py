"""SAM's automatic masks: what comes out, in which order, and what happens when nothing does."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from pycocotools import mask as coco_mask

from frozenseg.data.miniature.scenes import draw_scene
from frozenseg.encoders.sam.automatic_masks import MaskGeneration, SamMasks
from frozenseg.encoders.sam.model import load_sam

ROOT = Path(__file__).resolve().parents[3]
LOOSE = MaskGeneration(
    points_per_side=5,
    pred_iou_thresh=0.4,
    stability_score_thresh=0.5,
    stability_score_offset=0.5,
    min_mask_region_area=30,
)


@pytest.fixture(scope="module")
def sam():
    config = ROOT / "configs" / "miniature" / "miniature_sam.json"
    return load_sam(str(config), str(ROOT / "frozenseg" / "weights" / "miniature_sam.safetensors"))


@pytest.fixture(scope="module")
def image():
    """Disks and a square on a background of stripes."""
    image = np.full((96, 128, 3), 60, np.uint8)
    image[::8] = 90
    cv2.circle(image, (30, 30), 20, (220, 30, 30), -1)
    cv2.circle(image, (95, 60), 25, (30, 200, 60), -1)
    cv2.rectangle(image, (10, 60), (45, 90), (40, 60, 230), -1)
    return image


@pytest.fixture(scope="module")
def rows(sam, image):
    return SamMasks(sam, LOOSE)(image)


def test_rows_are_ordered_by_their_true_area(rows):
    decoded = coco_mask.decode([row["segmentation"] for row in rows])
    assert decoded.shape[:2] == (96, 128)
    assert len(rows) > 3
    areas = [row["area"] for row in rows]
    assert areas == decoded.sum((0, 1)).tolist() == sorted(areas, reverse=True)
    assert all(row["predicted_iou"] > 0.4 and row["stability_score"] >= 0.5 for row in rows)


@pytest.mark.slow
def test_most_things_of_a_miniature_scene_are_found(sam):
    scene = draw_scene(3, 0)
    masks = SamMasks(sam, replace(LOOSE, points_per_side=16)).masks(scene.image).numpy()
    things = [scene.ids == segment["id"] for segment in scene.segments if segment["isthing"]]
    found = [max((m & t).sum() / (m | t).sum() for m in masks) > 0.5 for t in things]
    assert sum(found) > 0.5 * len(things) > 0


def test_only_the_largest_are_kept(sam, image, rows):
    assert SamMasks(sam, replace(LOOSE, max_masks=3))(image) == rows[:3]


def test_the_tensor_holds_the_same_masks(sam, image, rows):
    masks = SamMasks(sam, LOOSE).masks(image)
    assert masks.dtype == torch.bool
    decoded = coco_mask.decode([row["segmentation"] for row in rows])
    np.testing.assert_array_equal(masks.numpy(), decoded.transpose(2, 0, 1))


def test_islands_and_holes_are_not_small(rows):
    for row in rows:
        mask = coco_mask.decode(row["segmentation"])
        for part in (mask, 1 - mask):
            count, _, stats, _ = cv2.connectedComponentsWithStats(part, connectivity=8)
            areas = stats[1:, cv2.CC_STAT_AREA]
            assert count <= 2 or areas.min() >= LOOSE.min_mask_region_area


def test_points_may_be_asked_in_any_number_of_batches(sam, image, rows):
    again = SamMasks(sam, LOOSE, points_per_batch=7)(image)
    assert [row["segmentation"] for row in again] == [row["segmentation"] for row in rows]


@pytest.mark.slow
@pytest.mark.parametrize("area", [0, 100])
@pytest.mark.parametrize("name", ["pred_iou_thresh", "stability_score_thresh"])
def test_no_mask_at_all_is_an_empty_list(sam, image, name, area):
    settings = replace(LOOSE, points_per_side=2, min_mask_region_area=area, **{name: 2.0})
    generate = SamMasks(sam, settings)
    assert generate(image) == []
    assert generate.masks(image).shape == (0, 96, 128)
    assert generate.masks(image).dtype == torch.bool


def test_masks_of_no_pixel_are_left_out(sam):
    settings = replace(
        LOOSE, pred_iou_thresh=-9.0, stability_score_thresh=0.0, min_mask_region_area=0
    )
    rows = SamMasks(sam, settings)(np.zeros((40, 40, 3), np.uint8))
    assert all(row["area"] > 0 for row in rows)


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 300, 3), (1, 4000, 3), (4000, 1, 3)])
def test_thin_images_are_no_error(sam, shape):
    generate = SamMasks(sam, replace(LOOSE, points_per_side=2))
    assert generate.masks(np.full(shape, 9, np.uint8)).shape[1:] == shape[:2]


@pytest.mark.parametrize(
    "image", [np.zeros((9, 9), np.uint8), np.zeros((9, 9, 4), np.uint8), np.zeros((9, 9, 3))]
)
def test_other_arrays_are_refused(sam, image):
    with pytest.raises(ValueError, match=r"\(H, W, 3\) uint8 is needed, not 9x9"):
        SamMasks(sam, LOOSE)(image)
