"""Where things are in a label map or mask: pixel boxes, boundaries, places for a label.

Legend: H and W pixels of an image, N masks.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

LARGEST_CROP = 512  # masks are thinned to about this side before the distance transform
LARGEST_PLAIN_ID = 65535  # ids up to this one are looked up as they are
CENTRAL = 0.95  # places of at least this share of the largest depth count as equally deep


class Anchor(NamedTuple):
    """A place for a label: the pixel deepest inside a region and its distance to the border."""

    x: int
    y: int
    radius: float


def masks_of(
    label_map_HW: NDArray[np.integer[Any]],
) -> Iterator[tuple[int, tuple[int, int], NDArray[np.bool_]]]:
    """Yields (id, (top, left), mask cropped to its box) for every id except 0, ascending."""
    from scipy.ndimage import find_objects

    ids, index_HW = _consecutive(label_map_HW)
    for number, box in enumerate(find_objects(index_HW), start=1):
        if box is not None and ids[number] != 0:
            rows, columns = box
            yield int(ids[number]), (rows.start, columns.start), index_HW[box] == number


def _consecutive(
    label_map_HW: NDArray[np.integer[Any]],
) -> tuple[NDArray[np.integer[Any]] | range, NDArray[np.int32]]:
    """(ids, map of their places in `ids`); places are at least 1, or 0 for the id 0."""
    if label_map_HW.size and label_map_HW.min() >= 0 and label_map_HW.max() <= LARGEST_PLAIN_ID:
        return range(LARGEST_PLAIN_ID + 1), label_map_HW.astype(np.int32)  # no sorting
    ids, index = np.unique(label_map_HW, return_inverse=True)
    places_HW = index.reshape(label_map_HW.shape).astype(np.int32) + 1
    return np.concatenate((ids[:1], ids)), places_HW


def crop(mask_HW: NDArray[np.bool_]) -> tuple[tuple[int, int], NDArray[np.bool_]] | None:
    """((top, left), mask cropped to its box), or None for an empty mask."""
    rows, columns = np.flatnonzero(mask_HW.any(1)), np.flatnonzero(mask_HW.any(0))
    if not len(rows):
        return None
    top, left = int(rows[0]), int(columns[0])
    return (top, left), mask_HW[top : rows[-1] + 1, left : columns[-1] + 1]


def label_anchors(
    corner: tuple[int, int], mask_HW: NDArray[np.bool_], most: int = 1
) -> list[Anchor]:
    """Places for labels inside a mask: the deepest point of its connected parts, best first.

    Depth is the distance to the nearest pixel outside, the image's border being outside; of
    places about as deep the most central one is taken. The first is the deepest of the whole
    mask; up to `most - 1` others follow, for parts at least half as deep.

    Args:
        corner: (top, left) of the mask in the image, added to the result.
        mask_HW: not empty.
    """
    import cv2

    step = max(1, -(-max(mask_HW.shape) // LARGEST_CROP))
    thin_HW = mask_HW[::step, ::step]
    if not thin_HW.any():
        step, thin_HW = 1, mask_HW
    padded_HW = np.pad(thin_HW, 1).astype(np.uint8)
    depth_HW = cv2.distanceTransform(padded_HW, cv2.DIST_L2, cv2.DIST_MASK_PRECISE)
    anchors = [_deepest(depth_HW, corner, step)]
    if most > 1:
        count, part_HW = cv2.connectedComponents(padded_HW)
        inside = depth_HW >= depth_HW.max() / 2
        found = {int(part) for part in np.unique(part_HW[inside])} if count > 2 else set()
        others = [_deepest(np.where(part_HW == part, depth_HW, 0), corner, step) for part in found]
        others.sort(key=lambda anchor: -anchor.radius)
        anchors += [anchor for anchor in others if anchor != anchors[0]]
    return anchors[:most]


def boundaries(label_map_HW: NDArray[np.integer[Any]], thickness: int = 1) -> NDArray[np.bool_]:
    """Pixels of segments (id not 0) within `thickness` pixels of another id. Shape (H, W).

    The image's border is not a boundary. Distances are the larger of rows and columns.
    """
    different_HW = np.zeros(label_map_HW.shape, dtype=bool)
    down = label_map_HW[1:] != label_map_HW[:-1]
    right = label_map_HW[:, 1:] != label_map_HW[:, :-1]
    different_HW[1:] |= down
    different_HW[:-1] |= down
    different_HW[:, 1:] |= right
    different_HW[:, :-1] |= right
    if thickness > 1:
        import cv2

        kernel = np.ones((2 * thickness - 1, 2 * thickness - 1), np.uint8)
        different_HW = cv2.dilate(different_HW.astype(np.uint8), kernel).astype(bool)
    return np.logical_and(different_HW, label_map_HW != 0)


def _deepest(depth_HW: NDArray[np.floating[Any]], corner: tuple[int, int], step: int) -> Anchor:
    """The most central of the deepest places of a map padded by one cell and thinned by `step`."""
    rows, columns = np.nonzero(depth_HW >= CENTRAL * depth_HW.max())
    nearest = ((rows - rows.mean()) ** 2 + (columns - columns.mean()) ** 2).argmin()
    row, column = rows[nearest], columns[nearest]
    top, left = corner
    depth = float(depth_HW[row, column]) * step
    return Anchor(left + (int(column) - 1) * step, top + (int(row) - 1) * step, depth)
