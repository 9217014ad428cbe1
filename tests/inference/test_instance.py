from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from frozenseg.inference.instance import top_detections
from frozenseg.structures import ImageGeometry
from tests.one_task import instance_segmentation

RESIZED = ImageGeometry(padded=(48, 68), image=(41, 60), output=(50, 47))


def _plain(probs, masks, thing, limit):
    """The definition on full masks: a list of (query, class, score)."""
    classes = probs.shape[1] - 1
    pairs = [(probs[q, c].item(), q, c) for q in range(len(probs)) for c in range(classes)]
    found = []
    for score, query, category in sorted(pairs, reverse=True)[:limit]:
        if thing is not None and not thing[category]:
            continue
        inside = masks[query] > 0
        quality = (masks[query].sigmoid() * inside).sum() / (inside.sum() + 1e-6)
        found.append((category, score * quality.item(), inside))
    return found


@settings(max_examples=20)
@given(
    seed=st.integers(0, 9999),
    queries=st.integers(0, 15),
    classes=st.sampled_from([1, 2, 9]),
    limit=st.sampled_from([0, 1, 10, 500]),
    things_only=st.booleans(),
)
def test_equals_the_definition(
    random_case, plain_resize, seed, queries, classes, limit, things_only
) -> None:
    logits, masks = random_case(seed, queries=queries, classes=classes)
    probs = logits.softmax(-1)
    thing = torch.arange(classes) % 2 == 1 if things_only else None
    scores, categories, found = instance_segmentation(
        probs, masks, RESIZED, thing_C=thing, detections_per_image=limit
    )
    expected = _plain(probs, plain_resize(masks, RESIZED), thing, limit)
    assert found.dtype == torch.bool
    assert found.shape == (len(expected), *RESIZED.output)
    assert categories.tolist() == [category for category, _, _ in expected]
    assert scores.tolist() == pytest.approx([score for _, score, _ in expected], abs=1e-5)
    if expected:
        equal = found == torch.stack([mask for _, _, mask in expected])
        assert equal.float().mean() >= 0.999


def test_stuff_is_dropped_after_the_choice() -> None:
    probs = torch.tensor([[0.7, 0.2, 0.1], [0.6, 0.3, 0.1]])
    assert top_detections(probs, 2).classes.tolist() == [0, 0]
    thing = torch.tensor([False, True])
    assert top_detections(probs, 2, thing).classes.tolist() == []
    assert top_detections(probs, 3, thing).queries.tolist() == [1]


def test_void_is_never_chosen() -> None:
    probs = torch.tensor([[0.01, 0.02, 0.97]])
    found = top_detections(probs, 10)
    assert found.classes.tolist() == [1, 0]
    assert found.scores.tolist() == pytest.approx([0.02, 0.01])


def test_masks_that_are_never_positive_score_zero() -> None:
    geometry = ImageGeometry(padded=(8, 8), image=(8, 8), output=(8, 8))
    for value in (0.0, -3.0, float("-inf"), float("nan")):
        masks = torch.full((1, 2, 2), value)
        found = instance_segmentation(torch.tensor([[0.9, 0.1]]), masks, geometry)
        assert found.scores.tolist() == [0.0]
        assert not found.masks.any()


def test_order_of_queries_is_immaterial(random_case) -> None:
    logits, masks = random_case(2)
    order = torch.randperm(len(masks), generator=torch.Generator().manual_seed(0))
    probs = logits.softmax(-1)
    found = instance_segmentation(probs, masks, RESIZED, detections_per_image=20)
    permuted = instance_segmentation(probs[order], masks[order], RESIZED, detections_per_image=20)
    torch.testing.assert_close(permuted.scores, found.scores)
    assert torch.equal(permuted.classes, found.classes)
    assert torch.equal(permuted.masks, found.masks)
