"""Training batches of the miniature CLIP: pictures with masks, and captions.

Legend: B pictures, S segments of a picture, R regions (all segments of a batch), M captions,
H and W pixels, n cells of a side of the dense map (stride 32).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from frozenseg.data.miniature.classes import (
    ALL,
    CAPTIONS,
    CLASSES,
    PLACE_CAPTIONS,
    all_names,
)
from frozenseg.resize import nearest_resize
from frozenseg.vocab.templates import get_templates
from tools.miniature.pool import MAX_SEGMENTS, CropPool, ScenePool

STRIDE = 32
_TEMPLATES = (*get_templates("vild_14"), *CAPTIONS)
_ANY = -1


@dataclass(frozen=True)
class RegionBatch:
    """Scenes with what their cells show.

    Attributes:
        images: (B, H, W, 3) uint8.
        weights: (R, n * n) float32, each row sums to 1: the cells of a region.
        picture: (R,) int64, the picture of each region.
        classes: (R,) int64.
    """

    images: np.ndarray
    weights: np.ndarray
    picture: np.ndarray
    classes: np.ndarray


@dataclass(frozen=True)
class Captions:
    """Texts with the class they speak of, and the stuff they name beside it (-1: none)."""

    texts: tuple[str, ...]
    classes: np.ndarray
    places: np.ndarray


def draw_regions(
    pool: ScenePool, generator: np.random.Generator, *, batch: int, size: int, hard: bool
) -> RegionBatch:
    """A batch of scenes at `size` x `size`, cut out a little, mirrored, and all their segments.

    `hard`: cells belong to a segment by their middle, as FC-CLIP's mask pooling decides it; by
    their area otherwise. Segments without a cell are left out.
    """
    rows = generator.integers(0, len(pool.images), batch)
    images = np.empty((batch, size, size, 3), np.uint8)
    weights, picture, classes = [], [], []
    for b, row in enumerate(rows):
        image, ids = zoom(pool.images[row], pool.ids[row], size, generator)
        images[b] = image
        shares_Sn = cell_shares(ids, hard=hard)
        for share, category in zip(shares_Sn, pool.categories[row], strict=True):
            if category >= 0 and share.sum() > (0 if hard else 0.3):
                weights.append(share / share.sum())
                picture.append(b)
                classes.append(category)
    return RegionBatch(images, np.stack(weights), np.array(picture), np.array(classes, np.int64))


def cell_shares(ids: np.ndarray, *, hard: bool) -> np.ndarray:
    """How far each cell of the stride-32 map belongs to each segment: (S, n * n) float32, 0..1."""
    cells = ids.reshape(ids.shape[0] // STRIDE, STRIDE, ids.shape[1] // STRIDE, STRIDE)
    if hard:
        middle = slice(STRIDE // 2 - 1, STRIDE // 2 + 1)
        cells = cells[:, middle, :, middle]
    numbers = np.arange(1, MAX_SEGMENTS + 1, dtype=ids.dtype)
    shares = np.stack([(cells == k).mean((1, 3), dtype=np.float32) for k in numbers])
    shares = shares.reshape(MAX_SEGMENTS, -1)
    return (shares > 0.5).astype(np.float32) if hard else shares


def zoom(
    image: np.ndarray, ids: np.ndarray, size: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    full = image.shape[0]
    side = full if generator.random() < 0.5 else int(full * generator.uniform(0.75, 1.0))
    y, x = generator.integers(0, full - side + 1, 2)
    image, ids = image[y : y + side, x : x + side], ids[y : y + side, x : x + side]
    if generator.random() < 0.5:
        image, ids = image[:, ::-1], ids[:, ::-1]
    if side == size:
        return image, np.ascontiguousarray(ids)
    shrink = cv2.INTER_AREA if side > size else cv2.INTER_LINEAR
    image = cv2.resize(np.ascontiguousarray(image), (size, size), interpolation=shrink)
    return image, np.ascontiguousarray(nearest_resize(ids, (size, size)))


def draw_crops(
    pool: CropPool, generator: np.random.Generator, *, batch: int, size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Single-thing pictures (B, size, size, 3) uint8 with their things and stuff, (B,) int64."""
    rows = generator.integers(0, len(pool.images), batch)
    images = np.empty((batch, size, size, 3), np.uint8)
    for b, row in enumerate(rows):
        image = pool.images[row][:, ::-1] if generator.random() < 0.5 else pool.images[row]
        images[b] = cv2.resize(
            np.ascontiguousarray(image), (size, size), interpolation=cv2.INTER_AREA
        )
    return images, pool.things[rows].astype(np.int64), pool.stuff[rows].astype(np.int64)


def draw_captions(
    generator: np.random.Generator,
    classes: Iterable[int],
    *,
    each: int = 2,
    places: Sequence[tuple[int, int]] = (),
    things_only: bool = False,
) -> Captions:
    """`each` captions of every class in `classes`, one of every other class, one of each place.

    Names are drawn from all synonyms, sentences from the prompts used at test time and more.
    `places`: pairs (thing, stuff) for captions such as "a red star on grass".
    """
    texts: list[str] = []
    about: list[tuple[int, int]] = []
    present = {int(c) for c in classes}
    for c in ALL:
        if things_only and not CLASSES[c].is_thing:
            continue
        for _ in range(each if c in present else 1):
            template = _TEMPLATES[generator.integers(len(_TEMPLATES))]
            texts.append(template.replace("{}", draw_name(generator, c)))
            about.append((c, _ANY))
    for thing, stuff in places:
        template = PLACE_CAPTIONS[generator.integers(len(PLACE_CAPTIONS))]
        first, second = draw_name(generator, thing), draw_name(generator, stuff)
        texts.append(template.replace("{}", first, 1).replace("{}", second, 1))
        about.append((thing, stuff))
    columns = np.array(about, np.int64)
    return Captions(tuple(texts), columns[:, 0], columns[:, 1])


def draw_name(generator: np.random.Generator, c: int) -> str:
    """One of the names of class `c`."""
    names = all_names(c)
    return names[generator.integers(len(names))]


def every_token_text() -> list[str]:
    """Texts that together hold every word a caption can have."""
    names = [name for c in ALL for name in all_names(c)]
    return names + [t.replace("{}", "red circle") for t in (*_TEMPLATES, *PLACE_CAPTIONS)]
