"""Whether an object's mask, polygons or RLE, is one, before the C code of pycocotools sees it.

Legend: H and W pixels, P polygons.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

# As many pixels as Pillow reads of an image: 2 * Image.MAX_IMAGE_PIXELS.
MAX_PIXELS = 178_956_970
FAR = 16  # image sizes: pycocotools walks along every edge of a polygon, wherever it lies
TOLERANCE = 2.0  # pixels by which annotation tools draw over the edge
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
