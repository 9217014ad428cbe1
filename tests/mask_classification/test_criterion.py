"""The losses on cases that can be computed by hand."""

from __future__ import annotations

import math

import pytest
import torch
from detectron2.structures import Instances

from frozenseg.mask_classification.criterion import SetCriterion, _masks_per_rank
from frozenseg.mask_classification.decoder import DecoderOutput
from frozenseg.mask_classification.from_config import class_weights
from frozenseg.mask_classification.matcher import HungarianMatcher, Target
from frozenseg.structures import MaskPrediction
from frozenseg.vocab import Vocabulary

LOSS_WEIGHTS = {"loss_ce": 2.0, "loss_mask": 5.0, "loss_dice": 5.0}


def criterion(num_classes: int = 3, class_weights=None) -> SetCriterion:
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
        class_weights=class_weights,
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


def test_class_weights_weigh_the_matched_queries():
    """Two images of 4 queries: classes 0 and 2 in the first, 2 in the second; the rest is void."""
    truth = [
        Target(torch.tensor([0, 2]), torch.rand(2, 16, 16) > 0.5),
        Target(torch.tensor([2]), torch.rand(1, 16, 16) > 0.5),
    ]
    given, output = [3.0, 1.0, 5.0], DecoderOutput(prediction())
    weighted = criterion(class_weights=given)
    loss = weighted(output, truth, torch.Generator().manual_seed(0))["loss_ce"].item() / 2
    matches = weighted.matcher(output.final, truth, torch.Generator().manual_seed(0))
    costs = -output.final.class_logits_BQC1.log_softmax(-1)
    total = weights = 0.0
    for image, (queries, masks) in enumerate(matches):
        label = {
            q: truth[image].classes_M[m].item()
            for q, m in zip(queries.tolist(), masks, strict=True)
        }
        for query in range(4):
            weight = given[label[query]] if query in label else 0.1
            total += weight * costs[image, query, label.get(query, 3)].item()
            weights += weight
    assert loss == pytest.approx(total / weights, rel=1e-5)
    assert weights == pytest.approx(3 + 5 + 5 + 5 * 0.1)


def test_equal_class_weights_and_none_are_the_same_numbers():
    output, truth = DecoderOutput(prediction()), targets()
    plain, ones = (
        criterion(class_weights=weights)(output, truth, torch.Generator().manual_seed(0))
        for weights in (None, [1.0] * 3)
    )
    assert plain == ones


def test_class_weights_are_not_in_checkpoints():
    assert set(criterion(class_weights=[1.0, 2.0, 3.0]).state_dict()) == {"empty_weight"}


def test_the_divisor_of_the_class_loss_counts_the_class_weights():
    count = criterion(class_weights=[3.0, 1.0, 5.0]).loss_divisors["loss_ce"].count
    instances = Instances((4, 4))
    for classes, weight in (([0, 2], 3 + 5 + 0.2), ([], 0.4), ([0, 0, 0, 2, 2], 19 * 4 / 5)):
        instances.gt_classes = torch.tensor(classes, dtype=torch.int64)
        assert count({"instances": instances}) == pytest.approx(weight)
        instances.remove("gt_classes")


VOCABULARY = Vocabulary.from_names(["cat", "dog, hound", "tree"])


def test_class_weights_come_as_numbers_or_as_a_file(tmp_path):
    path = tmp_path / "weights.json"
    path.write_text('{"dog": 2, "tree": 0.5}')
    assert class_weights([], VOCABULARY) is None
    assert class_weights([str(path)], VOCABULARY) == [1.0, 2.0, 0.5]
    assert class_weights([1, 2.0, 3], VOCABULARY) == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([1.0, 2.0], "CLASS_WEIGHTS has 2 weights, but training has 3 classes"),
        ([1.0, 0.0, 1.0], "the weight of 'dog' is 0.0, not a positive number"),
        ([1.0, float("nan"), 1.0], "'dog' is nan"),
        ([1.0, "2", 1.0], "'dog' is '2'"),
        ('{"dgo": 2}', r"w\.json: 'dgo' is no class of the training; did you mean dog"),
        ('{"dog": null}', r"w\.json: the weight of 'dog' is None"),
        ('{"dog": true}', r"w\.json: the weight of 'dog' is True"),
        ("[1, 2]", r"w\.json: expected .*got list"),
        ("{", r"w\.json: not valid JSON.*check MODEL\.MASK_FORMER\.CLASS_WEIGHTS"),
        (None, r"w\.json does not exist; check MODEL\.MASK_FORMER\.CLASS_WEIGHTS"),
    ],
)
def test_class_weights_that_fit_no_class_are_refused(tmp_path, given, message):
    if not isinstance(given, list):
        if given is not None:
            (tmp_path / "w.json").write_text(given)
        given = [str(tmp_path / "w.json")]
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        class_weights(given, VOCABULARY)
