"""Sine position codes of a feature map.

Legend: N = H * W cells in row-major order, D channels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def _axis_code(length: int, channels: int, temperature: float, device: torch.device) -> Tensor:
    """Code (length, channels) of the positions 1..length, scaled to (0, 2 pi]."""
    position = torch.arange(1, length + 1, dtype=torch.float32, device=device)
    position = position / (length + 1e-6) * (2 * math.pi)
    pair = torch.arange(channels, dtype=torch.float32, device=device) // 2
    angle = position[:, None] / temperature ** (2 * pair / channels)
    return torch.stack((angle[:, 0::2].sin(), angle[:, 1::2].cos()), dim=2).flatten(1)


def sine_position_code(
    size: tuple[int, int],
    channels: int,
    *,
    temperature: float = 10000.0,
    device: torch.device | str = "cpu",
) -> Tensor:
    """Position code (N, D) of a map of `size` (H, W): half the channels code y, half x.

    Sines and cosines are interleaved; the index counts from 1 and is divided by the last one.
    Raises: ValueError if `channels` is not a multiple of 4.
    Source: DETR, arXiv:2005.12872, appendix A.4, in Mask2Former's normalised form.
    """
    if channels % 4:
        raise ValueError(f"position code needs a multiple of 4 channels, got {channels}")
    height, width = size
    device = torch.device(device)
    code_y = _axis_code(height, channels // 2, temperature, device)
    code_x = _axis_code(width, channels // 2, temperature, device)
    code_HWD = torch.cat(
        (
            code_y[:, None, :].expand(height, width, -1),
            code_x[None, :, :].expand(height, width, -1),
        ),
        dim=2,
    )
    return code_HWD.flatten(0, 1)
