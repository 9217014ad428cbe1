"""Text that has looked at the image: MAFT+'s content-dependent transfer.

Legend: B images, S text vectors (synonyms of all classes, then void), R rows, K channels of CLIP's
joint space, V channels of CLIP's map `clip_vis_dense`, h, w cells of that map, N = h * w.
Source: MAFT+, arXiv:2408.00744, section 3.3. Parameter names are the released ones.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from frozenseg.layers.attention import MultiheadAttention
from frozenseg.layers.position_encoding import sine_position_code

TRANSFER_FORMS = ("semantic", "panoptic")
DENSE_FORMS = ("per_position", "released")

_TEXTS_AT_A_TIME = 1024  # 8 heads and 28x28 cells are 26 MB of attention weights


class ContentTransfer(nn.Module):
    """Moves the vectors of a text classifier towards what an image shows.

    Every text vector attends on its own, so more classes do not change the vectors of the others.
    """

    def __init__(self, channels: int, *, num_heads: int = 8, form: str = "semantic") -> None:
        """
        Args:
            channels: K, a multiple of 4.
            form: where the layer norm stands. "semantic": norm(text + change), which is not of
                unit length; "panoptic": text + norm(change), at first the text itself. Released
                weights need the form that they were trained in; their names do not tell.
        Raises: ValueError for another form; if the channels do not divide among the heads.
        """
        super().__init__()
        _check("form of the content-dependent transfer", form, TRANSFER_FORMS)
        self.form = form
        self.cross_atten = _CrossAttention(channels, num_heads)
        if form == "panoptic":
            nn.init.zeros_(self.cross_atten.MLP.weight)
            nn.init.zeros_(self.cross_atten.MLP.bias)

    def forward(self, text_SK: Tensor, dense_BKhw: Tensor) -> Tensor:
        """The text vectors of each image (B, S, K), to be compared as they are: not normalised.

        Args:
            text_SK: unit vectors.
            dense_BKhw: CLIP's dense embedding (`dense_embedding`); padding is looked at too.
        """
        size = (dense_BKhw.shape[-2], dense_BKhw.shape[-1])
        value_BNK = dense_BKhw.flatten(2).transpose(1, 2)
        key_BNK = value_BNK + sine_position_code(
            size, value_BNK.shape[-1], device=value_BNK.device
        ).to(value_BNK.dtype)
        norm = self.cross_atten.norm
        parts = []
        for text_RK in text_SK.split(_TEXTS_AT_A_TIME):
            change_BRK = self.cross_atten(
                text_RK.expand(dense_BKhw.shape[0], -1, -1), key_BNK, value_BNK
            )
            if self.form == "semantic":
                parts.append(norm(text_RK + change_BRK))
            else:
                parts.append(text_RK + norm(change_BRK))
        return torch.cat(parts, dim=1)


class _CrossAttention(nn.Module):
    """Attention and a linear layer; the caller places the norm."""

    def __init__(self, channels: int, num_heads: int) -> None:
        super().__init__()
        self.multihead_attn = MultiheadAttention(channels, num_heads)
        self.norm = nn.LayerNorm(channels)
        self.MLP = nn.Linear(channels, channels)

    def forward(self, query_BRK: Tensor, key_BNK: Tensor, value_BNK: Tensor) -> Tensor:
        return self.MLP(self.multihead_attn(query_BRK, key_BNK, value_BNK))


def dense_embedding(
    features_BVhw: Tensor, head: Callable[[Tensor], Tensor], form: str = "per_position"
) -> Tensor:
    """CLIP's map in its joint space: (B, K, h, w).

    Args:
        features_BVhw: the map `clip_vis_dense`.
        head: what follows CLIP's pooling, rows (R, V) to (R, K).
        form: "per_position": of the V channels of every cell. "released": as MAFT+'s weights were
            trained, and the Mask-Adapters on them: the numbers of an image in the order (V, h, w)
            are read as rows of V, so a row mixes neighbouring cells of few channels. What a cell
            gets then depends on the padded size of the image.
    Raises: ValueError for another form.
    """
    _check("form of the dense embedding", form, DENSE_FORMS)
    batch, channels, height, width = features_BVhw.shape
    if form == "per_position":
        features_BVhw = features_BVhw.permute(0, 2, 3, 1)
    rows_RV = features_BVhw.reshape(-1, channels)
    return head(rows_RV).view(batch, height, width, -1).permute(0, 3, 1, 2)


def _check(what: str, form: str, known: tuple[str, ...]) -> None:
    if form not in known:
        raise ValueError(f"{what}: {form!r} is not one of {', '.join(known)}")
