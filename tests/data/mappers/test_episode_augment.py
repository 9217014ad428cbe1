"""Augmentation of image and labels together: they stay aligned, and labels are never mixed."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from frozenseg.data.mappers import episode_augment
from frozenseg.data.mappers.episode_augment import (
    add_noise,
    augment,
    bend,
    draw_box,
    jitter_colors,
    move,
    resize_box,
)
from frozenseg.structures import IGNORED

SIZE = 96


class Fixed:
    """Stands for a generator: the draws of `random` and `uniform` are given, in order."""

    def __init__(self, *draws: float) -> None:
        self.draws = list(draws)

    def random(self) -> float:
        return self.draws.pop(0)

    def uniform(self, low, high, size=None):
        value = self.draws.pop(0) if size is None else [self.draws.pop(0) for _ in range(size)]
        assert np.all(low <= np.array(value))
        assert np.all(np.array(value) <= high)
        return np.array(value) if size else value


@pytest.fixture
def ramp():
    """Every pixel knows where it was: red is x, green is y, and labels are 100 y + x."""
    y, x = np.mgrid[:SIZE, :SIZE]
    image = np.stack([2 * x, 2 * y, np.zeros_like(x)], -1).astype(np.uint8)
    return image, (SIZE * y + x).astype(np.int16)


def places(image, labels):
    """Where pixels came from according to the labels and to the image; scored ones only."""
    scored = labels >= 0
    by_label = np.stack([labels % SIZE, labels // SIZE], -1)[scored]
    return by_label, image[..., :2][scored] / 2


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("step", [bend, lambda *pair: move(*pair, 25.0)])
def test_image_and_labels_move_together_and_labels_are_copied(ramp, step, seed):
    generator = np.random.default_rng(seed)
    image, labels = step(*ramp, generator)
    assert image.dtype == np.uint8
    assert labels.dtype == np.int16
    assert set(np.unique(labels)) <= {IGNORED, *range(SIZE * SIZE)}
    by_label, by_image = places(image, labels)
    assert 0.5 < len(by_label) / labels.size <= 1
    assert np.abs(by_label - by_image).max() <= 1.1
    assert (image != ramp[0]).any()


@pytest.mark.parametrize("angle", [-20.0, 7.0, 20.0])
def test_a_rotation_turns_by_its_angle_about_the_centre(ramp, angle):
    draws = Fixed(angle, 1.0, 0.0, 0.0)
    image, labels = move(*ramp, draws, 20.0)
    by_label, _ = places(image, labels)
    y, x = np.nonzero(labels >= 0)
    centre = (SIZE - 1) / 2
    here, there = (x - centre) + 1j * (y - centre), (by_label - centre) @ [1, 1j]
    far = np.abs(here) > 20
    turned = np.rad2deg(np.angle(there[far] / here[far]))
    assert np.abs(turned - turned.mean()).max() < 3
    assert abs(turned.mean()) == pytest.approx(abs(angle), abs=0.1)
    # the corners come from beyond the edge, the inscribed disk does not
    assert labels[0, 0] == labels[-1, -1] == IGNORED
    inside = np.hypot(*np.mgrid[-centre : centre + 1, -centre : centre + 1]) < centre - 1
    assert (labels[inside] >= 0).all()


def test_no_rotation_no_scale_no_shift_changes_nothing(ramp):
    image, labels = move(*ramp, Fixed(0.0, 1.0, 0.0, 0.0), 20.0)
    np.testing.assert_array_equal(image, ramp[0])
    np.testing.assert_array_equal(labels, ramp[1])


def test_a_shift_moves_pixels_and_does_not_score_the_new_ones(ramp):
    image, labels = move(*ramp, Fixed(0.0, 1.0, 3 / SIZE, 0.0), 20.0)
    np.testing.assert_array_equal(image[:, 3:], ramp[0][:, :-3])
    np.testing.assert_array_equal(labels[:, 3:], ramp[1][:, :-3])
    assert (labels[:, :3] == IGNORED).all()


def test_colours_change_by_the_factors(ramp):
    image = np.full((2, 2, 3), (40, 80, 120), np.uint8)
    grey = 0.299 * 40 + 0.587 * 80 + 0.114 * 120
    brighter = jitter_colors(image, Fixed(1.5, 1.0, 1.0), 0.5)
    assert brighter[0, 0].tolist() == [60, 120, 180]
    paler = jitter_colors(image, Fixed(1.0, 1.0, 0.5), 0.5)
    expected = [round(grey + 0.5 * (value - grey)) for value in (40, 80, 120)]
    assert paler[1, 1].tolist() == expected
    halves = np.repeat(np.array([50, 150], np.uint8), 6).reshape(2, 2, 3)
    assert jitter_colors(halves, Fixed(1.0, 1.5, 1.0), 0.5)[:, 0, 0].tolist() == [25, 175]
    np.testing.assert_array_equal(jitter_colors(ramp[0], np.random.default_rng(0), 0.0), ramp[0])


def test_noise_has_the_drawn_level():
    image = np.full((100, 100, 3), 128, np.uint8)
    difference = add_noise(image, np.random.default_rng(0)).astype(float) - image
    assert 3 <= difference.std() <= 7.1
    assert abs(difference.mean()) < 0.3
    assert abs(np.corrcoef(difference[..., 0].ravel(), difference[..., 1].ravel())[0, 1]) < 0.05


@settings(max_examples=80)
@given(height=st.integers(1, 500), width=st.integers(1, 500), seed=st.integers(0, 10**6))
def test_boxes_lie_in_the_image_and_have_the_promised_shape(height, width, seed):
    generator = np.random.default_rng(seed)
    top, left, high, wide = draw_box(height, width, generator)
    assert 0 <= top <= top + high <= height
    assert 0 <= left <= left + wide <= width
    assert min(high, wide) >= 1
    if min(height, width) >= 20:
        assert 0.7 < wide / high < 1.43


def test_half_of_the_boxes_are_the_largest_square_and_the_others_hold_half_the_area():
    generator = np.random.default_rng(0)
    boxes = [draw_box(300, 400, generator)[2:] for _ in range(600)]
    squares = [box for box in boxes if box == (300, 300)]
    assert 250 < len(squares) < 350
    shares = [high * wide / 120000 for high, wide in boxes if (high, wide) != (300, 300)]
    assert 0.49 < min(shares) < 0.55
    assert 0.9 < max(shares) <= 1


def test_the_box_becomes_the_square():
    y, x = np.mgrid[:40, :60]
    image = np.stack([4 * x, 4 * y, y], -1).astype(np.uint8)
    labels = (100 * y + x).astype(np.int16)
    same = resize_box(image, labels, (5, 7, 20, 20), 20)
    np.testing.assert_array_equal(same[0], image[5:25, 7:27])
    np.testing.assert_array_equal(same[1], labels[5:25, 7:27])
    half = resize_box(image, labels, (0, 0, 40, 60), 20)
    assert np.abs(half[0][..., 0] / 4 - half[1] % 100).max() <= 1
    assert np.abs(half[0][..., 1] / 4 - half[1] // 100).max() <= 1
    twice = resize_box(image, labels, (5, 7, 20, 20), 40)[1]
    np.testing.assert_array_equal(twice, np.kron(labels[5:25, 7:27], np.ones((2, 2), int)))


def test_half_of_the_pairs_stay_and_every_step_takes_place_in_half_of_the_others(ramp, monkeypatch):
    done = []

    def stand_in(name, pair):
        def step(image, labels, *_):
            done.append(name)
            return (image, labels) if pair else image

        return step

    def colours(image, generator, strength):
        assert strength == 0.3
        return stand_in("jitter", False)(image, None)

    monkeypatch.setattr(episode_augment, "jitter_colors", colours)
    monkeypatch.setattr(episode_augment, "add_noise", lambda i, g: stand_in("noise", 0)(i, g))
    monkeypatch.setattr(episode_augment, "bend", stand_in("bend", True))
    monkeypatch.setattr(episode_augment, "move", stand_in("move", True))
    options = {"color_jitter": 0.3, "rotation": 10.0}
    untouched = augment(*ramp, Fixed(0.5), **options)
    assert untouched[0] is ramp[0]
    flipped = augment(*ramp, Fixed(0.49, 0.5, 0.5, 0.49, 0.5, 0.5), **options)
    assert not done
    np.testing.assert_array_equal(flipped[0], ramp[0][:, ::-1])
    np.testing.assert_array_equal(flipped[1], ramp[1][:, ::-1])
    augment(*ramp, Fixed(0.0, 0.0, 0.0, 0.9, 0.0, 0.0), **options)
    assert done == ["jitter", "noise", "bend", "move"]


def test_the_generator_decides_everything(ramp):
    options = {"color_jitter": 0.5, "rotation": 20.0}
    for seed in range(8):
        first, again = (augment(*ramp, np.random.default_rng(seed), **options) for _ in range(2))
        np.testing.assert_array_equal(first[0], again[0])
        np.testing.assert_array_equal(first[1], again[1])
