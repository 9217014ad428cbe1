from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from frozenseg.structures import ImageGeometry
from tests.one_task import semantic_segmentation

GEOMETRIES = [
    ImageGeometry(padded=(48, 68), image=(48, 68), output=(48, 68)),
    ImageGeometry(padded=(48, 68), image=(41, 60), output=(90, 83)),
    ImageGeometry(padded=(48, 68), image=(41, 60), output=(13, 9)),
    ImageGeometry(padded=(32, 32), image=(1, 1), output=(1, 1)),
]


def _plain(probs, masks):
    return torch.einsum("qc,qhw->chw", probs[:, :-1], masks.sigmoid())


def _plain_at_padded_size(probs, mask_logits, geometry):
    masks = F.interpolate(mask_logits[None], geometry.padded, mode="bilinear")[0]
    scores = _plain(probs, masks)[:, : geometry.image[0], : geometry.image[1]]
    return F.interpolate(scores[None], geometry.output, mode="bilinear")[0]


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("at_padded_size", [False, True])
def test_equals_the_plain_formulation(random_case, plain_resize, geometry, at_padded_size) -> None:
    logits, masks = random_case(0)
    probs = logits.softmax(-1)
    if at_padded_size:
        expected = _plain_at_padded_size(probs, masks, geometry)
    else:
        expected = _plain(probs, plain_resize(masks, geometry))
    scores = semantic_segmentation(probs, masks, geometry, at_padded_size=at_padded_size)
    torch.testing.assert_close(scores, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("geometry", GEOMETRIES)
@pytest.mark.parametrize("at_padded_size", [False, True])
@pytest.mark.parametrize("classes", [1, 7, 600])
def test_argmax_only_is_the_argmax(random_case, geometry, at_padded_size, classes) -> None:
    logits, masks = random_case(1, classes=classes)
    arguments = (logits.softmax(-1), masks, geometry)
    scores = semantic_segmentation(*arguments, at_padded_size=at_padded_size)
    best = semantic_segmentation(*arguments, at_padded_size=at_padded_size, argmax_only=True)
    assert best.labels.dtype == torch.int64
    torch.testing.assert_close(best.scores, scores.amax(0), atol=1e-6, rtol=0)
    chosen = scores.gather(0, best.labels[None])[0]
    torch.testing.assert_close(chosen, scores.amax(0), atol=1e-6, rtol=0)


@pytest.mark.slow
@settings(max_examples=10)
@given(seed=st.integers(0, 999), queries=st.integers(0, 25))
def test_order_of_queries_is_immaterial(random_case, seed, queries) -> None:
    logits, masks = random_case(seed, queries=queries)
    order = torch.randperm(queries, generator=torch.Generator().manual_seed(seed))
    probs = logits.softmax(-1)
    scores = semantic_segmentation(probs, masks, GEOMETRIES[1])
    permuted = semantic_segmentation(probs[order], masks[order], GEOMETRIES[1])
    torch.testing.assert_close(permuted, scores, atol=1e-5, rtol=0)


@pytest.mark.parametrize("at_padded_size", [False, True])
def test_no_queries_score_zero(random_case, at_padded_size) -> None:
    logits, masks = random_case(0, queries=0)
    scores = semantic_segmentation(
        logits.softmax(-1), masks, GEOMETRIES[1], at_padded_size=at_padded_size
    )
    assert scores.shape == (7, 90, 83)
    assert (scores == 0).all()


def test_void_queries_add_nothing(random_case) -> None:
    logits, masks = random_case(0)
    logits[3:, -1] = 1e4
    probs = logits.softmax(-1)
    scores = semantic_segmentation(probs, masks, GEOMETRIES[1])
    few = semantic_segmentation(probs[:3], masks[:3], GEOMETRIES[1])
    torch.testing.assert_close(scores, few)
