"""SAM's plain vision transformer with lean attention.

Legend: B images (or windows), H, W tokens of the map, N = H * W, M heads, D channels of a head,
C = M * D channels.
Source: Segment Anything, arXiv:2304.02643; windows: ViTDet, arXiv:2203.16527; decomposed relative
positions: MViTv2, arXiv:2112.01526, equation 4.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import partial
from itertools import product
from typing import Any

import torch
import torch.nn.functional as F
from segment_anything.modeling import ImageEncoderViT
from segment_anything.modeling.image_encoder import get_rel_pos
from torch import Tensor, nn

from frozenseg.encoders.frozen import tower_autocast
from frozenseg.layers.linear import feed_forward

# Bytes of relative positions (one number per head, query and key) held at a time: on the CPU
# what stays in the cache, elsewhere enough to keep the processor busy.
_CPU_BIAS_BYTES, _BIAS_BYTES = 2**24, 2**29
_TRACED_PAIRS = 2**24  # of an image at a time in exported programs: one head of ViT-B's whole map


class SamViT(ImageEncoderViT):
    """segment_anything's image encoder with its parameters and results, in less time and memory.

    Linear layers leave padding out; attention is fused, in pieces whose
    relative positions are small. Inputs of another size than `img_size` are accepted: absolute
    positions are resized bicubically, relative positions linearly (as segment_anything does).
    Measured for ViT-B at 1024 x 1024, 2 threads of an AVX-512 EPYC, random weights (float32 /
    bfloat16 / segment_anything's in float32): 6.1 s, 4.3 s, 12.2 s; memory above the weights 254,
    171, 2489 MB; largest difference 5e-6, in bfloat16 0.06 (0.8 % of the output's norm).

    Attributes:
        stride: pixels of a token.
        out_channels: channels of the output.
        precision: one of `TOWER_PRECISIONS`; "float32" leaves it to the caller's autocast, if any.
    """

    def __init__(
        self,
        *,
        image_size: int,
        patch_size: int,
        width: int,
        depth: int,
        heads: int,
        window_size: int,
        global_attn_indexes: tuple[int, ...],
        out_channels: int,
    ) -> None:
        """`window_size` in tokens, 0 for none; blocks in `global_attn_indexes` have none either."""
        super().__init__(
            img_size=image_size,
            patch_size=patch_size,
            embed_dim=width,
            depth=depth,
            num_heads=heads,
            mlp_ratio=4,
            out_chans=out_channels,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
            use_rel_pos=True,
            window_size=window_size,
            global_attn_indexes=global_attn_indexes,
        )
        self.stride, self.out_channels, self.precision = patch_size, out_channels, "float32"

    def forward(self, images_B3HW: Tensor) -> Tensor:
        """Normalised images -> (B, out_channels, H / stride, W / stride), float32.

        Raises: ValueError where a side of the images is not a multiple of the stride.
        """
        check_sides(images_B3HW, self.stride)
        with tower_autocast(self.precision, images_B3HW.device):
            x_BHWC = self.patch_embed(images_B3HW)
            x_BHWC = x_BHWC + resize_positions(self.pos_embed, x_BHWC.shape[1], x_BHWC.shape[2])
            for block in self.blocks:
                x_BHWC = run_block(block, x_BHWC)
            return self.neck(x_BHWC.permute(0, 3, 1, 2)).float()


def check_sides(images_B3HW: Tensor, stride: int) -> None:
    """ValueError where a side of the images is not a multiple of `stride`."""
    height, width = images_B3HW.shape[-2:]
    if height % stride or width % stride:
        raise ValueError(
            f"SAM got images of {height} x {width} pixels: pad or resize them to multiples of "
            f"{stride}"
        )


def resize_positions(positions_1HWC: Tensor, H: int, W: int) -> Tensor:
    """Absolute positions for a map of (H, W): bicubic; as they are where sizes are equal."""
    if positions_1HWC.shape[1:3] == (H, W):
        return positions_1HWC
    resized = F.interpolate(
        positions_1HWC.permute(0, 3, 1, 2), (H, W), mode="bicubic", align_corners=False
    )
    return resized.permute(0, 2, 3, 1)


def run_block(block: Any, x_BHWC: Tensor) -> Tensor:
    """One transformer block (segment_anything's `Block`): (B, H, W, C) -> (B, H, W, C)."""
    x_BHWC = x_BHWC + attend(block.attn, block.norm1(x_BHWC), block.window_size)
    # In place: autograd keeps a copy if need be.
    mlp, gelu = block.mlp, torch.ops.aten.gelu_
    return x_BHWC + feed_forward(block.norm2(x_BHWC), mlp.lin1, gelu, mlp.lin2)


def attend(attention: Any, x_BHWC: Tensor, window_size: int) -> Tensor:
    """Self-attention (segment_anything's `Attention`), in windows unless `window_size` is 0."""
    _, H, W, _ = x_BHWC.shape
    qkv_BHWC = attention.qkv(x_BHWC)
    height, width = (window_size, window_size) if window_size else (H, W)
    rows = get_rel_pos(height, height, attention.rel_pos_h)
    columns = get_rel_pos(width, width, attention.rel_pos_w)
    rows_of_windows = []
    for top in range(0, H, height):  # one row of windows at a time: it stays in the cache
        qkv = qkv_BHWC[:, top : top + height]
        if window_size:
            # Padded tokens are zero before the projection, so behind it they are its bias.
            qkv = to_windows(qkv, window_size, attention.qkv.bias)
        out = attend_map(qkv.unflatten(3, (3, attention.num_heads, -1)), rows, columns)
        if window_size:
            out = from_windows(out, min(height, H - top), W)
        rows_of_windows.append(out)
    out_BHWC = torch.cat(rows_of_windows, dim=1)
    return attention.proj(out_BHWC)


def attend_map(qkv_BHW3MD: Tensor, rows_HHD: Tensor, columns_WWD: Tensor) -> Tensor:
    """Attention of every token to all of its map: -> (B, H, W, C).

    The logit of a query at (h, w) and a key at (i, j) is q.k / sqrt(D) plus the query's products
    with `rows_HHD[h, i]` and `columns_WWD[w, j]`. That sum over all pairs takes 805 MB for
    ViT-B's 4096 tokens, so it is made piece by piece.
    """
    B, H, W, _, M, _ = qkv_BHW3MD.shape
    query_BMHWD, key_BMHWD, value_BMHWD = qkv_BHW3MD.permute(3, 0, 4, 1, 2, 5)
    key_BMND, value_BMND = key_BMHWD.flatten(2, 3), value_BMHWD.flatten(2, 3)

    def attended(b: slice, m: slice, h: slice, buffer: Tensor | None = None) -> Tensor:
        query = query_BMHWD[b, m, h]
        down = query @ rows_HHD[h].transpose(1, 2)
        across = (query.transpose(2, 3) @ columns_WWD.transpose(1, 2)).transpose(2, 3)
        # Contiguous parts make a contiguous sum.
        terms = down[..., :, None], across.contiguous()[..., None, :]
        if buffer is None:
            bias = terms[0] + terms[1]
        else:  # in memory that the process has: fresh pages cost more than the sum
            size = torch.broadcast_shapes(*(term.shape for term in terms))
            bias = torch.add(*terms, out=buffer[: math.prod(size)].view(size))
        out_BMND = F.scaled_dot_product_attention(
            query.flatten(2, 3),
            key_BMND[b, m],
            value_BMND[b, m],
            attn_mask=bias.flatten(4, 5).flatten(2, 3),
        )
        return out_BMND.unflatten(2, (-1, W)).permute(0, 2, 3, 1, 4)

    if torch.compiler.is_compiling():  # images together: their number is free
        heads = max(1, _TRACED_PAIRS // (H * W) ** 2)
        every = slice(None)
        parts = [attended(every, slice(m, m + heads), every) for m in range(0, M, heads)]
        return torch.cat(parts, dim=3).flatten(3)
    out_BHWMD = qkv_BHW3MD.new_empty(qkv_BHW3MD[:, :, :, 0].shape)
    cut = list(pieces(B, M, H, W, most=_most_pairs(qkv_BHW3MD)))
    buffer = None
    if len(cut) > 1:
        key_BMND, value_BMND = key_BMND.contiguous(), value_BMND.contiguous()
        inputs = (qkv_BHW3MD, rows_HHD, columns_WWD)
        if not (torch.is_grad_enabled() and any(each.requires_grad for each in inputs)):
            buffer = qkv_BHW3MD.new_empty(query_BMHWD[cut[0]][..., 0].numel() * H * W)
    for b, m, h in cut:
        out_BHWMD[b, h, :, m] = attended(b, m, h, buffer)
    return out_BHWMD.flatten(3)


def pieces(B: int, M: int, H: int, W: int, *, most: int) -> Iterator[tuple[slice, slice, slice]]:
    """Cuts images, heads and rows of queries so that a piece has at most `most` pairs of tokens.

    A piece is never smaller than one row of one head. All pieces together are everything, once.
    """
    pairs = (H * W) ** 2
    images = max(1, most // (M * pairs))
    heads = M if images > 1 else min(M, max(1, most // pairs))
    rows = H if heads > 1 else min(H, max(1, most // (W * H * W)))
    for b, m, h in product(range(0, B, images), range(0, M, heads), range(0, H, rows)):
        yield slice(b, b + images), slice(m, m + heads), slice(h, h + rows)


def _most_pairs(tensor: Tensor) -> int:
    budget = _CPU_BIAS_BYTES if tensor.device.type == "cpu" else _BIAS_BYTES
    return budget // tensor.element_size()


def to_windows(x_BHWC: Tensor, side: int, fill_C: Tensor) -> Tensor:
    """Windows (B * count, side, side, C), row by row; `fill_C` where they leave the map."""
    B, H, W, C = x_BHWC.shape
    rows, columns = -(-H // side), -(-W // side)
    if (rows * side, columns * side) != (H, W):
        right = fill_C.expand(B, H, columns * side - W, C)
        below = fill_C.expand(B, rows * side - H, columns * side, C)
        x_BHWC = torch.cat((torch.cat((x_BHWC, right), dim=2), below), dim=1)
    x = x_BHWC.reshape(B, rows, side, columns, side, C).transpose(2, 3)
    return x.reshape(-1, side, side, C)


def from_windows(windows: Tensor, H: int, W: int) -> Tensor:
    """The map (B, H, W, C) of `to_windows`."""
    side, C = windows.shape[1], windows.shape[3]
    rows, columns = -(-H // side), -(-W // side)
    x = windows.reshape(-1, rows, columns, side, side, C).transpose(2, 3)
    return x.reshape(-1, rows * side, columns * side, C)[:, :H, :W]
