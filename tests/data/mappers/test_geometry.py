"""Large-scale jitter: its geometry and its equality with detectron2's own augmentations."""

from __future__ import annotations

import numpy as np
import pytest
from detectron2.data import transforms as T
from hypothesis import given, settings
from hypothesis import strategies as st

from frozenseg.data.mappers.geometry import draw_large_scale_jitter, pad_to


class Fixed:
    """Stands for a generator: the three draws are given."""

    def __init__(self, flip: float, scale: float, place: float) -> None:
        self.draws = [flip, place]
        self.scale = scale

    def random(self) -> float:
        return self.draws.pop(0)

    def uniform(self, _low: float, _high: float) -> float:
        return self.scale


def jitter(height, width, generator, size=64, flip=0.5):
    return draw_large_scale_jitter(
        height, width, size=size, scales=(0.1, 2.0), flip_probability=flip, generator=generator
    )


@pytest.mark.parametrize(("flip", "scale", "place"), [(0.2, 1.7, 0.3), (0.9, 0.4, 0.8)])
def test_equals_detectron2_given_the_same_draws(monkeypatch, flip, scale, place):
    image = np.random.default_rng(0).integers(0, 255, (50, 80, 3), dtype=np.uint8)
    ours = jitter(50, 80, Fixed(flip, scale, place)).apply_image(image)

    draws = iter((flip, scale, place))
    monkeypatch.setattr(np.random, "uniform", lambda *a, **k: next(draws))
    theirs = T.AugmentationList(
        [
            T.RandomFlip(prob=0.5),
            T.ResizeScale(min_scale=0.1, max_scale=2.0, target_height=64, target_width=64),
            T.FixedSizeCrop(crop_size=(64, 64)),
        ]
    )
    given_input = T.AugInput(image)
    theirs(given_input)
    np.testing.assert_array_equal(pad_to(ours, 64, 64, 128), given_input.image)


@settings(max_examples=50)
@given(height=st.integers(1, 400), width=st.integers(1, 400), seed=st.integers(0, 10**6))
def test_the_result_fits_and_is_never_empty(height, width, seed):
    image = np.zeros((height, width, 3), np.uint8)
    cut = jitter(height, width, np.random.default_rng(seed)).apply_image(image)
    assert 1 <= cut.shape[0] <= 64
    assert 1 <= cut.shape[1] <= 64


def test_the_same_seed_gives_the_same_draw():
    image = np.random.default_rng(0).integers(0, 255, (50, 80, 3), dtype=np.uint8)
    first, again, other = (
        pad_to(jitter(50, 80, np.random.default_rng(s)).apply_image(image), 64, 64, 0)
        for s in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()
