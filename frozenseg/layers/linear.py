"""Linear layers: one over many rows on the CPU, and a multi-layer perceptron.

Shapes: I input channels, O output channels; leading dimensions free, R rows = their product.
"""

from __future__ import annotations

import itertools

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MIN_CONVOLUTION_ROWS = 4096
"""Rows from which the convolution is the faster form; below it the two are equal or it loses."""


def fast_linear(x_I: Tensor, weight_OI: Tensor, bias_O: Tensor | None = None) -> Tensor:
    """`F.linear(x, weight, bias)`, on the CPU by the faster of two equal kernels.

    Without gradients, a float32 product of many rows runs as a 1x1 convolution in channels-last
    layout (oneDNN) and not as MKL's matrix product, which is slower on AMD processors. Measured
    with 2 threads on an AVX-512 EPYC, linear / convolution: 1.1 (8400 rows, 256 -> 96, 192, 256,
    1024), 1.2 (1024 -> 256), 1.0 at 2100 rows, 0.9 at 500; reports from other AMD processors say 2.
    Everything else (CUDA, other dtypes, autocast, training) is `F.linear`.

    Args: x (..., I), weight (O, I), bias (O,) or none.
    Returns: (..., O), contiguous; equal to `F.linear` up to float32 rounding.
    """
    if not _pays_as_convolution(x_I, weight_OI, bias_O):
        return F.linear(x_I, weight_OI, bias_O)
    pixels_1IR1 = x_I.reshape(1, -1, 1, x_I.shape[-1]).permute(0, 3, 1, 2)
    out_1OR1 = F.conv2d(pixels_1IR1, weight_OI[:, :, None, None], bias_O)
    return out_1OR1.permute(0, 2, 3, 1).reshape(*x_I.shape[:-1], weight_OI.shape[0])


def _pays_as_convolution(x_I: Tensor, weight_OI: Tensor, bias_O: Tensor | None) -> bool:
    operands = [x_I, weight_OI] if bias_O is None else [x_I, weight_OI, bias_O]
    return (
        not torch.compiler.is_compiling()
        and x_I.numel() >= MIN_CONVOLUTION_ROWS * x_I.shape[-1] > 0
        and all(t.device.type == "cpu" and t.dtype == torch.float32 for t in operands)
        and not (torch.is_grad_enabled() and any(t.requires_grad for t in operands))
        and not torch.is_autocast_enabled("cpu")
        and torch.backends.mkldnn.is_available()
        and bool(torch.backends.mkldnn.enabled)
    )


class MLP(nn.Module):
    """`num_layers` linear layers with ReLU between them; acts on the last axis.

    Parameters are named `layers.{i}.weight` and `layers.{i}.bias`.
    """

    def __init__(
        self, in_channels: int, hidden_channels: int, out_channels: int, num_layers: int
    ) -> None:
        super().__init__()
        widths = [in_channels] + [hidden_channels] * (num_layers - 1) + [out_channels]
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in itertools.pairwise(widths))

    def forward(self, x: Tensor) -> Tensor:
        """(..., in_channels) -> (..., out_channels)."""
        for index, layer in enumerate(self.layers):
            x = layer(x)
            if index < len(self.layers) - 1:
                x = F.relu(x)
        return x
