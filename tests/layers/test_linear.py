"""`feed_forward` in pieces is the whole."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from frozenseg.layers import linear
from frozenseg.layers.linear import feed_forward


@pytest.mark.parametrize("shape", [(40,), (2, 20), (1, 7, 6), (0,)])
def test_pieces_are_the_whole(monkeypatch, shape):
    first, second, x = nn.Linear(6, 16), nn.Linear(16, 5), torch.randn(*shape, 6)
    expected = feed_forward(x, first, torch.relu_, second)
    assert expected.requires_grad
    monkeypatch.setattr(linear, "ROWS_AT_A_TIME", 3)
    rows, relu = [], torch.relu_

    def count(hidden):
        rows.append(len(hidden))
        return relu(hidden)

    with torch.no_grad():
        found = feed_forward(x, first, count, second)
    torch.testing.assert_close(found, expected.detach())
    assert found.shape == expected.shape
    if x.numel():
        assert max(rows) == 3
        assert sum(rows) == x[..., 0].numel()
