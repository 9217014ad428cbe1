"""Semantic segmentation from classified masks.

Legend: Q queries, N proposals, R = Q + N rows, C classes, C1 = C + 1 (void last), P pixels of a
strip, I, J, Y, X see strips.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import Tensor

from frozenseg.inference.argmax import column_argmax
from frozenseg.inference.strips import (
    MaskRows,
    Scratch,
    StripResizer,
    finite_logits,
    mask_resizer,
)
from frozenseg.structures import ImageGeometry

# Classes scored at a time where only the best one is wanted.
_CLASS_CHUNK = 256


class LabelMap(NamedTuple):
    """The best class of every pixel, int64 (H, W), and its score, float32 (H, W)."""

    labels: Tensor
    scores: Tensor


class ScoreCollector:
    """Scores of all classes, kept as (C, H * W)."""

    def __init__(self, classes: int, size: tuple[int, int], device: torch.device) -> None:
        self._size = size
        self._scores = torch.empty(classes, size[0] * size[1], device=device)
        self.chunk = max(1, classes)

    def target(self, classes: slice, pixels: slice) -> Tensor:
        """Where the scores of these classes and pixels are to be written."""
        return self._scores[classes, pixels]

    def commit(self, classes: slice, pixels: slice, scores_CP: Tensor) -> None:
        """Nothing to do: the scores were written in place."""

    def finish(self) -> Tensor:
        """Scores float32 (C, H, W)."""
        return self._scores.view(-1, *self._size)


class LabelCollector:
    """The best class of every pixel; no tensor holds all classes of all pixels."""

    def __init__(self, classes: int, size: tuple[int, int], device: torch.device) -> None:
        self._size = size
        self._labels = torch.zeros(size[0] * size[1], dtype=torch.int64, device=device)
        self._scores = torch.zeros(size[0] * size[1], device=device)
        self._scratch = Scratch(device)
        self.chunk = _CLASS_CHUNK

    def target(self, classes: slice, pixels: slice) -> Tensor:
        """A buffer for the scores of these classes and pixels."""
        return self._scratch.take(classes.stop - classes.start, pixels.stop - pixels.start)

    def commit(self, classes: slice, pixels: slice, scores_CP: Tensor) -> None:
        """Lets the classes of this chunk compete with the earlier ones."""
        best_P, label_P = column_argmax(scores_CP)
        label_P += classes.start
        if classes.start:
            better_P = best_P > self._scores[pixels]
            label_P = torch.where(better_P, label_P, self._labels[pixels])
            best_P = torch.where(better_P, best_P, self._scores[pixels])
        self._labels[pixels], self._scores[pixels] = label_P, best_P

    def finish(self) -> LabelMap:
        """Labels and scores, each (H, W)."""
        return LabelMap(self._labels.view(self._size), self._scores.view(self._size))


class SemanticAccumulator:
    """Sums weight * mask probability over the rows, strip by strip; of a pixel it may exceed 1.

    Source: MaskFormer, arXiv:2107.06278, section 3.4.

    Args:
        weights_CR: class probabilities (see `semantic_weights`); float32, contiguous.
        size: (H, W) of the output.
        argmax_only: keep only the best class of every pixel.
    """

    def __init__(
        self, weights_CR: Tensor, size: tuple[int, int], *, argmax_only: bool = False
    ) -> None:
        self._weights_CR = weights_CR
        collector = LabelCollector if argmax_only else ScoreCollector
        device = weights_CR.device
        self._collector = collector(len(weights_CR), size, device)
        self._extra = Scratch(device)
        self._sums, self._wide, self._resized = Scratch(device), Scratch(device), Scratch(device)

    def add(self, pixels: slice, masks_RP: Tensor) -> None:
        """Takes the mask probabilities of some pixels of the flattened output."""
        for classes in self._chunks(self._collector.chunk):
            out_CP = self._collector.target(classes, pixels)
            torch.mm(self._weights_CR[classes], masks_RP, out=out_CP)
            self._collector.commit(classes, pixels, out_CP)

    def add_before_resize(
        self,
        resizer: StripResizer,
        rows: slice,
        masks_QP: Tensor,
        extra: MaskRows | None = None,
    ) -> None:
        """Takes queries' masks of the source rows `resizer.band(rows)`: summed, then resized.

        The rows of `extra`, the last of the weights, are at output size and added after it.
        """
        pixels, band = resizer.pixels(rows), resizer.band(rows)
        queries = len(masks_QP)
        if extra is not None:
            extra_NP = self._extra.take(len(extra), pixels.stop - pixels.start)
            extra.write(pixels, extra_NP)
        for classes in self._chunks(_CLASS_CHUNK):
            count = classes.stop - classes.start
            sums_CP = self._sums.take(count, masks_QP.shape[1])
            torch.mm(self._weights_CR[classes, :queries], masks_QP, out=sums_CP)
            sums_CIJ = sums_CP.view(count, band.stop - band.start, -1)
            wide_CIX = resizer.resize_columns(sums_CIJ, self._wide)
            resized_CP = self._resized.take(count, pixels.stop - pixels.start)
            resizer.resize_rows(wide_CIX, rows, resized_CP)
            out_CP = self._collector.target(classes, pixels).copy_(resized_CP)
            if extra is not None:
                out_CP.addmm_(self._weights_CR[classes, queries:], extra_NP)
            self._collector.commit(classes, pixels, out_CP)

    def finish(self) -> Tensor | LabelMap:
        """Scores (C, H, W), or the label map where only that was asked for."""
        return self._collector.finish()

    def _chunks(self, size: int) -> Iterator[slice]:
        total = len(self._weights_CR)
        return (slice(first, min(first + size, total)) for first in range(0, total, size))


def sum_at_padded_size(
    head: SemanticAccumulator,
    mask_logits_QIJ: Tensor,
    geometry: ImageGeometry,
    extra: MaskRows | None = None,
) -> Tensor | LabelMap:
    """What `head` makes of the queries' sum at the padded input's size, cropped and resized.

    Args:
        extra: masks at output size, the last rows of the head's weights. They are added after the
            resize: it is linear, so the sum is the same, and they keep their edges, where a way
            through the image's size and back would blur them.
    """
    source_size = (mask_logits_QIJ.shape[1], mask_logits_QIJ.shape[2])
    device = mask_logits_QIJ.device
    at_image = replace(geometry, output=geometry.image)
    to_image = mask_resizer(source_size, at_image, device)
    to_output = mask_resizer(geometry.image, replace(geometry, padded=geometry.image), device)
    source = finite_logits(mask_logits_QIJ)
    queries = len(source)
    wide, scratch = Scratch(device), Scratch(device)
    # Strips of the output whose source rows, at the image's size, are as large as usual.
    shrink = geometry.image[0] * geometry.image[1] / (geometry.output[0] * geometry.output[1])
    for rows in to_output.strips(int(queries * shrink)):
        band = to_output.band(rows)
        wide_QIX = to_image.resize_columns(source[:, to_image.band(band)], wide)
        masks_QP = scratch.take(queries, (band.stop - band.start) * to_image.width)
        to_image.resize_rows(wide_QIX, band, masks_QP)
        head.add_before_resize(to_output, rows, masks_QP.sigmoid_(), extra)
    return head.finish()
