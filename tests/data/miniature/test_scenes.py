"""Scenes of the miniature world: ground truth fits the pixels, and every scene is repeatable."""

from __future__ import annotations

import numpy as np
import pytest

from frozenseg.data.miniature.classes import ALL, CLASSES, COLORS, SEEN, SHAPES
from frozenseg.data.miniature.scenes import (
    MIN_VISIBLE_PIXELS,
    MIN_VISIBLE_SHARE,
    SIZE,
    THINGS,
    _coverage,
    draw_crop,
    draw_scene,
)

SCENES = [draw_scene(3, i) for i in range(60)]


@pytest.mark.slow
def test_segments_describe_every_pixel():
    for scene in SCENES:
        assert scene.image.shape == (SIZE, SIZE, 3)
        assert scene.image.dtype == np.uint8
        assert set(np.unique(scene.ids)) == {segment["id"] for segment in scene.segments}
        for segment in scene.segments:
            rows, columns = np.nonzero(scene.ids == segment["id"])
            x, y, width, height = segment["bbox"]
            assert segment["area"] == len(rows)
            assert (x, y) == (columns.min(), rows.min())
            assert (x + width - 1, y + height - 1) == (columns.max(), rows.max())
            assert segment["isthing"] == CLASSES[segment["category"]].is_thing


def test_a_scene_is_a_function_of_seed_and_index():
    again = draw_scene(3, 5)
    assert (again.image == SCENES[5].image).all()
    assert again.segments == SCENES[5].segments
    assert (draw_scene(4, 5).image != SCENES[5].image).any()
    assert (SCENES[6].image != SCENES[5].image).any()


def test_numbers_of_things_and_stuff():
    things = [sum(s["isthing"] for s in scene.segments) for scene in SCENES]
    stuff = [sum(not s["isthing"] for s in scene.segments) for scene in SCENES]
    assert min(things) >= 1
    assert max(things) <= THINGS[1]
    assert {1, 2} == set(stuff)
    assert set(range(2, 6)) <= set(things)


def test_things_stay_visible_but_some_are_covered_in_part():
    areas = [s["area"] for scene in SCENES for s in scene.segments if s["isthing"]]
    assert min(areas) >= MIN_VISIBLE_PIXELS
    boxes_meet = 0
    for scene in SCENES:
        boxes = [s["bbox"] for s in scene.segments if s["isthing"]]
        boxes_meet += sum(_meet(a, b) for i, a in enumerate(boxes) for b in boxes[:i])
    assert boxes_meet > 10
    assert 0.5 <= MIN_VISIBLE_SHARE < 1


def _meet(a, b):
    return all(a[k] < b[k] + b[k + 2] and b[k] < a[k] + a[k + 2] for k in (0, 1))


@pytest.mark.slow
def test_seen_classes_alone_show_no_unseen_ones():
    found = {s["category"] for i in range(150) for s in draw_scene(0, i, classes=SEEN).segments}
    assert found <= set(SEEN)
    assert len(found) > 0.9 * len(SEEN)
    shown = {s["category"] for scene in SCENES for s in scene.segments}
    assert shown - set(SEEN), "all classes: the unseen ones must occur"


@pytest.mark.slow
def test_a_thing_has_the_colour_of_its_name():
    """The median pixel of a thing is nearest to its own colour, in direction or brightness."""
    table = np.array([rgb for _, rgb in COLORS.values()], float)
    right = []
    for scene in SCENES:
        for segment in scene.segments:
            row = CLASSES[segment["category"]]
            if row.is_thing:
                pixel = np.median(scene.image[scene.ids == segment["id"]], axis=0)
                nearest = np.abs(table - pixel).sum(1).argmin()
                right.append(nearest == row.color)
    assert np.mean(right) > 0.9


@pytest.mark.parametrize("shape", SHAPES)
def test_outlines_have_about_the_radius_and_are_anti_aliased(shape):
    category = next(i for i in ALL if CLASSES[i].is_thing and CLASSES[i].name.endswith(shape))
    mask = _coverage(category, 50.0, 30.0, np.array([128.0, 128.0]))
    rows, columns = np.nonzero(mask > 127)
    reach = np.hypot(rows - 128, columns - 128).max()
    assert 40 < reach < 60
    assert 2000 < len(rows) < 8000
    assert ((mask > 20) & (mask < 235)).any()


def test_rotation_keeps_the_area():
    center = np.array([128.0, 128.0])
    areas = [(_coverage(24, 45.0, degrees, center) > 127).sum() for degrees in range(0, 360, 30)]
    assert max(areas) - min(areas) < 0.03 * max(areas)


def test_crops_hold_one_thing_on_one_stuff():
    image, _, thing, stuff = draw_crop(1, 7, size=48)
    assert image.shape == (48, 48, 3)
    assert CLASSES[thing].is_thing
    assert not CLASSES[stuff].is_thing
    assert (draw_crop(1, 7, size=48)[0] == image).all()


@pytest.mark.slow
def test_the_mask_of_a_crop_is_where_the_thing_is():
    """The pixels inside have the colour of the thing, however light and texture change it."""
    table = np.array([rgb for _, rgb in COLORS.values()], float)
    right = []
    for index in range(40):
        image, mask, thing, _ = draw_crop(2, index, size=96)
        assert mask.shape == (96, 96)
        assert mask.dtype == bool
        assert 0.08 < mask.mean() < 0.75
        nearest = np.abs(table - np.median(image[mask], axis=0)).sum(1).argmin()
        right.append(nearest == CLASSES[thing].color)
    assert np.mean(right) > 0.85
