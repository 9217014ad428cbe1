import numpy as np
import pytest

from frozenseg.visualization.segment_labels import LARGEST_SHARE, PlacedLabel, caption, draw_labels


def label(x, y, *, name="cat", area=100, radius=200.0, color=(200, 30, 30)):
    return PlacedLabel(name, None, color, x, y, radius, area)


def canvas(height=200, width=300):
    return np.full((height, width, 3), 127, dtype=np.uint8)


def test_caption_has_two_decimals_where_there_is_a_score():
    assert caption("cat", 0.876) == "cat 0.88"
    assert caption("cat", None) == "cat"
    assert caption("y" * 60, 1.0, 10) == "y" * 9 + "… 1.00"


def test_label_is_centered_and_only_its_box_changes():
    image = canvas()
    (box,) = draw_labels(image, [label(150, 100)])
    left, top, right, bottom = box
    assert abs((left + right) / 2 - 150) <= 1
    assert abs((top + bottom) / 2 - 100) <= 1
    outside = np.ones(image.shape[:2], dtype=bool)
    outside[top:bottom, left:right] = False
    assert (image[outside] == 127).all()
    inside = image[top:bottom, left:right].reshape(-1, 3)
    assert (inside == (200, 30, 30)).all(1).mean() > 0.3  # chip
    assert (inside == 255).all(1).any()  # white ink on dark red


def test_labels_stay_inside_the_image():
    image = canvas()
    boxes = draw_labels(image, [label(0, 0), label(299, 199, name="a much longer name")])
    assert len(boxes) == 2
    for left, top, right, bottom in boxes:
        assert 0 <= left < right <= 300
        assert 0 <= top < bottom <= 200


def test_labels_never_overlap_and_large_segments_come_first():
    image = canvas(60, 300)
    wanted = [label(150, 30, name=f"name {i}", area=i) for i in range(20)]
    boxes = draw_labels(image, wanted)
    assert 2 <= len(boxes) < 20  # what has no room is left out
    for i, one in enumerate(boxes):
        for other in boxes[i + 1 :]:
            apart = (
                one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]
            )
            assert apart
    alone = draw_labels(canvas(60, 300), [wanted[19]])
    assert boxes[0] == alone[0]


@pytest.mark.parametrize("size", [(1, 1), (5, 5), (1, 400), (400, 1)])
def test_images_smaller_than_text_get_no_label(size):
    image = canvas(*size)
    assert draw_labels(image, [label(0, 0)]) == []
    assert (image == 127).all()


def test_text_shrinks_in_a_narrow_segment_but_stays_readable():
    wide = draw_labels(canvas(600, 800), [label(400, 300, radius=300.0)])[0]
    narrow = draw_labels(canvas(600, 800), [label(400, 300, radius=1.0)])[0]
    ratio = (narrow[2] - narrow[0]) / (wide[2] - wide[0])
    assert 0.6 < ratio < 0.9


def test_the_label_of_a_segment_smaller_than_text_leaves_it_uncovered():
    for x, y in ((150, 100), (150, 0), (150, 199), (0, 100), (299, 199)):
        ((left, top, right, bottom),) = draw_labels(canvas(), [label(x, y, radius=2.0)])
        assert not (left <= x < right and top <= y < bottom)
        assert max(left - x, x - right, top - y, y - bottom) <= 8  # it stands close by


def test_labels_leave_most_of_the_image_visible_but_one_is_always_there():
    wanted = [label(x, y) for x in range(20, 300, 40) for y in range(8, 200, 16)]
    boxes = draw_labels(canvas(), wanted)
    share = sum((right - left) * (bottom - top) for left, top, right, bottom in boxes) / (200 * 300)
    assert 0.2 < share <= LARGEST_SHARE
    assert len(draw_labels(canvas(16, 40), [label(20, 8), label(20, 8)])) == 1
