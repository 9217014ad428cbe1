"""Mask-Adapter: where in the image CLIP should look to name a mask.

The adapter turns a mask and CLIP's dense embedding into a few maps; the mask's embedding is CLIP's
map averaged under each of them instead of under the mask itself.

Legend: B images, N masks, M maps of a mask, R = N * h * w rows of a chunk or fewer, K channels of
CLIP's joint space, V channels of CLIP's map `clip_vis_dense`, D channels of the adapter, m those of
its mask branch, h, w cells of CLIP's map, H, W of the masks.
Source: Mask-Adapter, arXiv:2412.04533, section 3. Parameter names are the released ones.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from frozenseg.layers.mask_pooling import resize_mask_logits

MAX_BYTES = 2**28
"""Working memory of the adapter without gradients: 43 masks of 20x20 cells at a time at D = 768."""

_TRACED_MASKS = 32  # of an image at a time in exported programs, which know no sizes

_CELLS = 4  # the mask branch sees a mask at this many cells per cell of CLIP's map, along an axis
_HIDDEN = 4  # widening of a block's perceptron


class MaskAdapter(nn.Module):
    """Masks and CLIP's dense embedding to the maps under which CLIP's features are averaged.

    The 1x1 layers on both sides of the sum of mask branch and embedding are linear, so the
    embedding goes through them once per image, and the mask branch through their product.
    """

    def __init__(
        self,
        clip_channels: int,
        *,
        mask_in_channels: int = 16,
        num_channels: int = 768,
        num_output_maps: int = 16,
        use_checkpoint: bool = False,
    ) -> None:
        """
        Args:
            clip_channels: K.
            mask_in_channels: m, a multiple of 4.
            num_channels: D.
            num_output_maps: M.
            use_checkpoint: in training, compute the blocks' activations again in the backward pass.
        Raises: ValueError if `mask_in_channels` is not a multiple of 4.
        """
        super().__init__()
        if mask_in_channels < 4 or mask_in_channels % 4:
            raise ValueError(
                f"MODEL.MASK_ADAPTER.MASK_IN_CHANNELS is {mask_in_channels}: it must be a "
                "multiple of 4"
            )
        narrow = mask_in_channels // 4
        self.use_checkpoint = use_checkpoint
        self.mask_downscaling = nn.Sequential(
            nn.Conv2d(1, narrow, 3, stride=2, padding=1),
            _ChannelNorm(narrow, dim=1),
            nn.GELU(),
            nn.Conv2d(narrow, mask_in_channels, 3, stride=2, padding=1),
            _ChannelNorm(mask_in_channels, dim=1),
            nn.GELU(),
            nn.Conv2d(mask_in_channels, clip_channels, 1),
        )
        self.fuse = nn.Conv2d(clip_channels, num_channels, 1)
        self.cnext1 = _Block(num_channels)
        self.cnext2 = _Block(num_channels)
        self.cnext3 = _Block(num_channels)
        self.norm = nn.LayerNorm(num_channels)
        self.final = nn.Conv2d(num_channels, num_output_maps, 1)

    @property
    def num_output_maps(self) -> int:
        """M."""
        return self.final.out_channels

    def forward(
        self, dense_BKhw: Tensor, masks_BNHW: Tensor, *, max_bytes: int = MAX_BYTES
    ) -> Tensor:
        """The maps' logits (B, N, M, h, w); their sigmoids say where to look.

        Without gradients the masks go through in chunks, and a row (cell of a mask) is computed
        once for all masks of a chunk that look alike as far as it sees. With gradients all masks
        of the batch go through at once.

        Args:
            dense_BKhw: CLIP's dense embedding.
            masks_BNHW: bool, or numbers in [0, 1], of any size; an empty mask is like any other.
            max_bytes: bound of the working memory of a chunk without gradients; one mask at a
                time if smaller than that needs.
        """
        batch, _, height, width = dense_BKhw.shape
        if masks_BNHW.shape[1] == 0:  # nothing can be resized
            return dense_BKhw.new_zeros(batch, 0, self.num_output_maps, height, width)
        image_BhwD, mixing_Dm = self._fused(dense_BKhw)
        if torch.is_grad_enabled():
            return self._plain(image_BhwD, mixing_Dm, masks_BNHW)
        if torch.compiler.is_compiling():
            masks = masks_BNHW.split(_TRACED_MASKS, dim=1)
            return torch.cat([self._plain(image_BhwD, mixing_Dm, some) for some in masks], dim=1)
        row_bytes = image_BhwD.element_size() * image_BhwD.shape[-1]
        chunk = max(1, max_bytes // (_Block.COPIES * height * width * row_bytes))
        return torch.stack(
            [
                torch.cat(
                    [
                        self._infer(image_hwD, mixing_Dm, masks, max_bytes)
                        for masks in masks_NHW.split(chunk)
                    ]
                )
                for image_hwD, masks_NHW in zip(image_BhwD, masks_BNHW, strict=True)
            ]
        )

    def _plain(self, image_BhwD: Tensor, mixing_Dm: Tensor, masks_BNHW: Tensor) -> Tensor:
        """Maps (B, N, M, h, w), every row computed."""
        size = (image_BhwD.shape[1], image_BhwD.shape[2])
        branch = self._mask_branch(self._cells(masks_BNHW.flatten(0, 1), size))
        x = F.linear(branch, mixing_Dm).unflatten(0, masks_BNHW.shape[:2])
        x = (x + image_BhwD[:, None]).flatten(0, 1)
        for block in (self.cnext1, self.cnext2, self.cnext3):
            x = checkpoint(block, x, use_reentrant=False) if self.use_checkpoint else block(x)
        return self._maps(x).unflatten(0, masks_BNHW.shape[:2])

    def _fused(self, dense_BKhw: Tensor) -> tuple[Tensor, Tensor]:
        """fuse(mask branch + dense) = mixing @ branch before its last layer + image."""
        last: Any = self.mask_downscaling[6]
        fuse_DK = self.fuse.weight.flatten(1)
        bias_D = fuse_DK @ last.bias + self.fuse.bias
        image_BDhw = F.conv2d(dense_BKhw, self.fuse.weight, bias_D)
        return image_BDhw.permute(0, 2, 3, 1), fuse_DK @ last.weight.flatten(1)

    def _cells(self, masks_NHW: Tensor, size: tuple[int, int]) -> Tensor:
        """The masks as numbers at the size that the mask branch takes: (N, 4h, 4w)."""
        numbers = masks_NHW.to(self.norm.weight.dtype)
        return resize_mask_logits(numbers[None], (_CELLS * size[0], _CELLS * size[1]))[0]

    def _mask_branch(self, cells_NHW: Tensor) -> Tensor:
        """The branch before its last, linear layer: (N, h, w, m)."""
        return self.mask_downscaling[:6](cells_NHW[:, None]).permute(0, 2, 3, 1)

    def _infer(
        self, image_hwD: Tensor, mixing_Dm: Tensor, masks_NHW: Tensor, max_bytes: int
    ) -> Tensor:
        """Maps (N, M, h, w) of a chunk of masks."""
        cells = self._cells(masks_NHW, (image_hwD.shape[0], image_hwD.shape[1]))
        x = F.linear(self._mask_branch(cells), mixing_Dm).to(self.norm.weight.dtype)
        x += image_hwD
        # A cell sees 3 cells of the mask to either side; each block adds 3 cells of its own size.
        lowest, highest = -_widest(-cells, _CELLS), _widest(cells, _CELLS)
        for block in (self.cnext1, self.cnext2, self.cnext3):
            lowest, highest = -_widest(-lowest), _widest(highest)
            block.infer_(x, _stand_ins(lowest, highest), max_bytes)
        return self._maps(x)

    def _maps(self, x_NhwD: Tensor) -> Tensor:
        maps = F.linear(self.norm(x_NhwD), self.final.weight.flatten(1), self.final.bias)
        return maps.permute(0, 3, 1, 2)


class _ChannelNorm(nn.Module):
    """Layer norm over one axis; unlike `nn.LayerNorm` its parameters are decayed, as released."""

    def __init__(self, channels: int, dim: int = -1) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.dim = dim

    def forward(self, x: Tensor) -> Tensor:
        x = x.movedim(self.dim, -1)
        x = F.layer_norm(x, self.weight.shape, self.weight, self.bias, eps=1e-6)
        return x.movedim(-1, self.dim)


class _Block(nn.Module):
    """ConvNeXt's block, channels last: x + gamma * perceptron(norm(7x7 of each channel)).

    Source: ConvNeXt, arXiv:2201.03545, section 2.
    """

    COPIES = 5  # of x that live at a time in `infer_`, the slices of the perceptron included

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.norm = _ChannelNorm(channels)
        self.pwconv1 = nn.Linear(channels, _HIDDEN * channels)
        self.pwconv2 = nn.Linear(_HIDDEN * channels, channels)
        self.gamma = nn.Parameter(torch.full((channels,), 1e-6))

    def forward(self, x_NhwD: Tensor) -> Tensor:
        """(N, h, w, D) -> (N, h, w, D)."""
        return x_NhwD + self._perceptron(self._neighbours(x_NhwD))

    def infer_(self, x_NhwD: Tensor, stand_in_Nhw: Tensor, max_bytes: int) -> None:
        """`forward` in place; row i of x gains what row `stand_in[i]` does, often itself."""
        rows_RD = self._neighbours(x_NhwD).reshape(-1, x_NhwD.shape[-1])
        stand_in_R = stand_in_Nhw.flatten()
        own_R = (stand_in_R == torch.arange(len(stand_in_R), device=x_NhwD.device)).nonzero()[:, 0]
        step = max(1, max_bytes // (_Block.COPIES * 2 * _HIDDEN * rows_RD[0].nbytes))
        for own in own_R.split(step):
            rows_RD[own] = self._perceptron(rows_RD[own]).to(rows_RD.dtype)
        if len(own_R) < len(stand_in_R):
            rows_RD = rows_RD[stand_in_R]
        x_NhwD += rows_RD.view(x_NhwD.shape)

    def _neighbours(self, x_NhwD: Tensor) -> Tensor:
        return self.dwconv(x_NhwD.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)

    def _perceptron(self, rows: Tensor) -> Tensor:
        hidden = F.gelu(self.pwconv1(self.norm(rows)))
        return self.gamma * self.pwconv2(hidden)


def _widest(values_NHW: Tensor, stride: int = 1) -> Tensor:
    """The highest value within 3 cells, of every `stride`-th cell."""
    return F.max_pool2d(values_NHW[:, None], 7, stride=stride, padding=3)[:, 0]


def _stand_ins(lowest_Nhw: Tensor, highest_Nhw: Tensor) -> Tensor:
    """For every row the flat index of a row of the same value.

    Masks that are all 0 (or all 1) as far as a cell sees have the same value there: that of one
    of them, which stands in for itself.

    Args: the lowest and highest value of the mask among the cells that the row depends on.
    """
    N, h, w = lowest_Nhw.shape
    mask_Nhw = torch.arange(N, device=lowest_Nhw.device)[:, None, None].expand(N, h, w)
    for alike_Nhw in (highest_Nhw == 0, lowest_Nhw == 1):
        mask_Nhw = torch.where(alike_Nhw, alike_Nhw.int().argmax(0), mask_Nhw)
    cell_hw = torch.arange(h * w, device=lowest_Nhw.device).view(h, w)
    return mask_Nhw * (h * w) + cell_hw


def pool_by_maps(features_BVhw: Tensor, maps_BNMhw: Tensor) -> Tensor:
    """Averages of the features, weighted by the sigmoids of the maps' logits: (B, N, M, V).

    The weights are a softmax of log sigmoid over the cells, which is finite where every sigmoid
    underflows. Neither the mask nor a threshold comes in here.
    """
    # Not logsigmoid: ONNX writes it as the logarithm of the sigmoid, which may be 0.
    weights_BXP = (-F.softplus(-maps_BNMhw.flatten(1, 2).flatten(2).float())).softmax(-1)
    pooled_BXV = weights_BXP.to(features_BVhw.dtype) @ features_BVhw.flatten(2).transpose(1, 2)
    return pooled_BXV.unflatten(1, maps_BNMhw.shape[1:3])


def embed_by_maps(
    features_BVhw: Tensor,
    maps_BNMhw: Tensor,
    head: Callable[[Tensor], Tensor],
    *,
    max_bytes: int = MAX_BYTES,
) -> Tensor:
    """CLIP's embedding of every mask, not normalised: the mean of its maps' (B, N, K).

    Args:
        features_BVhw: CLIP's map `clip_vis_dense`.
        head: rows (R, V) to CLIP's joint space (R, K); it need not be linear.
        max_bytes: about the working memory, by which the masks are split into chunks without
            gradients.
    """
    step = maps_BNMhw.shape[1]
    if not torch.is_grad_enabled() and not torch.compiler.is_compiling():
        row_bytes = features_BVhw.shape[0] * features_BVhw.shape[1] * features_BVhw.element_size()
        step = max_bytes // (_Block.COPIES * maps_BNMhw.shape[2] * row_bytes)
    embeddings = []
    for maps in maps_BNMhw.split(max(1, step), dim=1):
        rows_BNMV = pool_by_maps(features_BVhw, maps)
        embeddings_RK = head(rows_BNMV.flatten(0, 2))
        embeddings.append(embeddings_RK.unflatten(0, rows_BNMV.shape[:3]).mean(2))
    return torch.cat(embeddings, dim=1)
