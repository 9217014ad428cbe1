"""The matcher against brute force and on edge cases."""

from __future__ import annotations

from itertools import permutations

import pytest
import torch
import torch.nn.functional as F

from frozenseg.mask_classification.matcher import HungarianMatcher, Target
from frozenseg.structures import MaskPrediction

WEIGHTS = {"class_weight": 2.0, "mask_weight": 5.0, "dice_weight": 5.0}


def cost(logits_C, mask_logits, label_class, mask):
    """Cost of one pair on all pixels of the map."""
    probability, target = mask_logits.sigmoid(), mask.float()
    bce = F.binary_cross_entropy_with_logits(mask_logits, target)
    dice = 1 - (2 * (probability * target).sum() + 1) / (probability.sum() + target.sum() + 1)
    return -2 * logits_C.softmax(0)[label_class] + 5 * bce + 5 * dice


def test_finds_the_cheapest_assignment_of_piecewise_constant_masks():
    # Masks constant over the image: any random points give the same cost as all pixels.
    torch.manual_seed(0)
    values = torch.tensor([4.0, -3.0, 0.5])
    masks = values[None, :, None, None].expand(1, 3, 4, 4)
    prediction = MaskPrediction(torch.randn(1, 3, 4), masks)
    target = Target(torch.tensor([2, 0]), torch.stack((torch.ones(8, 8), torch.zeros(8, 8))).bool())
    # Points near the border see the zero padding, so keep them inside by many points.
    found = HungarianMatcher(**WEIGHTS, num_points=4000)(prediction, [target])[0]
    best = min(
        permutations(range(3), 2),
        key=lambda queries: sum(
            cost(prediction.class_logits_BQC1[0, q], masks[0, q], target.classes_M[m], t)
            for m, (q, t) in enumerate(
                zip(queries, F.interpolate(target.masks_MHW[None].float(), (4, 4))[0], strict=True)
            )
        ),
    )
    pairs = dict(zip(found[1].tolist(), found[0].tolist(), strict=True))
    assert (pairs[0], pairs[1]) == best
    assert found[0].tolist() == sorted(found[0].tolist())


def test_an_image_without_masks_matches_nothing():
    prediction = MaskPrediction(torch.randn(1, 3, 4), torch.randn(1, 3, 4, 4))
    target = Target(torch.zeros(0, dtype=torch.int64), torch.zeros(0, 8, 8, dtype=torch.bool))
    queries, masks = HungarianMatcher(**WEIGHTS, num_points=10)(prediction, [target])[0]
    assert len(queries) == len(masks) == 0


def test_more_masks_than_queries_matches_every_query_once():
    prediction = MaskPrediction(torch.randn(1, 2, 4), torch.randn(1, 2, 4, 4))
    target = Target(torch.tensor([0, 1, 2]), torch.rand(3, 8, 8) > 0.5)
    queries, masks = HungarianMatcher(**WEIGHTS, num_points=10)(prediction, [target])[0]
    assert queries.tolist() == [0, 1]
    assert len(set(masks.tolist())) == 2


def test_diverged_outputs_are_named():
    prediction = MaskPrediction(torch.full((1, 2, 4), float("nan")), torch.randn(1, 2, 4, 4))
    target = Target(torch.tensor([0]), torch.rand(1, 8, 8) > 0.5)
    with pytest.raises(FloatingPointError, match="outputs have diverged"):
        HungarianMatcher(**WEIGHTS, num_points=10)(prediction, [target])
