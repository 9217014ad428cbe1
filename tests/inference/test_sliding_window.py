"""Sliding window: equal to adding up all windows, and what it asks of the model."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from frozenseg.inference.sliding_window import sliding_window, window_starts


def score(windows):
    """Three classes; depends on the pixel, on its place in the window, and on the whole window."""
    size = windows.shape[-1]
    place = torch.linspace(-1, 1, size)
    whole = windows.mean((1, 2, 3), keepdim=True)
    return torch.cat(
        [windows[:, :1] * place, windows[:, 1:2] + place[:, None], windows[:, :1] + whole], 1
    )


def joined(image, model=score, **options):
    parts, end = [], 0
    for rows, logits in sliding_window(image, model, **options):
        assert rows.start == end
        assert logits.shape[1:] == (rows.stop - rows.start, image.shape[-1])
        end = rows.stop
        parts.append(logits)
    assert end == image.shape[1]
    return torch.cat(parts, 1)


def added_up(image, crop, stride):
    """Sum and count over the whole image, window by window; starts found by walking."""
    height, width = image.shape[1:]
    total, count = torch.zeros(3, height, width), torch.zeros(height, width)
    top = 0
    while True:
        left = 0
        while True:
            cut = image[:, top : top + crop, left : left + crop]
            here = (slice(top, top + cut.shape[1]), slice(left, left + cut.shape[2]))
            window = torch.zeros(1, len(image), crop, crop)
            window[0, :, : cut.shape[1], : cut.shape[2]] = cut
            total[:, here[0], here[1]] += score(window)[0, :, : cut.shape[1], : cut.shape[2]]
            count[here] += 1
            if left + crop >= width:
                break
            left += stride
        if top + crop >= height:
            return total / count
        top += stride


@pytest.mark.slow
@settings(max_examples=60)
@given(
    height=st.integers(1, 40),
    width=st.integers(1, 40),
    crop=st.integers(1, 17),
    overlap=st.integers(0, 16),
    batch=st.integers(1, 9),
)
def test_equals_adding_up_all_windows(height, width, crop, overlap, batch):
    stride = max(1, crop - overlap)
    image = torch.randn(2, height, width, generator=torch.Generator().manual_seed(height))
    found = joined(image, crop=crop, stride=stride, batch=batch)
    torch.testing.assert_close(found, added_up(image, crop, stride), atol=1e-5, rtol=1e-5)


@settings(max_examples=60)
@given(length=st.integers(1, 900), crop=st.integers(1, 300), overlap=st.integers(0, 299))
def test_windows_cover_the_axis_and_none_is_needless(length, crop, overlap):
    stride = max(1, crop - overlap)
    starts = window_starts(length, crop, stride)
    assert starts[0] == 0
    assert starts[-1] + crop >= length
    assert len(starts) == 1 or starts[-2] + crop < length


def test_windows_of_a_pascal_image():
    """500 x 375 pixels: 0, 149, 298 along both axes; the last ones reach beyond the edge."""
    assert list(window_starts(500, 224, 149)) == [0, 149, 298]
    assert list(window_starts(375, 224, 149)) == [0, 149, 298]
    assert list(window_starts(373, 224, 149)) == [0, 149]
    seen = []

    def model(windows):
        seen.append(windows)
        return windows[:, :1]

    list(sliding_window(torch.ones(3, 375, 500), model))
    assert [len(windows) for windows in seen] == [8, 1]
    last = seen[1][0, 0]  # at (298, 298): 77 rows and 202 columns of it are image
    assert last[:77, :202].sum() == last.sum() == 77 * 202


def test_a_model_of_single_pixels_gives_its_logits_back():
    image = torch.randn(3, 301, 455)
    found = joined(image, lambda windows: 2 * windows[:, :2])
    torch.testing.assert_close(found, 2 * image[:2])


@pytest.mark.parametrize("size", [(224, 224), (100, 224), (1, 1)])
def test_an_image_of_at_most_one_window_is_one_call_of_one_window(size):
    image = torch.randn(3, *size)
    calls = []

    def model(windows):
        calls.append(len(windows))
        return score(windows)

    [(rows, logits)] = sliding_window(image, model)
    assert calls == [1]
    assert rows == slice(0, size[0])
    padded = F.pad(image, (0, 224 - size[1], 0, 224 - size[0]))
    assert torch.equal(logits, score(padded[None])[0, :, : size[0], : size[1]])


def test_bands_come_before_the_windows_below_them_and_stay_valid():
    image, calls = torch.randn(3, 60, 20), []

    def model(windows):
        calls.append(len(windows))
        return score(windows)

    bands = sliding_window(image, model, crop=20, stride=10, batch=1)
    rows, first = next(bands)
    assert (rows, calls) == (slice(0, 10), [1])
    kept = first.clone()
    assert sum(logits.shape[1] for _, logits in bands) == 50
    assert torch.equal(first, kept)


def test_half_precision_logits_are_added_in_float32():
    image = torch.randn(3, 50, 50)
    found = joined(image, lambda windows: windows[:, :1].bfloat16(), crop=20, stride=7)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, image[:1].bfloat16().float(), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stride": 225}, "224 pixels every 225 pixels leave gaps"),
        ({"stride": 0}, "leave gaps"),
        ({"batch": 0}, "0 windows per call"),
    ],
)
def test_sizes_that_cannot_work_are_errors(options, message):
    with pytest.raises(ValueError, match=message):
        next(sliding_window(torch.zeros(3, 9, 9), score, **options))


def test_shapes_that_do_not_fit_are_errors():
    with pytest.raises(ValueError, match=r"\(3, 0, 5\)"):
        next(sliding_window(torch.zeros(3, 0, 5), score))
    with pytest.raises(ValueError, match=r"gave logits \(1, 3, 14, 14\)"):
        next(sliding_window(torch.zeros(3, 9, 9), lambda x: x[..., ::16, ::16]))
