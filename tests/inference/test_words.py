"""Labels of the words' logits: hand-written cases, and the definition pixel by pixel."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from frozenseg.inference.argmax import labels_of
from frozenseg.structures import BACKGROUND

INF, NAN = float("inf"), float("nan")


def test_by_hand():
    logits = torch.tensor([[2.0, -1.0, 0.0, 1.0, -INF], [1.0, -2.0, -1.0, 3.0, INF]])
    labels = labels_of(logits)
    assert labels.tolist() == [0, BACKGROUND, BACKGROUND, 1, 1]
    assert labels.dtype == torch.int32


def test_one_word_is_there_or_not():
    assert labels_of(torch.tensor([[[0.1, -0.1]]])).tolist() == [[0, BACKGROUND]]


def test_of_equal_words_the_first_wins():
    assert labels_of(torch.ones(3, 2)).tolist() == [0, 0]


@pytest.mark.slow
@settings(max_examples=40)
@given(words=st.integers(1, 25), seed=st.integers(0, 99), threshold=st.floats(0.01, 0.99))
def test_equals_the_definition(words, seed, threshold):
    logits = 3 * torch.randn(words, 4, 5, generator=torch.Generator().manual_seed(seed))
    labels = labels_of(logits, threshold)
    for row in range(4):
        for column in range(5):
            probabilities = logits[:, row, column].sigmoid()
            best = int(probabilities.argmax())
            expected = best if probabilities[best] > threshold else BACKGROUND
            assert labels[row, column] == expected


def test_without_words_everything_is_background():
    assert labels_of(torch.zeros(0, 2, 2)).tolist() == [[BACKGROUND] * 2] * 2


@pytest.mark.parametrize("rows", [1, 12])
def test_what_is_no_number_is_background(rows):
    logits = torch.full((rows, 1), NAN)
    assert labels_of(logits).tolist() == [BACKGROUND]
