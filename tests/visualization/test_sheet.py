import numpy as np
import pytest

from frozenseg.visualization.overlay import SegmentStyle
from frozenseg.visualization.sheet import (
    HIGHEST_SHEET,
    LOWEST_SHEET,
    legend,
    picture_size,
    side_by_side,
    to_picture_size,
)

RED, BLUE = (250, 10, 10), (10, 10, 250)
STYLES = [SegmentStyle("rose", RED, 0.9), SegmentStyle("sea", BLUE)]


def has_color(image, color):
    return (image == np.array(color)).all(-1).any()


def plain(height, width, color):
    return np.full((height, width, 3), color, dtype=np.uint8)


def test_legend_shows_every_color_in_order():
    panel = legend(STYLES, 200)
    assert panel.shape[0] == 200
    assert panel.dtype == np.uint8
    rows = [np.flatnonzero((panel == np.array(c)).all(-1).any(1)).mean() for c in (RED, BLUE)]
    assert rows[0] < rows[1]


def test_legend_keeps_its_height_and_counts_what_does_not_fit():
    many = [SegmentStyle(f"class {i}", (i, 0, 0)) for i in range(100)]
    panel = legend(many, 120, size=16)
    assert panel.shape[0] == 120
    assert has_color(panel, (1, 0, 0))
    assert not has_color(panel, (99, 0, 0))


def test_legend_of_nothing_says_so():
    assert (legend([], 100) < 128).any()  # ink


@pytest.mark.parametrize("height", [1, 5, 20])
def test_legend_of_any_height(height):
    assert legend(STYLES, height).shape[0] == height


def test_pictures_stand_left_to_right_under_titles():
    green = (0, 200, 0)
    sheet = side_by_side(
        [("image", plain(400, 300, RED)), ("truth", plain(400, 300, BLUE)),
         ("prediction", plain(400, 300, green))]
    )  # fmt: skip
    centers = []
    for color in (RED, BLUE, green):
        found = (sheet == np.array(color)).all(-1)
        assert found.sum() == 400 * 300
        centers.append(np.flatnonzero(found.any(0)).mean())
    assert centers == sorted(centers)
    top = np.flatnonzero((sheet == np.array(RED)).all(-1).any(1))[0]
    assert (sheet[:top] < 128).any()  # the titles' ink stands above


def test_legend_is_added_at_the_right():
    without = side_by_side([("image", plain(400, 300, (9, 9, 9)))])
    sheet = side_by_side([("image", plain(400, 300, (9, 9, 9)))], STYLES)
    assert sheet.shape[1] > without.shape[1]
    assert has_color(sheet[:, without.shape[1] - 20 :], BLUE)


@pytest.mark.slow
@pytest.mark.parametrize("size", [(1, 1), (8, 8), (1, 3000), (3000, 1), (4000, 5000)])
def test_extreme_sizes_give_a_sheet_of_reasonable_size(size):
    sheet = side_by_side([("image", plain(*size, RED)), ("prediction", plain(*size, BLUE))], STYLES)
    assert sheet.shape[0] <= HIGHEST_SHEET + 100
    assert sheet.shape[1] <= 2 * 1700 + 700
    assert has_color(sheet, RED)


def test_small_pictures_are_enlarged():
    sheet = side_by_side([("image", plain(32, 32, RED))])
    assert (sheet == np.array(RED)).all(-1).sum() == LOWEST_SHEET**2


def test_no_picture_is_an_error():
    with pytest.raises(ValueError, match="at least one"):
        side_by_side([])


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        ((427, 640), (427, 640)),
        ((32, 48), (LOWEST_SHEET, 480)),
        ((1800, 1800), (HIGHEST_SHEET, HIGHEST_SHEET)),
        ((400, 3200), (200, 1600)),
    ],
)
def test_picture_size_keeps_the_aspect(size, shown):
    assert picture_size(size) == shown
    assert to_picture_size(plain(*size, RED)).shape == (*shown, 3)


def test_a_picture_of_that_size_is_not_resized_again():
    rng = np.random.default_rng(0)
    image = to_picture_size(rng.integers(0, 256, (30, 50, 3), dtype=np.uint8))
    sheet = side_by_side([("image", image)])
    height, width = image.shape[:2]
    corners = [(y, x) for y in range(40) for x in range(20)]
    assert any(np.array_equal(sheet[y : y + height, x : x + width], image) for y, x in corners)


def test_a_legend_has_columns_where_one_is_not_enough():
    many = [SegmentStyle(f"class {i}", (i, 0, 0)) for i in range(30)]
    one, three = legend(many[:10], 300), legend(many, 300)
    assert three.shape[1] > 2 * one.shape[1]
    assert all(has_color(three, style.color) for style in many)  # 10 rows in 3 columns


def test_wide_pictures_stand_below_one_another_and_keep_their_legend():
    sheet = side_by_side([("image", plain(10, 900, BLUE)), ("truth", plain(10, 900, RED))], STYLES)
    rows = [np.flatnonzero((sheet[:, :400] == np.array(c)).all(-1).any(1)) for c in (BLUE, RED)]
    assert rows[0].max() < rows[1].min()
    assert has_color(sheet[:, -200:], RED)
    assert has_color(sheet[:, -200:], BLUE)
