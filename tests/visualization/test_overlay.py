import numpy as np
import pytest

from frozenseg.visualization.overlay import SegmentStyle, overlay_label_map, overlay_masks

RED, BLUE = (255, 0, 0), (0, 0, 255)
STYLES = {1: SegmentStyle("rose", RED, 0.9), 2: SegmentStyle("sea", BLUE)}


def picture(height=60, width=80, seed=0):
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)


def halves(height=60, width=80):
    label_map = np.zeros((height, width), dtype=np.int32)
    label_map[:, : width // 4] = 1
    label_map[:, width // 2 :] = 2
    return label_map


def test_colors_are_where_they_should_be():
    image, label_map = picture(), halves()
    result = overlay_label_map(image, label_map, STYLES, opacity=0.5, labels=False)
    # away from the outlines: half image, half colour
    expected = np.rint((image[:, :18].astype(float) + np.array(RED)) / 2)
    assert np.abs(result[:, :18] - expected).max() <= 1
    expected = np.rint((image[:, 42:].astype(float) + np.array(BLUE)) / 2)
    assert np.abs(result[:, 42:] - expected).max() <= 1


def test_pixels_of_no_segment_and_the_input_are_unchanged():
    image, label_map = picture(), halves()
    before = image.copy()
    result = overlay_label_map(image, label_map, STYLES, labels=False)
    assert np.array_equal(result[label_map == 0], image[label_map == 0])
    assert np.array_equal(image, before)


def test_outlines_are_brighter_than_both_sides():
    image = np.zeros((40, 40, 3), dtype=np.uint8)
    label_map = np.ones((40, 40), dtype=np.int32)
    label_map[:, 20:] = 2
    result = overlay_label_map(image, label_map, STYLES, labels=False)
    assert (result[:, 19:21] > 150).all()
    assert result[:, :18].max() <= 128
    assert result[:, 22:].max() <= 128


def test_ids_without_a_style_are_not_painted():
    image, label_map = picture(), halves()
    result = overlay_label_map(image, label_map, {1: STYLES[1]}, labels=False)
    assert np.array_equal(result[:, 40:], image[:, 40:])


def test_empty_result_is_the_image():
    image = picture()
    nothing = np.zeros(image.shape[:2], dtype=np.int32)
    assert np.array_equal(overlay_label_map(image, nothing, {}), image)
    assert np.array_equal(overlay_masks(image, [], []), image)
    no_pixels = [np.zeros(image.shape[:2], dtype=bool)]
    assert np.array_equal(overlay_masks(image, no_pixels, [STYLES[1]]), image)


def test_label_is_written_into_its_segment():
    image = np.zeros((300, 400, 3), dtype=np.uint8)
    label_map = halves(300, 400)
    plain = overlay_label_map(image, label_map, STYLES, labels=False)
    named = overlay_label_map(image, label_map, STYLES)
    changed = (plain != named).any(-1)
    assert changed[:, 200:].any()
    assert changed[:, :100].any()
    rows = np.flatnonzero(changed[:, 200:].any(1))
    assert 130 <= rows.mean() <= 170  # about the middle of the right half


@pytest.mark.parametrize("name", ["café", "Дерево", "人", "🐱🐱", "", "a" * 300, "two\nlines"])
def test_any_name_can_be_drawn(name):
    image = np.zeros((100, 400, 3), dtype=np.uint8)
    label_map = np.ones((100, 400), dtype=np.int32)
    result = overlay_label_map(image, label_map, {1: SegmentStyle(name, RED)})
    assert result.shape == image.shape


def test_one_pixel_segments():
    image = np.zeros((50, 200, 3), dtype=np.uint8)
    label_map = np.zeros((50, 200), dtype=np.int32)
    label_map[0, 0], label_map[49, 199] = 1, 2
    plain = overlay_label_map(image, label_map, STYLES, labels=False)
    assert plain[0, 0].any()
    assert plain[49, 199].any()
    assert plain[25, 100].max() == 0
    overlay_label_map(image, label_map, STYLES)


@pytest.mark.parametrize("size", [(1, 1), (1, 2000), (2000, 1), (3, 3)])
def test_tiny_and_thin_images(size):
    image = np.zeros((*size, 3), dtype=np.uint8)
    label_map = np.ones(size, dtype=np.int32)
    result = overlay_label_map(image, label_map, STYLES, opacity=1.0)
    assert (result == np.array(RED)).all(-1).mean() == 1
    assert overlay_masks(image, [np.ones(size, dtype=bool)], [STYLES[1]]).shape == image.shape


@pytest.mark.slow
def test_huge_image():
    image = np.zeros((3000, 4000, 3), dtype=np.uint8)
    result = overlay_label_map(image, halves(3000, 4000), STYLES)
    assert tuple(result[10, 10]) == (128, 0, 0)
    assert (result[:, 1000:1500] == 0).all()  # no label runs out of its segment here


def test_later_masks_lie_on_top():
    image = np.zeros((40, 40, 3), dtype=np.uint8)
    low, high = np.zeros((2, 40, 40), dtype=bool)
    low[:30], high[10:] = True, True
    result = overlay_masks(image, [low, high], [STYLES[1], STYLES[2]], opacity=1.0, labels=False)
    assert tuple(result[5, 5]) == RED
    assert tuple(result[20, 20]) == BLUE


def test_masks_and_label_map_agree_where_nothing_overlaps():
    image, label_map = picture(), halves()
    label_map[label_map == 1] = 0
    by_map = overlay_label_map(image, label_map, STYLES)
    by_mask = overlay_masks(image, [label_map == 2], [STYLES[2]])
    same = (by_map == by_mask).all(-1)
    assert same[2:-2, :-2].all()  # a mask is outlined at the image's border too


def test_wrong_input_is_named():
    image, label_map = picture(), halves()
    with pytest.raises(ValueError, match="uint8"):
        overlay_label_map(image.astype(float), label_map, STYLES)
    with pytest.raises(ValueError, match="label map"):
        overlay_label_map(image, label_map[:-1], STYLES)
    with pytest.raises(ValueError, match="mask"):
        overlay_masks(image, [label_map[1:] == 1], [STYLES[1]])
    with pytest.raises(ValueError):
        overlay_masks(image, [label_map == 1], [])
    with pytest.raises(ValueError, match="pixels"):
        overlay_label_map(image[:0], label_map[:0], STYLES)


def label_count(centers, radius):
    """How many labels a segment of disks gets, on a black image of 400 x 600."""
    y, x = np.mgrid[:400, :600]
    label_map = np.zeros((400, 600), dtype=np.int32)
    for center in centers:
        label_map[(y - 200) ** 2 + (x - center) ** 2 <= radius**2] = 1
    image = np.zeros((400, 600, 3), dtype=np.uint8)
    styles = {1: SegmentStyle("x", (200, 30, 30))}
    chips = (overlay_label_map(image, label_map, styles) == (200, 30, 30)).all(-1)
    columns = np.flatnonzero(chips.any(0))
    return int((np.diff(columns) > 20).sum()) + 1


def test_far_parts_of_a_segment_are_named_too_but_not_near_ones():
    assert label_count([100, 500], 60) == 2
    assert label_count([250, 350], 45) == 1
    assert label_count([100, 500], 5) == 1  # no room for text in either


@pytest.mark.parametrize(("value", "ink"), [(0, 255), (255, 0)])
def test_outlines_differ_from_dark_and_from_bright_segments(value, ink):
    image = np.full((40, 40, 3), value, dtype=np.uint8)
    style = SegmentStyle("cat", (90, 230, 220))  # two of one class: only the outline parts them
    result = overlay_label_map(image, halves(40, 40), {1: style, 2: style}, labels=False)
    plain, outline = result[20, 30].astype(int), result[20, 20].astype(int)
    assert np.abs(outline - plain).max() > 60
    assert np.abs(outline - ink).mean() < np.abs(plain - ink).mean()
