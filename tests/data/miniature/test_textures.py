"""Stuff textures differ from each other and from one drawing to the next."""

from __future__ import annotations

import numpy as np
import pytest

from frozenseg.data.miniature.classes import STUFF
from frozenseg.data.miniature.textures import draw_texture


@pytest.mark.parametrize("name", STUFF)
def test_a_texture_is_repeatable_and_has_structure(name):
    first, again, other = (draw_texture(name, np.random.default_rng(s), 64) for s in (0, 0, 1))
    assert first.shape == (64, 64, 3)
    assert first.dtype == np.float32
    assert (first == again).all()
    assert (first != other).any()
    assert first.mean(2).std() > 4


def test_mean_colours_tell_the_textures_apart():
    means = {n: draw_texture(n, np.random.default_rng(0), 128).mean((0, 1)) for n in STUFF}
    for name, mean in means.items():
        for other, color in means.items():
            assert name == other or np.abs(mean - color).max() > 20
