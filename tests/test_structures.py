"""The typed values between packages."""

from __future__ import annotations

import pytest
import torch

from frozenseg.structures import TextClassifier


def classifier(counts: list[int]) -> TextClassifier:
    index = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
    return TextClassifier(torch.randn(sum(counts), 4), index, len(counts))


@pytest.mark.parametrize("counts", [[1], [1, 1, 1], [3, 1, 2], [5]])
def test_max_over_synonyms_is_the_maximum_of_each_slice(counts):
    logits = torch.randn(2, 3, sum(counts))
    expected = torch.stack([part.amax(-1) for part in logits.split(counts, dim=-1)], dim=-1)
    torch.testing.assert_close(classifier(counts).max_over_synonyms(logits), expected)


def test_gradient_reaches_only_the_winning_synonym():
    logits = torch.tensor([[1.0, 2.0, -1.0]], requires_grad=True)
    classifier([2, 1]).max_over_synonyms(logits).sum().backward()
    assert logits.grad.tolist() == [[0.0, 1.0, 1.0]]


def test_to_moves_both_tensors():
    moved = classifier([2, 1]).to("meta")
    assert moved.embeddings_SK.device.type == moved.class_of_synonym_S.device.type == "meta"
    assert moved.num_classes == 2


def test_first_rows_are_those_of_the_canonical_names():
    whole = classifier([2, 1, 3])
    torch.testing.assert_close(whole.first_rows(), whole.embeddings_SK[[0, 2, 3]])


def test_some_of_the_classes_keep_all_their_synonyms():
    whole = classifier([2, 1, 3])
    some = whole.select(torch.tensor([0, 2]))
    torch.testing.assert_close(some.embeddings_SK, whole.embeddings_SK[[0, 1, 3, 4, 5]])
    assert some.class_of_synonym_S.tolist() == [0, 0, 1, 1, 1]
    assert some.num_classes == 2
