"""Logits of an image of any size from a model that takes squares of one size.

Legend: B windows of one call, T classes, C channels, K the side of a window (`crop`), H and W
pixels of the image, N = rows x columns of windows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import product

import torch
import torch.nn.functional as F
from torch import Tensor

from frozenseg.inference.window_plan import check_windows, covered, window_starts


def sliding_window(
    image_CHW: Tensor,
    score: Callable[[Tensor], Tensor],
    *,
    crop: int = 224,
    stride: int = 149,
    batch: int = 8,
) -> Iterator[tuple[slice, Tensor]]:
    """The mean of all windows' logits at every pixel, in finished bands of rows, top to bottom.

    Windows begin at 0, stride, 2 stride, ... along both axes until the image is covered. Those that
    reach over the edge are cut off and padded with zeros, not shifted; so is an image that is
    smaller than a window. No more is kept than a strip of `crop` rows and the logits of one call.

    Args:
        image_CHW: normalised, so that zeros are the dataset's mean colour.
        score: logits (B, T, K, K) of windows (B, C, K, K).
        crop, stride: pixels.
        batch: most windows of one call; a call takes windows of several rows.
    Yields: the rows' slice and their logits (T, rows, W) float32; the slices join without gap.
    Raises: ValueError for an empty image, sizes that leave gaps, logits of another shape.
    Source: Fusioner, arXiv:2210.15138 (its evaluation at full resolution).
    """
    check_windows(tuple(image_CHW.shape), crop, stride, batch)
    height, width = image_CHW.shape[-2:]
    tops, lefts = window_starts(height, crop, stride), window_starts(width, crop, stride)
    beyond = (0, lefts[-1] + crop - width, 0, tops[-1] + crop - height)
    padded_CHW = F.pad(image_CHW, beyond)
    covered_H, covered_W = (
        torch.tensor(covered(starts, crop, length), dtype=torch.float32, device=image_CHW.device)
        for starts, length in ((tops, height), (lefts, width))
    )
    strip_TKW: Tensor | None = None
    for (top, left), logits_TKK in _scored(padded_CHW, tops, lefts, crop, score, batch):
        if strip_TKW is None:
            strip_TKW = logits_TKK.new_zeros(len(logits_TKK), crop, width, dtype=torch.float32)
        inside = min(crop, width - left)
        strip_TKW[:, :, left : left + inside] += logits_TKK[:, :, :inside]
        if left != lefts[-1]:
            continue
        rows = slice(top, height if top == tops[-1] else top + stride)
        count = rows.stop - rows.start
        yield rows, strip_TKW[:, :count] / (covered_H[rows, None] * covered_W)
        strip_TKW = F.pad(strip_TKW[:, stride:], (0, 0, 0, stride))  # moved down


def _scored(
    padded_CHW: Tensor,
    tops: range,
    lefts: range,
    crop: int,
    score: Callable[[Tensor], Tensor],
    batch: int,
) -> Iterator[tuple[tuple[int, int], Tensor]]:
    """((top, left), logits (T, K, K)) of every window, row by row."""
    places = list(product(tops, lefts))
    for first in range(0, len(places), batch):
        part = places[first : first + batch]
        windows_BCKK = torch.stack([padded_CHW[:, y : y + crop, x : x + crop] for y, x in part])
        logits_BTKK = score(windows_BCKK)
        if logits_BTKK.dim() != 4 or logits_BTKK.shape[::2] != (len(part), crop):
            raise ValueError(
                f"windows {tuple(windows_BCKK.shape)} gave logits {tuple(logits_BTKK.shape)}: "
                f"({len(part)}, classes, {crop}, {crop}) is needed"
            )
        yield from zip(part, logits_BTKK, strict=True)
