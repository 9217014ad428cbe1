from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from frozenseg.inference.argmax import column_argmax


@settings(max_examples=40)
@given(rows=st.integers(1, 45), columns=st.integers(0, 9), seed=st.integers(0, 99))
def test_equals_max_of_columns(rows: int, columns: int, seed: int) -> None:
    values = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))
    peak, row = column_argmax(values)
    expected = values.max(0)
    assert torch.equal(peak, expected.values)
    assert torch.equal(row, expected.indices)


@settings(max_examples=40)
@given(rows=st.integers(1, 45), seed=st.integers(0, 99))
def test_of_equal_values_the_first_row_wins(rows: int, seed: int) -> None:
    values = torch.randint(0, 3, (rows, 8), generator=torch.Generator().manual_seed(seed)).float()
    _, row = column_argmax(values)
    first = [column.index(max(column)) for column in values.t().tolist()]
    assert row.tolist() == first


def test_works_on_infinite_values() -> None:
    values = torch.full((23, 2), float("-inf"))
    values[21, 1] = 0.0
    assert column_argmax(values)[1].tolist() == [0, 21]


def test_no_rows_is_an_error() -> None:
    with pytest.raises(ValueError, match="no rows"):
        column_argmax(torch.empty(0, 3))
