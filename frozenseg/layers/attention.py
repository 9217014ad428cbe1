"""Post-norm attention and feed-forward blocks of the transformer decoder.

Legend: B images, Q queries, N tokens, D channels.
Parameter names are those of the released checkpoints (`nn.MultiheadAttention`'s inside).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MultiheadAttention(nn.Module):
    """Scaled dot-product attention with `nn.MultiheadAttention`'s parameters, batch first.

    Differs from torch's module in what it does not do: the mask is broadcast over heads instead
    of copied, no weights are returned, and keys and values may be different tensors without a
    second projection layout.
    Raises: ValueError if `dim` is not divisible by `num_heads`.
    """

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f"attention width {dim} is not divisible by {num_heads} heads")
        self.num_heads = num_heads
        self.in_proj_weight = nn.Parameter(torch.empty(3 * dim, dim))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * dim))
        self.out_proj = nn.Linear(dim, dim)
        nn.init.xavier_uniform_(self.in_proj_weight)
        nn.init.xavier_uniform_(self.out_proj.weight)
        nn.init.zeros_(self.out_proj.bias)

    def forward(
        self,
        query_BQD: Tensor,
        key_BND: Tensor,
        value_BND: Tensor,
        allowed_BQN: Tensor | None = None,
    ) -> Tensor:
        """Attended values (B, Q, D). `allowed_BQN` (bool) is False where attention is forbidden.

        A row that is allowed nowhere gives NaN: the caller must not pass one.
        """
        weights, biases = self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3)
        inputs = (query_BQD, key_BND, value_BND)
        query, key, value = (
            F.linear(x, weight, bias).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
            for x, weight, bias in zip(inputs, weights, biases, strict=True)
        )
        allowed = None if allowed_BQN is None else allowed_BQN[:, None]
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=allowed)
        return self.out_proj(attended.transpose(1, 2).flatten(2))


class SelfAttentionLayer(nn.Module):
    """Residual post-norm self-attention; the position goes to queries and keys."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.self_attn = MultiheadAttention(dim, num_heads)
        self.norm = nn.LayerNorm(dim)

    def forward(self, x_BQD: Tensor, position_BQD: Tensor) -> Tensor:
        """(B, Q, D) -> (B, Q, D)."""
        query = x_BQD + position_BQD
        return self.norm(x_BQD + self.self_attn(query, query, x_BQD))


class CrossAttentionLayer(nn.Module):
    """Residual post-norm cross-attention; the query position goes to the queries only."""

    def __init__(self, dim: int, num_heads: int) -> None:
        super().__init__()
        self.multihead_attn = MultiheadAttention(dim, num_heads)
        self.norm = nn.LayerNorm(dim)

    def forward(
        self,
        x_BQD: Tensor,
        key_BND: Tensor,
        value_BND: Tensor,
        *,
        position_BQD: Tensor,
        allowed_BQN: Tensor | None = None,
    ) -> Tensor:
        """(B, Q, D) -> (B, Q, D); see `MultiheadAttention.forward` for the mask."""
        attended = self.multihead_attn(x_BQD + position_BQD, key_BND, value_BND, allowed_BQN)
        return self.norm(x_BQD + attended)


class FeedForwardLayer(nn.Module):
    """Residual post-norm two-layer perceptron with ReLU."""

    def __init__(self, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.linear1 = nn.Linear(dim, hidden_dim)
        self.linear2 = nn.Linear(hidden_dim, dim)
        self.norm = nn.LayerNorm(dim)
        nn.init.xavier_uniform_(self.linear1.weight)
        nn.init.xavier_uniform_(self.linear2.weight)

    def forward(self, x: Tensor) -> Tensor:
        """(..., D) -> (..., D)."""
        hidden = F.relu(self.linear1(x), inplace=True)
        return self.norm(x + self.linear2(hidden))
