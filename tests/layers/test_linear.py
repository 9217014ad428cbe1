"""fast_linear is F.linear, whichever kernel runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frozenseg.layers import linear
from frozenseg.layers.linear import fast_linear

MANY = linear.MIN_CONVOLUTION_ROWS


def make_layer(inputs: int, outputs: int) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(inputs, outputs)


@contextmanager
def counting_convolutions(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[None]]:
    calls: list[None] = []
    convolve = F.conv2d

    def counted(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        calls.append(None)
        return convolve(x, weight, bias)

    with monkeypatch.context() as patch:
        patch.setattr(F, "conv2d", counted)
        yield calls


@pytest.mark.parametrize("shape", [(MANY,), (1, MANY), (2, MANY // 2), (2, 3, MANY), (1, MANY + 7)])
@pytest.mark.parametrize("bias", [True, False])
@torch.no_grad()
def test_equals_linear_in_float32_precision(
    shape: tuple[int, ...], bias: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    layer, x = make_layer(48, 20), torch.randn(*shape, 48)
    bias_O = layer.bias if bias else None
    with counting_convolutions(monkeypatch) as calls:
        out = fast_linear(x, layer.weight, bias_O)
    assert calls
    assert out.shape == (*shape, 20)
    assert out.is_contiguous()
    exact = F.linear(x.double(), layer.weight.double(), None if bias_O is None else bias_O.double())
    assert (out - exact).abs().max() <= 1e-5 * exact.abs().max()


@torch.no_grad()
def test_input_need_not_be_contiguous() -> None:
    layer, x = make_layer(24, 8), torch.randn(2, 24, MANY)
    out = fast_linear(x.transpose(1, 2), layer.weight, layer.bias)
    torch.testing.assert_close(out, layer(x.transpose(1, 2)))


@torch.no_grad()
def test_what_the_convolution_does_not_serve_is_linear_to_the_bit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    layer, x = make_layer(16, 8), torch.randn(MANY, 16)
    few, wide = x[:-1], x.double()
    with counting_convolutions(monkeypatch) as calls:
        assert torch.equal(fast_linear(few, layer.weight, layer.bias), layer(few))
        empty = x[:0]
        assert torch.equal(fast_linear(empty, layer.weight, layer.bias), layer(empty))
        with monkeypatch.context() as patch:
            patch.setattr(torch.backends.mkldnn, "is_available", lambda: False)
            assert torch.equal(fast_linear(x, layer.weight, layer.bias), layer(x))
        with torch.autocast("cpu", dtype=torch.bfloat16):
            out = fast_linear(x, layer.weight, layer.bias)
            assert out.dtype == torch.bfloat16
            assert torch.equal(out, layer(x))
        layer.double()
        assert torch.equal(fast_linear(wide, layer.weight, layer.bias), layer(wide))
    assert not calls


def test_training_keeps_linear_and_its_gradients(monkeypatch: pytest.MonkeyPatch) -> None:
    layer, x = make_layer(16, 8), torch.randn(MANY, 16)
    with counting_convolutions(monkeypatch) as calls:
        out = fast_linear(x, layer.weight, layer.bias)
    assert not calls
    out.square().sum().backward()
    expected = torch.autograd.grad(layer(x).square().sum(), [layer.weight, layer.bias])
    torch.testing.assert_close([layer.weight.grad, layer.bias.grad], list(expected))


def test_frozen_weights_take_the_fast_path_with_gradients_enabled(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    layer, x = make_layer(16, 8).requires_grad_(False), torch.randn(MANY, 16)
    with counting_convolutions(monkeypatch) as calls:
        torch.testing.assert_close(fast_linear(x, layer.weight, layer.bias), layer(x))
    assert calls
