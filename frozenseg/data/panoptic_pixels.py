"""What a panoptic map holds beside what its annotation says: pixels are counted."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class SegmentPixels(NamedTuple):
    """The segments of a map compared with those of its annotation.

    Attributes:
        pixels: of every listed segment that the map has, by its id.
        unlisted: pixels of ids that only the map has; 0, for unlabelled, is none.
        empty: ids that only the annotation has, ascending.
        wrong_areas: ids whose `area` is not their number of pixels -> that area.
    """

    pixels: dict[int, int]
    unlisted: dict[int, int]
    empty: list[int]
    wrong_areas: dict[int, Any]


def compare_segments(
    ids_HW: NDArray[np.integer[Any]], segments: Iterable[Mapping[str, Any]]
) -> SegmentPixels:
    """Counts the pixels of a map of segment ids (H, W); `segments` have id and, rightly, area."""
    values, counts = np.unique(ids_HW, return_counts=True)
    found = dict(zip(values.tolist(), counts.tolist(), strict=True))
    found.pop(0, None)
    area_of = {segment["id"]: segment.get("area") for segment in segments if "id" in segment}
    pixels = {key: found[key] for key in area_of if key in found}
    return SegmentPixels(
        pixels,
        {key: count for key, count in found.items() if key not in area_of},
        sorted(key for key in area_of if key not in found),
        {key: area_of[key] for key in pixels if area_of[key] != pixels[key]},
    )
