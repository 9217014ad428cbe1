from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from frozenseg.inference.strips import (
    finite_logits,
    full_precision,
    mask_resizer,
    sigmoid_strips,
)
from frozenseg.structures import ImageGeometry

SIZES = st.tuples(st.integers(1, 40), st.integers(1, 70))


def _all_strips(logits, geometry, max_rows=None):
    parts = [masks.clone() for _, masks in sigmoid_strips(logits, geometry, max_rows=max_rows)]
    return torch.cat(parts, 1).view(len(logits), *geometry.output)


@settings(max_examples=40)
@given(source=SIZES, padding=SIZES, image=SIZES, output=SIZES, max_rows=st.integers(1, 9))
def test_strips_equal_interpolate(plain_resize, source, padding, image, output, max_rows) -> None:
    padded = (image[0] + padding[0] - 1, image[1] + padding[1] - 1)
    geometry = ImageGeometry(padded=padded, image=image, output=output)
    logits = torch.randn(3, *source, generator=torch.Generator().manual_seed(source[0]))
    expected = plain_resize(logits, geometry).sigmoid()
    strips = _all_strips(logits, geometry, max_rows)
    torch.testing.assert_close(strips, expected, atol=1e-5, rtol=0)


def test_strip_height_does_not_change_the_result() -> None:
    geometry = ImageGeometry(padded=(64, 96), image=(50, 90), output=(75, 131))
    logits = torch.randn(5, 16, 24, generator=torch.Generator().manual_seed(0))
    whole = _all_strips(logits, geometry, max_rows=75)
    for max_rows in (1, 7, 32, None):
        strips = _all_strips(logits, geometry, max_rows)
        torch.testing.assert_close(strips, whole, atol=1e-6, rtol=0)


def test_strips_cover_every_pixel_once() -> None:
    geometry = ImageGeometry(padded=(32, 32), image=(30, 20), output=(31, 33))
    counts = torch.zeros(31 * 33)
    for pixels, masks in sigmoid_strips(torch.zeros(2, 8, 8), geometry, max_rows=4):
        counts[pixels] += 1
        assert masks.shape == (2, pixels.stop - pixels.start)
    assert (counts == 1).all()


def test_large_strips_are_split_and_small_images_are_not() -> None:
    device = torch.device("cpu")
    large = ImageGeometry(padded=(640, 640), image=(640, 640), output=(640, 640))
    rows = [s.stop - s.start for s in mask_resizer((160, 160), large, device).strips(250)]
    assert sum(rows) == 640
    assert 1 <= max(rows) * 640 * 250 * 4 <= 8 << 20
    small = ImageGeometry(padded=(32, 32), image=(32, 32), output=(32, 32))
    assert len(list(mask_resizer((8, 8), small, device).strips(250))) == 1


def test_infinite_and_nan_logits_become_certain() -> None:
    logits = torch.tensor([float("inf"), float("-inf"), float("nan"), 3.0], dtype=torch.bfloat16)
    assert finite_logits(logits).sigmoid().tolist() == [1.0, 0.0, 0.0, pytest.approx(0.95257413)]
    huge = torch.full((2, 2), 3e38)
    assert torch.equal(finite_logits(huge), huge)


def test_full_precision_inside_autocast() -> None:
    geometry = ImageGeometry(padded=(32, 32), image=(32, 32), output=(32, 32))
    logits = torch.randn(2, 8, 8, generator=torch.Generator().manual_seed(0), requires_grad=True)
    with torch.autocast("cpu", dtype=torch.bfloat16), full_precision(torch.device("cpu")):
        strips = _all_strips(logits, geometry)
        assert (torch.eye(2) @ torch.eye(2)).dtype == torch.float32
    assert not strips.requires_grad
    with full_precision(torch.device("cpu")):
        assert torch.equal(strips, _all_strips(logits, geometry))
