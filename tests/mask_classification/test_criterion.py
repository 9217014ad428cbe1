"""The losses on cases that can be computed by hand."""

from __future__ import annotations

import math

import pytest
import torch

from frozenseg.mask_classification.criterion import SetCriterion, _masks_per_rank
from frozenseg.mask_classification.decoder import DecoderOutput
from frozenseg.mask_classification.matcher import HungarianMatcher, Target
from frozenseg.structures import MaskPrediction

LOSS_WEIGHTS = {"loss_ce": 2.0, "loss_mask": 5.0, "loss_dice": 5.0}


def criterion(num_classes: int = 3) -> SetCriterion:
    matcher = HungarianMatcher(class_weight=2.0, mask_weight=5.0, dice_weight=5.0, num_points=64)
    return SetCriterion(
        matcher,
        num_classes=num_classes,
        num_queries=4,
        no_object_weight=0.1,
        loss_weights=LOSS_WEIGHTS,
        num_points=64,
        oversample_ratio=3.0,
        importance_ratio=0.75,
    )


def prediction(queries: int = 4, num_classes: int = 3) -> MaskPrediction:
    return MaskPrediction(
        torch.randn(2, queries, num_classes + 1, requires_grad=True),
        torch.randn(2, queries, 8, 8, requires_grad=True),
    )


def targets(counts=(2, 1)) -> list[Target]:
    return [Target(torch.randint(0, 3, (n,)), torch.rand(n, 32, 32) > 0.5) for n in counts]


def test_names_of_the_intermediate_losses():
    output = DecoderOutput(prediction(), [prediction(), prediction()])
    losses = criterion()(output, targets())
    kinds = ("loss_ce", "loss_mask", "loss_dice")
    assert set(kinds) == set(criterion().loss_divisors)
    assert set(losses) == {k + s for k in kinds for s in ("", "_0", "_1")}


def test_images_without_masks_give_finite_losses_and_gradients():
    output = DecoderOutput(prediction())
    losses = criterion()(output, targets(counts=(0, 0)))
    assert losses["loss_mask"] == losses["loss_dice"] == 0
    sum(losses.values()).backward()
    assert output.final.mask_logits_BQHW.grad.abs().sum() == 0
    expected = -output.final.class_logits_BQC1.log_softmax(-1)[..., -1].mean()
    assert losses["loss_ce"].item() == pytest.approx(2 * expected.item(), rel=1e-5)


def test_class_loss_is_a_mean_weighted_by_the_class_weights():
    # Uniform logits: every query costs log(4), whatever its weight.
    output = DecoderOutput(MaskPrediction(torch.zeros(2, 4, 4), torch.randn(2, 4, 8, 8)))
    losses = criterion()(output, targets())
    assert losses["loss_ce"].item() == pytest.approx(2 * math.log(4), rel=1e-5)


def test_perfect_masks_cost_far_less_than_opposite_ones():
    # Not zero: three quarters of the points are drawn to the uncertain boundary.
    mask = torch.zeros(1, 32, 32, dtype=torch.bool)
    mask[:, 8:24, 8:24] = True
    logits = torch.where(mask, 40.0, -40.0)[None]
    truth = [Target(torch.tensor([1]), mask)]

    def loss(masks):
        output = DecoderOutput(MaskPrediction(torch.zeros(1, 1, 4), masks))
        return criterion()(output, truth, torch.Generator().manual_seed(0))["loss_mask"].item()

    assert loss(logits) < 0.1 * loss(-logits)


def test_mask_losses_are_divided_by_the_number_of_masks():
    torch.manual_seed(0)
    masks, truth = torch.randn(1, 2, 4, 4), targets(counts=(2,))
    matches = [(torch.tensor([0, 1]), torch.tensor([1, 0]))]
    once, quarter = (
        criterion()._mask_losses(
            masks, truth, matches, torch.tensor(n), torch.Generator().manual_seed(0)
        )
        for n in (1.0, 4.0)
    )
    for whole, part in zip(once, quarter, strict=True):
        assert part.item() == pytest.approx(whole.item() / 4, rel=1e-6)


@pytest.mark.parametrize(("count", "expected"), [(0, 1.0), (1, 1.0), (7, 7.0)])
def test_number_of_masks_is_at_least_one(count, expected):
    assert _masks_per_rank(count, torch.zeros(1)).item() == expected


def test_same_generator_same_losses():
    output, truth = DecoderOutput(prediction()), targets()
    runs = [
        criterion()(output, truth, generator=torch.Generator().manual_seed(s)) for s in (3, 3, 4)
    ]
    assert runs[0]["loss_mask"] == runs[1]["loss_mask"] != runs[2]["loss_mask"]
