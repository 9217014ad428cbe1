import numpy as np
import pytest

from frozenseg.visualization import segment_geometry


def disk(size, center, radius):
    y, x = np.mgrid[: size[0], : size[1]]
    return (y - center[0]) ** 2 + (x - center[1]) ** 2 <= radius**2


def anchors_of(mask, **options):
    corner, part = segment_geometry.crop(mask)
    return segment_geometry.label_anchors(corner, part, **options)


def test_anchor_is_the_center_of_a_disk():
    (anchor,) = anchors_of(disk((80, 100), (30, 60), 20))
    assert (anchor.x, anchor.y) == (60, 30)
    assert anchor.radius == pytest.approx(21, abs=1)


def test_anchor_lies_inside_a_ring_whose_centroid_does_not():
    ring = disk((101, 101), (50, 50), 45) & ~disk((101, 101), (50, 50), 25)
    (anchor,) = anchors_of(ring)
    assert ring[anchor.y, anchor.x]
    assert not ring[50, 50]


def test_image_border_counts_as_outside():
    (anchor,) = anchors_of(np.ones((40, 200), dtype=bool))
    assert 18 <= anchor.y <= 21
    assert anchor.radius <= 21


def test_one_pixel_has_an_anchor():
    mask = np.zeros((9, 7), dtype=bool)
    mask[8, 6] = True
    assert anchors_of(mask)[0][:2] == (6, 8)


@pytest.mark.slow
def test_large_masks_are_thinned_and_the_anchor_stays_inside():
    mask = disk((2000, 3000), (700, 2100), 600)
    (anchor,) = anchors_of(mask)
    assert abs(anchor.x - 2100) < 20
    assert abs(anchor.y - 700) < 20
    assert anchor.radius == pytest.approx(600, rel=0.03)


def test_thinning_never_loses_a_thin_mask():
    mask = np.zeros((3000, 3000), dtype=bool)
    mask[1, 1], mask[2998, 2998] = True, True  # both fall between the grid of every 6th pixel
    (anchor,) = anchors_of(mask)
    assert mask[anchor.y, anchor.x]


def test_separate_parts_get_their_own_anchor_deepest_first():
    mask = disk((100, 300), (50, 50), 40) | disk((100, 300), (50, 200), 30)
    mask[0, 299] = True  # far too small to be named
    found = anchors_of(mask, most=5)
    assert [(a.x, a.y) for a in found] == [(50, 50), (200, 50)]
    assert len(anchors_of(mask, most=1)) == 1


def test_crop_of_nothing_is_none():
    assert segment_geometry.crop(np.zeros((3, 4), dtype=bool)) is None


def test_masks_of_partitions_the_labelled_pixels():
    rng = np.random.default_rng(0)
    label_map = rng.choice([0, 3, 70000, 16_000_000], size=(20, 30))
    again = np.zeros_like(label_map)
    for number, (top, left), mask in segment_geometry.masks_of(label_map):
        again[top : top + mask.shape[0], left : left + mask.shape[1]][mask] = number
    assert np.array_equal(again, label_map)


def test_boundaries_are_where_labels_change_inside_segments_only():
    label_map = np.zeros((6, 8), dtype=np.int32)
    label_map[:, 4:] = 5
    label_map[3:, 4:] = 6
    expected = np.zeros((6, 8), dtype=bool)
    expected[:, 4] = True
    expected[2:4, 4:] = True
    assert np.array_equal(segment_geometry.boundaries(label_map), expected)


def test_thicker_boundaries_contain_thinner_ones():
    label_map = disk((60, 60), (30, 30), 20).astype(np.int32)
    thin, thick = (
        segment_geometry.boundaries(label_map, 1),
        segment_geometry.boundaries(label_map, 3),
    )
    assert (thick >= thin).all()
    assert thick.sum() > 2 * thin.sum()
    assert not (thick & (label_map == 0)).any()


@pytest.mark.parametrize("shape", [(1, 1), (1, 5), (5, 1)])
def test_degenerate_sizes(shape):
    assert not segment_geometry.boundaries(np.ones(shape, dtype=int)).any()


@pytest.mark.parametrize("numbers", [(1, 2), (65535, 7), (2**30, 3), (-5, 4)])
def test_masks_of_any_ids_are_the_same(numbers):
    label_map = np.zeros((6, 9), dtype=np.int64)
    label_map[1:3, 2:5], label_map[3:, 6:] = numbers
    found = {
        number: (corner, mask) for number, corner, mask in segment_geometry.masks_of(label_map)
    }
    assert list(found) == sorted(numbers)
    assert found[numbers[0]][0] == (1, 2)
    assert found[numbers[1]][0] == (3, 6)
    for number, ((top, left), mask) in found.items():
        whole = np.zeros(label_map.shape, dtype=bool)
        whole[top : top + mask.shape[0], left : left + mask.shape[1]] = mask
        assert np.array_equal(whole, label_map == number)
