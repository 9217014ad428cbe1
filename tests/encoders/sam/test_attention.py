"""The lean image encoder against segment_anything's own."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from segment_anything.modeling import ImageEncoderViT
from torch import nn

from frozenseg.encoders.sam import attention as sam_attention
from frozenseg.encoders.sam.attention import (
    SamViT,
    from_windows,
    pieces,
    resize_positions,
    to_windows,
)


def random_encoder(window_size: int, indexes: tuple[int, ...], image_size: int = 128) -> SamViT:
    encoder = SamViT(
        image_size=image_size,
        patch_size=8,
        width=24,
        depth=2,
        heads=3,
        window_size=window_size,
        global_attn_indexes=indexes,
        out_channels=16,
    )
    for parameter in encoder.parameters():
        nn.init.normal_(parameter, std=0.3)  # relative positions and norms too
    return encoder


def reference(encoder: SamViT, images: torch.Tensor) -> torch.Tensor:
    return ImageEncoderViT.forward(encoder, images)


@pytest.mark.parametrize(
    ("window_size", "indexes"),
    [(0, ()), (4, (1,)), (5, (0,)), (7, ()), (3, (0, 1)), (20, (1,))],
    ids=["global", "exact windows", "padded", "windows only", "no window used", "larger than map"],
)
def test_it_equals_segment_anything(window_size, indexes):
    encoder, images = random_encoder(window_size, indexes), torch.randn(2, 3, 128, 128)
    with torch.no_grad():
        expected, found = reference(encoder, images), encoder(images)
    assert found.shape == (2, 16, 16, 16)
    assert found.is_contiguous(memory_format=torch.contiguous_format) == expected.is_contiguous()
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)


@pytest.mark.parametrize("budget", [1, 5000, 70_000, 2**20])
def test_pieces_do_not_change_results(monkeypatch, budget):
    encoder, images = random_encoder(5, (1,)), torch.randn(2, 3, 128, 128)
    monkeypatch.setattr(sam_attention, "_CPU_BIAS_BYTES", budget)
    with torch.no_grad():
        torch.testing.assert_close(encoder(images), reference(encoder, images), rtol=0, atol=1e-5)


@pytest.mark.parametrize("size", [(80, 144), (200, 128), (64, 64)])
def test_other_input_sizes(size):
    """As segment_anything's encoder with positions resized to the map of these images."""
    encoder, images = random_encoder(5, (1,)), torch.randn(1, 3, *size)
    with torch.no_grad():
        found = encoder(images)
        positions = encoder.pos_embed.permute(0, 3, 1, 2)
        positions = F.interpolate(positions, (size[0] // 8, size[1] // 8), mode="bicubic")
        encoder.pos_embed = nn.Parameter(positions.permute(0, 2, 3, 1))
        torch.testing.assert_close(found, reference(encoder, images), rtol=0, atol=1e-5)


def test_sides_must_be_multiples_of_the_stride():
    with pytest.raises(ValueError, match=r"128 x 100 pixels.*multiples of 8"):
        random_encoder(5, (1,))(torch.zeros(1, 3, 128, 100))


def test_positions_of_the_own_size_are_untouched():
    positions = torch.randn(1, 6, 6, 4)
    assert resize_positions(positions, 6, 6) is positions
    flat = torch.full((1, 6, 6, 4), 0.7)
    torch.testing.assert_close(resize_positions(flat, 9, 4), torch.full((1, 9, 4, 4), 0.7))


def test_gradients_equal_segment_anythings():
    """The miniature SAM is trained through this encoder."""
    encoder, images = random_encoder(5, (1,)), torch.randn(1, 3, 128, 128)
    weight = torch.randn(1, 16, 16, 16)
    gradients = []
    for forward in (encoder, lambda x: reference(encoder, x)):
        encoder.zero_grad()
        (forward(images) * weight).sum().backward()
        gradients.append({name: p.grad.clone() for name, p in encoder.named_parameters()})
    for name, expected in gradients[1].items():
        assert expected.abs().max() > 0
        error = (gradients[0][name] - expected).abs().max() / expected.abs().max()
        assert error < 1e-4, name


def test_linear_layers_leave_padding_out(monkeypatch):
    calls, linear = [], F.linear

    def record(x, weight, bias=None):
        calls.append((x.shape[:-1].numel(), *weight.shape))
        return linear(x, weight, bias)

    encoder = random_encoder(5, (1,))
    with torch.no_grad(), monkeypatch.context() as patch:
        patch.setattr(F, "linear", record)
        encoder(torch.randn(1, 3, 128, 128))
    tokens = 16 * 16  # windows of 5 x 5 cover 20 x 20
    shapes = [(72, 24), (24, 24), (96, 24), (24, 96)]
    assert calls == [(tokens, *shape) for shape in shapes] * 2


def test_bfloat16_is_near_and_comes_back_as_float32():
    encoder, images = random_encoder(5, (1,)), torch.randn(1, 3, 128, 128)
    with torch.no_grad():
        expected = encoder(images)
        encoder.precision = "bfloat16"
        found = encoder(images)
    assert found.dtype == torch.float32
    error = (found - expected).norm() / expected.norm()
    assert 1e-4 < error < 3e-2


@pytest.mark.parametrize("most", [1, 40, 10**3, 10**4, 10**6])
def test_pieces_are_everything_once(most):
    B, M, H, W = 3, 4, 5, 6
    seen = torch.zeros(B, M, H)
    for b, m, h in pieces(B, M, H, W, most=most):
        part = seen[b, m, h]
        part += 1
        smallest = W * H * W
        assert part.numel() * smallest <= max(most, smallest)
    assert (seen == 1).all()


@pytest.mark.parametrize("side", [2, 3, 4, 9])
def test_windows_and_back(side):
    x, fill = torch.randn(2, 6, 8, 3), torch.tensor([7.0, 8, 9])
    windows = to_windows(x, side, fill)
    assert windows.shape[1:] == (side, side, 3)
    assert torch.equal(from_windows(windows, 6, 8), x)
    assert torch.equal(windows[0, : min(side, 6), : min(side, 8)], x[0, :side, :side])
    padded = windows.numel() // 3 - 2 * 6 * 8
    assert int((windows == fill).all(-1).sum()) == padded
