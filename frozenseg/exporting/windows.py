"""Label maps of images of any size from an exported Fusioner, which takes windows of one size.

In numpy; equal to `frozenseg.inference.sliding_window` and `labels_of`.

Legend: B windows of one call, S synonyms, T classes, c the side of a window (`crop`), H and W
pixels of the image.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frozenseg.inference.window_plan import check_windows, covered, window_starts
from frozenseg.structures import BACKGROUND

Floats = NDArray[np.float32]
# Windows (B, 3, c, c), zero outside of the image, and their valid sizes (B, 2) -> (B, S, c, c).
Score = Callable[[Floats, NDArray[np.int64]], Floats]


def semantic_labels(
    image_3HW: NDArray[Any],
    score: Score,
    class_of_synonym_S: NDArray[np.int64],
    *,
    crop: int,
    stride: int,
    threshold: float,
    batch: int = 8,
) -> NDArray[np.int32]:
    """Class indices (H, W), BACKGROUND where no word's probability exceeds `threshold`.

    Args:
        image_3HW: RGB in 0..255.
        score: the exported graph.
        class_of_synonym_S: ascending, every class has one or more.
        crop, stride: pixels, as of the model.
        batch: most windows of one call.
    Raises: ValueError for an empty image, or sizes that leave gaps.
    """
    check_windows(image_3HW.shape, crop, stride, batch)
    height, width = image_3HW.shape[1:]
    labels_HW = np.empty((height, width), np.int32)
    first_of_class = np.flatnonzero(np.diff(class_of_synonym_S, prepend=-1))
    covered_W = np.array(covered(window_starts(width, crop, stride), crop, width), np.float32)
    covered_H = np.array(covered(window_starts(height, crop, stride), crop, height), np.float32)
    strip_TcW = np.zeros((len(first_of_class), crop, width), np.float32)
    for top, left, logits_Scc in _scored(image_3HW, score, crop, stride, batch):
        inside = min(crop, width - left)
        logits_Tcc = np.maximum.reduceat(logits_Scc, first_of_class, axis=0)
        strip_TcW[:, :, left : left + inside] += logits_Tcc[:, :, :inside]
        if left + crop < width:
            continue
        rows = slice(top, height if top + crop >= height else top + stride)
        done_TRW = strip_TcW[:, : rows.stop - top] / (covered_H[rows, None] * covered_W)
        labels_HW[rows] = _labels_of(done_TRW, threshold)
        strip_TcW = np.pad(strip_TcW[:, stride:], ((0, 0), (0, stride), (0, 0)))  # moved down
    return labels_HW


def _scored(
    image_3HW: NDArray[Any], score: Score, crop: int, stride: int, batch: int
) -> Iterator[tuple[int, int, Floats]]:
    """(top, left, logits (S, c, c)) of every window, row by row."""
    places = list(product(*(window_starts(size, crop, stride) for size in image_3HW.shape[1:])))
    for first in range(0, len(places), batch):
        part = places[first : first + batch]
        windows_B3cc = np.zeros((len(part), 3, crop, crop), np.float32)
        sizes_B2 = np.empty((len(part), 2), np.int64)
        for window_3cc, size_2, (top, left) in zip(windows_B3cc, sizes_B2, part, strict=True):
            inside = image_3HW[:, top : top + crop, left : left + crop]
            size_2[:] = inside.shape[1:]
            window_3cc[:, : size_2[0], : size_2[1]] = inside
        for place, logits_Scc in zip(part, score(windows_B3cc, sizes_B2), strict=True):
            yield *place, logits_Scc


def _labels_of(logits_TP: Floats, threshold: float) -> NDArray[np.int32]:
    """The first word of the largest logit if its sigmoid exceeds `threshold`, else BACKGROUND."""
    peak_P = logits_TP.max(0)
    with np.errstate(over="ignore"):
        is_word_P = 1 / (1 + np.exp(-peak_P)) > threshold
    return np.where(is_word_P, logits_TP.argmax(0), BACKGROUND).astype(np.int32)
