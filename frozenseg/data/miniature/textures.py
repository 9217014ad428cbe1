"""The six stuff textures of the miniature world, drawn by a generator.

Every function returns (H, W, 3) float32, about 0..255.
"""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.float32]  # (H, W) or (H, W, 3)


def draw_texture(name: str, generator: np.random.Generator, size: int) -> Pixels:
    """A square of stuff `name`. Raises: KeyError for an unknown name."""
    return _TEXTURES[name](generator, size)


def _noise(generator: np.random.Generator, size: int, rows: int, columns: int) -> Pixels:
    """Smooth noise with `rows` x `columns` bumps, about standard normal, (size, size)."""
    coarse = generator.standard_normal((rows, columns), dtype=np.float32)
    return cv2.resize(coarse, (size, size), interpolation=cv2.INTER_CUBIC)


def _grid(size: int) -> tuple[Pixels, Pixels]:
    y, x = np.mgrid[:size, :size].astype(np.float32)
    return y, x


def _tint(value: Pixels, dark: tuple[int, ...], light: tuple[int, ...]) -> Pixels:
    """From `dark` to `light` as the values (H, W) go from 0 to 1."""
    low, high = np.array(dark, np.float32), np.array(light, np.float32)
    return low + value[..., None].clip(-0.3, 1.3) * (high - low)


def _grass(generator: np.random.Generator, size: int) -> Pixels:
    blades = _noise(generator, size, size // 10, size // 2)
    patches = _noise(generator, size, 6, 6)
    return _tint(0.5 + 0.22 * blades + 0.12 * patches, (70, 105, 40), (150, 180, 85))


def _water(generator: np.random.Generator, size: int) -> Pixels:
    y, _ = _grid(size)
    warp = _noise(generator, size, 5, 4)
    period = generator.uniform(14, 24)
    waves = np.sin(2 * np.pi * y / period + generator.uniform(0, 7) + 1.8 * warp)
    return _tint(0.5 + 0.35 * waves, (70, 135, 165), (150, 205, 220))


def _brick(generator: np.random.Generator, size: int) -> Pixels:
    y, x = _grid(size)
    height = generator.uniform(13, 20)
    width = height * generator.uniform(1.8, 2.4)
    row = np.floor((y + generator.uniform(0, height)) / height)
    across = x + generator.uniform(0, width) + width / 2 * (row % 2)
    column = np.floor(across / width)
    joint = ((across % width) < 2.5) | (np.abs(np.gradient(row, axis=0)) > 0)
    shades = generator.uniform(0.2, 0.9, (64, 64)).astype(np.float32)
    face = _tint(
        shades[row.astype(int) % 64, column.astype(int) % 64], (130, 65, 45), (185, 110, 85)
    )
    face[joint] = (200, 192, 180)
    return face


def _sand(generator: np.random.Generator, size: int) -> Pixels:
    grain = _noise(generator, size, size // 2, size // 2)
    dunes = _noise(generator, size, 4, 3)
    return _tint(0.5 + 0.14 * grain + 0.18 * dunes, (190, 160, 110), (228, 205, 158))


def _gravel(generator: np.random.Generator, size: int) -> Pixels:
    cells = int(generator.integers(20, 30))
    stones = np.abs(_noise(generator, size, cells, cells))
    shade = _noise(generator, size, cells // 2, cells // 2)
    return _tint(np.minimum(stones * 1.4, 0.85) + 0.1 * shade, (75, 75, 80), (175, 172, 165))


def _wood(generator: np.random.Generator, size: int) -> Pixels:
    _, x = _grid(size)
    warp = _noise(generator, size, 3, 8)
    fibre = _noise(generator, size, 6, size // 2)
    plank = generator.uniform(44, 64)
    across = x + generator.uniform(0, plank)
    rings = np.sin(2 * np.pi * x / generator.uniform(11, 16) + 2.2 * warp)
    face = _tint(0.5 + 0.2 * rings + 0.12 * fibre, (110, 72, 38), (178, 128, 78))
    face[(across % plank) < 2.5] = (62, 40, 22)
    return face


_TEXTURES: dict[str, Callable[[np.random.Generator, int], Pixels]] = {
    "grass": _grass,
    "water": _water,
    "brick": _brick,
    "sand": _sand,
    "gravel": _gravel,
    "wood": _wood,
}
