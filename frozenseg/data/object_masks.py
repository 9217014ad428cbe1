"""Whether an object's mask, polygons or RLE, is one, before the C code of pycocotools sees it;
where it lies, and how large it is.

Legend: H and W pixels, P polygons, O objects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

# As many pixels as Pillow reads of an image: 2 * Image.MAX_IMAGE_PIXELS.
MAX_PIXELS = 178_956_970
FAR = 16  # image sizes: pycocotools walks along every edge of a polygon, wherever it lies
TOLERANCE = 2.0  # pixels by which annotation tools draw over the edge
# Annotation files count pixels, or compute with polygons; boxes end at pixels or behind them.
BOX_TOLERANCE = 0.05  # of a box's side, beside `TOLERANCE`
AREA_TOLERANCE = (16, 1 / 3)  # pixels, and share of the larger area
_BITS, _LONGEST = 5, 7  # of a run length per character, and characters of 2^32


def rle_problem(rle: Mapping[str, Any], size: Sequence[int]) -> str:
    """Why an RLE is not a mask of an image of `size` (H, W), as a sentence; "" if it is one."""
    height, width = size
    if list(rle["size"]) != [height, width]:
        return f"its size is {list(rle['size'])}, its image's {[height, width]} (height, width)"
    if height * width > MAX_PIXELS:
        return f"its image has {height * width} pixels, more than the {MAX_PIXELS} that can be read"
    counts = rle["counts"]
    if isinstance(counts, (str, bytes)):
        runs = run_lengths_of(counts)
        if runs is None:
            return "its counts are no run lengths"
        shortest, total = int(runs.min(initial=0)), int(runs.sum())
    else:
        shortest, total = min(counts, default=0), sum(counts)
    if shortest < 0:
        return f"its counts have a run of {shortest} pixels"
    if total != height * width:
        return f"its runs are {total} pixels, its image {height * width}"
    return ""


def run_lengths_of(counts: str | bytes) -> NDArray[np.int64] | None:
    """The runs of COCO's compressed RLE; None for a text that is not one.

    Every number is written in groups of 5 bits, lowest first, 32 more for all but its last; from
    the fourth on it is the difference to the number before the last one.
    """
    data = counts.encode(errors="surrogatepass") if isinstance(counts, str) else counts
    values = np.frombuffer(data, np.uint8).astype(np.int64) - 48
    last = (values & 32) == 0
    if not values.size or values.min() < 0 or values.max() > 63 or not last[-1]:
        return None
    ends = np.flatnonzero(last)
    starts = np.concatenate([[0], ends[:-1] + 1])
    if (ends - starts).max() >= _LONGEST:
        return None
    shifts = _BITS * (np.arange(len(values)) - np.repeat(starts, ends - starts + 1))
    numbers = np.add.reduceat((values & 31) << shifts, starts)
    numbers -= np.where(values[ends] & 16, 1 << (shifts[ends] + _BITS), 0)
    for first in (1, 2):
        numbers[first::2] = np.cumsum(numbers[first::2])
    return numbers


def is_polygon(polygon: NDArray[np.float64]) -> bool:
    """Whether a list of coordinates is at least three points."""
    return len(polygon) >= 6 and not len(polygon) % 2


def polygon_problems(
    polygons: Sequence[NDArray[np.float64]], size: Sequence[int]
) -> list[tuple[int, str, str]]:
    """(index, level, problem) of the polygons, at least three points each, that are not in order.

    Args: size: (H, W) of their image. The level is "error" for what C code could not draw.
    """
    if not polygons:
        return []
    starts = np.cumsum([0, *(len(polygon) // 2 for polygon in polygons[:-1])])
    points = np.concatenate(polygons).reshape(-1, 2)
    low_P2, high_P2 = np.minimum.reduceat(points, starts), np.maximum.reduceat(points, starts)
    edge = np.array([size[1], size[0]], np.float64)
    if (low_P2 >= 0).all() and (high_P2 <= edge).all() and (low_P2 < high_P2).all():
        return []
    finite_P2 = np.isfinite(low_P2) & np.isfinite(high_P2)
    outside_P2 = (low_P2 < -TOLERANCE) | (high_P2 > edge + TOLERANCE)
    far_P2 = (low_P2 < -FAR * edge) | (high_P2 > FAR * edge)
    kinds = (
        ("error", "has a coordinate that is not finite", ~finite_P2),
        ("error", "lies far out of its image", far_P2),
        ("warning", "covers no pixel", np.minimum(high_P2, edge) <= np.maximum(low_P2, 0)),
        ("warning", "reaches out of its image", outside_P2),
    )
    found: dict[int, tuple[int, str, str]] = {}
    for level, problem, where_P2 in kinds:
        for index in np.flatnonzero(where_P2.any(axis=1)).tolist():
            found.setdefault(index, (index, level, f"a polygon {problem}"))
    return [found[index] for index in sorted(found)]


def boxes_and_areas(
    masks: Sequence[Any], sizes: Sequence[tuple[int, int]]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The box x, y, width, height (O, 4) of each mask, and its area (O,); of polygons their sum.

    Args:
        masks: polygons in order, or compressed RLE.
        sizes: (H, W) of their images, which boxes do not leave.
    """
    boxes_O4, areas_O = np.zeros((len(masks), 4)), np.zeros(len(masks))
    drawn = [index for index, mask in enumerate(masks) if isinstance(mask, list)]
    coded = [index for index, mask in enumerate(masks) if not isinstance(mask, list)]
    if coded:
        rles = [masks[index] for index in coded]
        boxes_O4[coded], areas_O[coded] = coco_mask.toBbox(rles), coco_mask.area(rles)
    if drawn:
        polygons = [polygon for index in drawn for polygon in masks[index]]
        first_O = np.cumsum([0, *(len(masks[index]) for index in drawn[:-1])])  # polygon of each
        lengths = np.array([len(polygon) // 2 for polygon in polygons])
        starts = np.cumsum(lengths) - lengths
        x, y = np.concatenate(polygons).reshape(-1, 2).T
        after = np.arange(1, len(x) + 1)
        after[starts + lengths - 1] = starts
        areas_P = np.abs(np.add.reduceat(x * y[after] - x[after] * y, starts)) / 2
        areas_O[drawn] = np.add.reduceat(areas_P, first_O)
        ends_O2 = np.array([sizes[index] for index in drawn])
        for axis, (values, end_O) in enumerate(((x, ends_O2[:, 1]), (y, ends_O2[:, 0]))):
            low_O, high_O = (
                extreme.reduceat(values, starts[first_O]).clip(0, end_O)
                for extreme in (np.minimum, np.maximum)
            )
            boxes_O4[drawn, axis], boxes_O4[drawn, axis + 2] = low_O, high_O - low_O
    return boxes_O4, areas_O


def boxes_differ(given_O4: NDArray[Any], found_O4: NDArray[Any]) -> NDArray[np.bool_]:
    """Which boxes (x, y, width, height) are other ones, by more than rounding."""
    ends = [np.concatenate([b[:, :2], b[:, :2] + b[:, 2:]], 1) for b in (given_O4, found_O4)]
    most_O4 = np.maximum(TOLERANCE, BOX_TOLERANCE * np.tile(found_O4[:, 2:], 2))
    differ: NDArray[np.bool_] = (np.abs(ends[0] - ends[1]) > most_O4).any(1)
    return differ


def areas_differ(given: Any, found: Any) -> Any:
    """Whether areas, or arrays of them, are other ones by more than rounding."""
    pixels, share = AREA_TOLERANCE
    return np.abs(given - found) > pixels + share * np.maximum(given, found)
