"""Masks at output resolution, a strip of rows at a time.

Mask logits at stride 4 are resized to the padded input, cropped to the image and resized to the
output. Both resizes are bilinear, so the whole way is one banded matrix per axis. Applying it
strip by strip keeps every temporary in the processor's cache: 250 masks of 640x640 pixels are
410 MB of floats, and writing them once costs more than all arithmetic on them.

Legend: N channels (queries or classes), I, J rows and columns of the source, Y, X rows and columns
of the target, P = pixels of a strip (its rows, row-major), so a strip of masks is (N, P).
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

import torch
from torch import Tensor

from frozenseg.resize import axis_weights
from frozenseg.structures import ImageGeometry

# Floats of a strip of all channels: about the second-level caches of a CPU (measured on 2 cores for
# 250 masks of 640x640; a factor of 2 hardly matters), or enough work for a GPU kernel.
_STRIP_FLOATS = {"cpu": 1 << 20}
_STRIP_FLOATS_ACCELERATOR = 1 << 26
# Strips whose source rows are widened together: at stride 4 these are few rows, in long products.
_STRIPS_OF_CHUNK = 6
# Columns that share one block of the column matrix: wide enough for a fast matrix product, narrow
# enough that few of its entries are zero.
_BLOCK_COLUMNS = 64
# Stands for infinity in mask logits: sigmoid is saturated and products with zero stay zero.
_SATURATED = 1e4


class MaskRows(Protocol):
    """Masks that are already at output size and enter the strips as further rows."""

    def __len__(self) -> int:
        """Number of rows N."""

    def write(self, pixels: slice, out_NP: Tensor) -> None:
        """Fills `out_NP` with the probabilities of some pixels of the flattened output."""


class Scratch:
    """A float32 buffer that is allocated once and reused for every strip."""

    def __init__(self, device: torch.device) -> None:
        self._flat = torch.empty(0, dtype=torch.float32, device=device)

    def take(self, rows: int, columns: int) -> Tensor:
        """An uninitialised (rows, columns) tensor, valid until the next call."""
        if self._flat.numel() < rows * columns:
            self._flat = self._flat.new_empty(rows * columns)
        return self._flat[: rows * columns].view(rows, columns)


class StripResizer:
    """A separable linear resize of (N, I, J) maps to (N, Y, X), computed for some rows at a time.

    Args:
        rows_YI, columns_XJ: the weights of each axis, in any float dtype (see `axis_weights`).
        device: where the maps are.
    """

    def __init__(self, rows_YI: Tensor, columns_XJ: Tensor, device: torch.device) -> None:
        self.height, self.width = rows_YI.shape[0], columns_XJ.shape[0]
        self._row_bands = _bands(rows_YI)
        self._rows_YI = rows_YI.to(device, torch.float32)
        self._blocks = []
        bands = _bands(columns_XJ)
        for left in range(0, self.width, _BLOCK_COLUMNS):
            right = min(left + _BLOCK_COLUMNS, self.width)
            first, last = bands[left][0], bands[right - 1][1]
            weights_JX = columns_XJ[left:right, first:last].t().contiguous()
            target, source = slice(left, right), slice(first, last)
            self._blocks.append((target, source, weights_JX.to(device, torch.float32)))

    def band(self, rows: slice) -> slice:
        """The source rows that the target rows depend on."""
        return slice(self._row_bands[rows.start][0], self._row_bands[rows.stop - 1][1])

    def resize_columns(self, maps_NIJ: Tensor, scratch: Scratch) -> Tensor:
        """Contiguous (N, I, X): every given source row at the target's width."""
        channels, height, width = maps_NIJ.shape
        out = scratch.take(channels * height, self.width)
        flat = maps_NIJ.reshape(channels * height, width)
        for target, source, weights_JX in self._blocks:
            torch.mm(flat[:, source], weights_JX, out=out[:, target])
        return out.view(channels, height, self.width)

    def resize_rows(self, band_NIX: Tensor, rows: slice, out_NP: Tensor) -> Tensor:
        """The target rows `rows` of every map, written into contiguous `out_NP` and returned.

        Args:
            band_NIX: the source rows `self.band(rows)` at the target's width.
        """
        channels, height, _ = band_NIX.shape
        weights_YI = self._rows_YI[rows, self.band(rows)]
        count = len(weights_YI)
        out = out_NP.view(channels, count, self.width)
        torch.bmm(weights_YI.expand(channels, count, height), band_NIX, out=out)
        return out_NP

    def strips(self, channels: int, max_rows: int | None = None) -> Iterator[slice]:
        """Slices of target rows; a strip of `channels` maps has a good size, or `max_rows` rows."""
        step = max_rows or self.strip_rows(channels)
        for top in range(0, self.height, step):
            yield slice(top, min(top + step, self.height))

    def strip_rows(self, channels: int) -> int:
        """How many target rows of `channels` maps make a strip of a good size."""
        floats = _STRIP_FLOATS.get(self._rows_YI.device.type, _STRIP_FLOATS_ACCELERATOR)
        return max(1, floats // max(1, channels * self.width))

    def pixels(self, rows: slice) -> slice:
        """Where the rows lie in a flattened (Y * X) map."""
        return slice(rows.start * self.width, rows.stop * self.width)


@contextmanager
def full_precision(device: torch.device) -> Iterator[None]:
    """Inference in float32 also where the caller runs under autocast."""
    with torch.no_grad(), torch.autocast(device.type, enabled=False):
        yield


def mask_resizer(
    source: tuple[int, int], geometry: ImageGeometry, device: torch.device
) -> StripResizer:
    """From mask logits of size `source` to the output: padded input, crop, output size."""
    rows, columns = (
        torch.from_numpy(
            axis_weights(source[axis], geometry.padded[axis], geometry.image[axis], output)
        )
        for axis, output in enumerate(geometry.output)
    )
    return StripResizer(rows, columns, device)


def sigmoid_strips(
    mask_logits_QIJ: Tensor,
    geometry: ImageGeometry,
    extra: MaskRows | None = None,
    *,
    max_rows: int | None = None,
) -> Iterator[tuple[slice, Tensor]]:
    """Mask probabilities at output size, strip by strip.

    Args:
        mask_logits_QIJ: mask logits of one image at the resolution of the padded input / stride.
        geometry: sizes of padded input, image and output.
        extra: N more masks at output size, below the queries in every strip.
        max_rows: rows of a strip; None chooses by the size of the cache.

    Yields: the strip's slice of the flattened output (H * W), and its probabilities (Q + N, P)
        float32 in a buffer that the next step overwrites.
    """
    device = mask_logits_QIJ.device
    source = finite_logits(mask_logits_QIJ)
    queries, height, width = source.shape
    resizer = mask_resizer((height, width), geometry, device)
    channels = queries + (len(extra) if extra is not None else 0)
    step = max_rows or resizer.strip_rows(channels)
    wide, scratch = Scratch(device), Scratch(device)
    for chunk in resizer.strips(queries, step * _STRIPS_OF_CHUNK):
        first = resizer.band(chunk).start
        wide_QIX = resizer.resize_columns(source[:, resizer.band(chunk)], wide)
        for top in range(chunk.start, chunk.stop, step):
            rows = slice(top, min(top + step, chunk.stop))
            band = resizer.band(rows)
            band_QIX = wide_QIX[:, band.start - first : band.stop - first]
            strip = scratch.take(channels, (rows.stop - rows.start) * resizer.width)
            resizer.resize_rows(band_QIX, rows, strip[:queries]).sigmoid_()
            if extra is not None:
                extra.write(resizer.pixels(rows), strip[queries:])
            yield resizer.pixels(rows), strip


def finite_logits(mask_logits: Tensor) -> Tensor:
    """The logits in float32, infinities as large numbers and NaN as "not in the mask"."""
    logits = mask_logits.float()
    if torch.isfinite(logits.sum()):  # one pass without a temporary
        return logits
    return logits.nan_to_num(nan=-_SATURATED, posinf=_SATURATED, neginf=-_SATURATED)


def _bands(weights: Tensor) -> list[tuple[int, int]]:
    """First and one past the last source cell of every target cell (both ascend)."""
    used = (weights != 0).to(torch.uint8)
    first = used.argmax(1)
    last = used.shape[1] - used.flip(1).argmax(1)
    return list(zip(first.tolist(), last.tolist(), strict=True))
