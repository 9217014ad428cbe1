"""From the grid of patches to eight times its resolution.

Legend: B images, D channels, h and w patches, H and W pixels.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

STAGES = 3  # each doubles the resolution


class Upsampler(nn.Module):
    """Three (3x3 convolution, instance norm, ReLU, 2x bilinear) stages, one without the 2x, a 1x1.

    The resize to the input's size is the head's. Parameter names are those of the golden data.
    Source: Fusioner, arXiv:2210.15138, section 3.2.
    """

    def __init__(self, width: int = 512) -> None:
        super().__init__()
        for stage in range(STAGES + 1):
            setattr(self, f"conv_{stage}", nn.Conv2d(width, width, 3, padding=1))
        self.conv_4 = nn.Conv2d(width, width, 1)

    def forward(self, patches_BDhw: Tensor) -> Tensor:
        """Features of (B, D, 8h, 8w)."""
        x = patches_BDhw
        for stage in range(STAGES + 1):
            x = F.relu(F.instance_norm(getattr(self, f"conv_{stage}")(x)), inplace=True)
            if stage < STAGES:
                x = F.interpolate(x, scale_factor=2, mode="bilinear", align_corners=False)
        return self.conv_4(x)
