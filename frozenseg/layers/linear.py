"""Multi-layer perceptrons.

Shapes: I input channels, O output channels; leading dimensions free.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ROWS_AT_A_TIME = 2048
"""Of a hidden layer where nothing trains on the CPU: fewer make the products slower, more leave the
cache."""


def feed_forward(
    x_I: Tensor, first: nn.Linear, activation: Callable[[Tensor], Tensor], second: nn.Module
) -> Tensor:
    """`second(activation(first(x)))`, without gradients on the CPU some rows at a time.

    The hidden layer is the largest tensor of a transformer block; whole, each call of it takes
    fresh memory from the system. Measured: docs/performance.md.

    Args: x (..., I); first: linear, to more channels; activation, which may act in place; second:
        linear, to O channels.
    Returns: (..., O).
    """
    whole = (
        torch.compiler.is_compiling()
        or torch.is_grad_enabled()
        or x_I.device.type != "cpu"
        or x_I.numel() <= ROWS_AT_A_TIME * x_I.shape[-1]
    )
    if whole:
        return second(activation(first(x_I)))
    pieces = x_I.flatten(0, -2).split(ROWS_AT_A_TIME)
    parts = torch.cat([second(activation(first(piece))) for piece in pieces])
    return parts.view(*x_I.shape[:-1], -1)


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
