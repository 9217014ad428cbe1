"""Sine position codes against the formula, entry by entry."""

from __future__ import annotations

import math

import pytest

from frozenseg.layers.position_encoding import sine_position_code


def test_entries_follow_the_formula():
    height, width, channels = 3, 5, 8
    code = sine_position_code((height, width), channels).reshape(height, width, channels)
    half = channels // 2
    for y in range(height):
        for x in range(width):
            for axis, (index, last) in enumerate(((y, height), (x, width))):
                position = (index + 1) / (last + 1e-6) * 2 * math.pi
                for i in range(half):
                    angle = position / 10000 ** (2 * (i // 2) / half)
                    value = math.sin(angle) if i % 2 == 0 else math.cos(angle)
                    assert code[y, x, axis * half + i].item() == pytest.approx(value, abs=1e-5)


def test_channels_must_be_a_multiple_of_four():
    with pytest.raises(ValueError, match="got 6"):
        sine_position_code((2, 2), 6)
