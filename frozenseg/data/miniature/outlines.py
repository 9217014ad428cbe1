"""The shapes of the miniature world as polygons of radius 1 around the origin, y downwards."""

from __future__ import annotations

from functools import cache

import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]  # (N, 2)

_TURN = 2 * np.pi


@cache
def outline(shape: str) -> tuple[Points, ...]:
    """Contours of a shape, points (N, 2); a second contour is a hole. KeyError if unknown."""
    if shape == "ring":
        return _regular(60, 0.97), _regular(60, 0.56)
    polygons = {
        "circle": lambda: _regular(60, 0.88),
        "triangle": lambda: _regular(3, 1.08),
        "square": lambda: _regular(4, 1.08),
        "star": _star,
        "cross": _cross,
        "heart": _heart,
        "moon": _moon,
    }
    return (polygons[shape](),)


def _polar(angles: NDArray[np.float64], radius: float | NDArray[np.float64]) -> Points:
    return np.stack([radius * np.cos(angles), radius * np.sin(angles)], 1)


def _regular(sides: int, radius: float) -> Points:
    """A regular polygon with a corner at the top."""
    return _polar(np.arange(sides) * _TURN / sides - _TURN / 4, radius)


def _star() -> Points:
    tips = np.arange(10) % 2 == 0
    return _polar(np.arange(10) * _TURN / 10 - _TURN / 4, np.where(tips, 1.08, 0.47))


def _cross() -> Points:
    a, b = 0.31, 0.96
    half = [(-a, -b), (a, -b), (a, -a), (b, -a), (b, a), (a, a)]
    return np.array(half + [(-x, -y) for x, y in half])


def _heart() -> Points:
    t = np.linspace(0, _TURN, 60, endpoint=False)
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.stack([16 * np.sin(t) ** 3, -(y + 2.5)], 1) / 16


def _moon() -> Points:
    """A disk with a round bite out of its right side."""
    rim = _polar(np.linspace(0.1 * _TURN, 0.9 * _TURN, 50), 1.0)
    middle = np.array([0.55, 0.0])  # of the bite, which begins and ends at the ends of the rim
    x, y = rim[0] - middle
    start = np.arctan2(y, x)
    bite = _polar(np.linspace(_TURN - start, start, 40), np.hypot(x, y))
    return np.concatenate([rim, middle + bite])
