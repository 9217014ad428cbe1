"""The miniature world: scenes of coloured shapes on textured stuff, a function of (seed, index).

A scene has 1-2 stuff regions and 2-6 things (radius 28-54 px of 256), which may cover each other
and may be cut by the border. Every pixel belongs to one segment. A thing is only placed where every
thing keeps at least 60 % of its pixels uncovered, and 400 pixels, so none becomes invisible.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from frozenseg.data.miniature.classes import ALL, CLASSES, COLORS, SHAPES
from frozenseg.data.miniature.outlines import outline
from frozenseg.data.miniature.textures import Pixels, draw_texture

SIZE = 256
RADII = (28.0, 54.0)
THINGS = (2, 6)
# A thing keeps this share of its own pixels, and at least this many.
MIN_VISIBLE_SHARE, MIN_VISIBLE_PIXELS = 0.6, 400
_PLACEMENT_TRIES = 8
_SUBPIXEL_BITS = 4  # cv2.fillPoly takes fixed-point coordinates


@dataclass(frozen=True)
class MiniatureScene:
    """One picture with its ground truth.

    Attributes:
        image: (H, W, 3) uint8 RGB.
        ids: (H, W) int32, the segment of every pixel, 1 .. number of segments.
        segments: per segment id, category (index into CLASSES), isthing, area, bbox (x, y, w, h).
    """

    image: NDArray[np.uint8]
    ids: NDArray[np.int32]
    segments: tuple[dict[str, Any], ...]

    def labels(self, label_of: Callable[[int], int]) -> NDArray[np.uint8]:
        """The label map (H, W) of the categories, each as `label_of` gives it."""
        labels = np.zeros(self.ids.shape, np.uint8)
        for segment in self.segments:
            labels[self.ids == segment["id"]] = label_of(segment["category"])
        return labels


def draw_scene(seed: int, index: int, *, classes: Sequence[int] = ALL) -> MiniatureScene:
    """Scene number `index` of the world `seed`.

    Args: classes: indices of the classes that may occur; at least one thing and one stuff.
    """
    generator = np.random.default_rng((seed, index))
    thing_classes = [i for i in classes if CLASSES[i].is_thing]
    stuff_classes = [i for i in classes if not CLASSES[i].is_thing]
    canvas, ids, categories = _draw_stuff(generator, stuff_classes)
    needed = np.zeros(len(categories) + THINGS[1] + 1)  # pixels that segment i must keep
    for _ in range(generator.integers(THINGS[0], THINGS[1] + 1)):
        category = int(generator.choice(thing_classes))
        mask = _place(generator, category, ids, needed)
        if mask is not None:
            categories.append(category)
            _paint(generator, canvas, mask, category)
            ids[mask > 127] = len(categories)
            own = np.count_nonzero(mask > 127)
            needed[len(categories)] = max(MIN_VISIBLE_SHARE * own, MIN_VISIBLE_PIXELS)
    return MiniatureScene(_expose(generator, canvas), ids, _describe(ids, categories))


def draw_crop(
    seed: int, index: int, *, classes: Sequence[int] = ALL, size: int = 96
) -> tuple[NDArray[np.uint8], NDArray[np.bool_], int, int]:
    """A picture of a single thing on a single stuff, cut out around the thing.

    Returns: image (size, size, 3) uint8 RGB, mask of the thing (size, size), class of the thing,
        class of the stuff.
    """
    generator = np.random.default_rng((seed, index, 1))
    stuff = int(generator.choice([i for i in classes if not CLASSES[i].is_thing]))
    thing = int(generator.choice([i for i in classes if CLASSES[i].is_thing]))
    radius = generator.uniform(*RADII)
    half = radius * generator.uniform(1.1, 1.6)
    center = SIZE / 2 + generator.uniform(-0.15, 0.15, 2) * half
    canvas = draw_texture(CLASSES[stuff].name, generator, SIZE)
    mask = _coverage(thing, radius, generator.uniform(0, 360), center)
    _paint(generator, canvas, mask, thing)
    image = _expose(generator, canvas)
    low, high = round(SIZE / 2 - half), round(SIZE / 2 + half)
    window = slice(max(low, 0), high), slice(max(low, 0), high)
    image, mask = (
        cv2.resize(a[window], (size, size), interpolation=cv2.INTER_AREA) for a in (image, mask)
    )
    return image, mask > 127, thing, stuff


def _draw_stuff(
    generator: np.random.Generator, stuff_classes: Sequence[int]
) -> tuple[Pixels, NDArray[np.int32], list[int]]:
    """Canvas (H, W, 3) float32, ids (H, W) int32 from 1, and the categories of the ids."""
    count = min(int(generator.integers(1, 3)), len(stuff_classes))
    categories = [int(c) for c in generator.choice(stuff_classes, count, replace=False)]
    canvas = draw_texture(CLASSES[categories[0]].name, generator, SIZE)
    ids = np.ones((SIZE, SIZE), np.int32)
    if count == 2:
        y, x = np.mgrid[:SIZE, :SIZE].astype(np.float32) - SIZE / 2
        angle = generator.uniform(0, 2 * np.pi)
        wobble = generator.uniform(0, 9) * np.sin((x - y) / generator.uniform(12, 30))
        edge = x * np.cos(angle) + y * np.sin(angle) + wobble
        second = edge > generator.uniform(-0.25, 0.25) * SIZE
        canvas[second] = draw_texture(CLASSES[categories[1]].name, generator, SIZE)[second]
        ids[second] = 2
    return canvas, ids, categories


def _place(
    generator: np.random.Generator,
    category: int,
    ids: NDArray[np.int32],
    needed: NDArray[np.float64],
) -> NDArray[np.uint8] | None:
    """Coverage (H, W) uint8 of a new thing that leaves the others what they need; None if none."""
    visible = np.bincount(ids.ravel(), minlength=len(needed))
    for _ in range(_PLACEMENT_TRIES):
        radius = generator.uniform(*RADII)
        center = generator.uniform(0.7 * radius, SIZE - 0.7 * radius, 2)
        mask = _coverage(category, radius, generator.uniform(0, 360), center)
        window = _window(mask)
        covered = np.bincount(ids[window][mask[window] > 127], minlength=len(needed))
        if covered.sum() > 2 * MIN_VISIBLE_PIXELS and (visible - covered >= needed).all():
            return mask
    return None


def _coverage(
    category: int, radius: float, degrees: float, center: NDArray[np.float64]
) -> NDArray[np.uint8]:
    """How much of every pixel the shape covers, (H, W) uint8, 255 = all; edges are anti-aliased."""
    shape = tuple(SHAPES)[CLASSES[category].shape or 0]
    turn = np.deg2rad(degrees)
    matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    contours = [
        np.round((points @ matrix.T * radius + center) * 2**_SUBPIXEL_BITS).astype(np.int32)
        for points in outline(shape)
    ]
    mask = np.zeros((SIZE, SIZE), np.uint8)
    cv2.fillPoly(mask, contours, 255, lineType=cv2.LINE_AA, shift=_SUBPIXEL_BITS)
    return mask


def _window(mask: NDArray[np.uint8]) -> tuple[slice, slice]:
    x, y, width, height = cv2.boundingRect(mask)
    return slice(y, y + height), slice(x, x + width)


def _paint(
    generator: np.random.Generator,
    canvas: Pixels,
    mask: NDArray[np.uint8],
    category: int,
) -> None:
    """Paints the thing onto the canvas: its colour, a soft shading and a dark rim."""
    _, rgb = tuple(COLORS.values())[CLASSES[category].color or 0]
    base = np.array(rgb, np.float32) + generator.uniform(-12, 12, 3).astype(np.float32)
    window = _window(mask)
    core = cv2.erode(mask, np.ones((5, 5), np.uint8), borderValue=255)[window]
    shade = _slope(generator, 0.12)[window] * (0.65 + core * np.float32(0.35 / 255))
    alpha = mask[window][..., None] * np.float32(1 / 255)
    canvas[window] += alpha * (base * shade[..., None] - canvas[window])


def _slope(generator: np.random.Generator, strength: float) -> Pixels:
    """A brightness factor (H, W) float32 that falls linearly in a random direction, mean 1."""
    angle = generator.uniform(0, 2 * np.pi)
    ramp = np.linspace(-1, 1, SIZE, dtype=np.float32)
    steps = np.float32(np.cos(angle)) * ramp + np.float32(np.sin(angle)) * ramp[:, None]
    return 1 + np.float32(strength * generator.uniform(0, 1)) * steps


def _expose(generator: np.random.Generator, canvas: Pixels) -> NDArray[np.uint8]:
    """Lighting, a tint and noise; uint8."""
    gain = generator.uniform(0.82, 1.12) * generator.uniform(0.96, 1.04, 3).astype(np.float32)
    canvas = canvas * (_slope(generator, 0.15)[..., None] * gain.astype(np.float32))
    noise = generator.standard_normal(canvas.shape, dtype=np.float32)
    canvas = canvas + np.float32(generator.uniform(1, 8)) * noise
    return canvas.clip(0, 255).astype(np.uint8)


def _describe(ids: NDArray[np.int32], categories: Sequence[int]) -> tuple[dict[str, Any], ...]:
    """The entry of every segment that has a pixel (a stuff may be covered entirely)."""
    segments = []
    for number, category in enumerate(categories, start=1):
        x, y, width, height = cv2.boundingRect((ids == number).view(np.uint8))
        if width:
            segments.append(
                {
                    "id": number,
                    "category": category,
                    "isthing": CLASSES[category].is_thing,
                    "area": int(np.count_nonzero(ids == number)),
                    "bbox": [x, y, width, height],
                }
            )
    return tuple(segments)
