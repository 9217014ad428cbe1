"""A batch in parts: its gradients are those of the whole batch."""

from __future__ import annotations

import pytest
import torch
from detectron2.structures import Instances
from detectron2.utils.events import EventStorage

from frozenseg.engine.accumulation import BatchParts
from frozenseg.engine.precision import Precision
from frozenseg.engine.train_step import TrainStep
from frozenseg.mask_classification.criterion import SetCriterion
from frozenseg.mask_classification.matcher import HungarianMatcher
from frozenseg.structures import PER_IMAGE
from tests.smooth_decoder import smooth_model


def parts(steps, queries=12):
    criterion = SetCriterion(
        HungarianMatcher(class_weight=2.0, mask_weight=5.0, dice_weight=5.0, num_points=9),
        num_classes=5,
        num_queries=queries,
        no_object_weight=0.1,
        loss_weights={},
        num_points=9,
        oversample_ratio=3.0,
        importance_ratio=0.75,
    )
    return BatchParts(steps, criterion.loss_divisors, device="cpu")


def sample(masks, seed=0, size=(96, 128)):
    """An image with `masks` rectangles."""
    generator = torch.Generator().manual_seed(seed)
    instances = Instances(size)
    instances.gt_classes = torch.randint(0, 5, (masks,), generator=generator)
    instances.gt_masks = torch.zeros(masks, *size, dtype=torch.bool)
    for mask in instances.gt_masks:
        top, left = torch.randint(0, 60, (2,), generator=generator).tolist()
        mask[top : top + 30, left : left + 40] = True
    image = torch.randint(0, 256, (3, *size), generator=generator, dtype=torch.uint8)
    return {"image": image, "instances": instances}


@pytest.fixture
def same_points(monkeypatch):
    """Every mask gets the same points, however many masks are in a part."""
    fixed = torch.Generator().manual_seed(3)
    points = torch.empty(20000, 2).uniform_(generator=fixed)

    def rand(*size, device=None, generator=None):
        assert size[-1] == 2
        return points[: size[-2]].expand(size).clone()

    monkeypatch.setattr(torch, "rand", rand)


def gradients(batch, steps, tmp_path):
    """The gradients that a step of the real model leaves."""
    with smooth_model("convnext", tmp_path) as model:
        trained = {n: p for n, p in model.named_parameters() if p.requires_grad}
        optimizer = torch.optim.SGD(trained.values(), lr=1e-9)
        step = TrainStep(
            model,
            [batch],
            optimizer,
            precision=Precision("cpu"),
            seed=0,
            accumulation_steps=steps,
        )
        with EventStorage() as storage:
            step.iter = 0
            step.run_step()
            loss = storage.history("total_loss").latest()
    return {name: p.grad for name, p in trained.items()}, loss


def distance(first, second):
    """The largest deviation of a parameter's gradient, relative to its norm."""
    norm = torch.cat([value.flatten() for value in first.values()]).norm() * 1e-4
    return max(((first[n] - second[n]).norm() / (first[n].norm() + norm)).item() for n in first)


@pytest.mark.slow
def test_two_parts_have_the_gradients_of_the_batch(same_points, tmp_path):
    """Of the real model, with 1 + 4 and 0 + 2 masks: parts that differ in what they divide by."""
    batch = [sample(n, seed) for seed, n in enumerate((1, 4, 0, 2))]
    whole, loss = gradients(batch, 1, tmp_path)
    split, loss_of_parts = gradients(batch, 2, tmp_path)
    assert loss_of_parts == pytest.approx(loss, rel=1e-5)
    assert distance(whole, split) < 1e-4


@pytest.mark.slow
def test_a_plain_mean_of_the_parts_would_not_do(same_points, tmp_path, monkeypatch):
    """The measure of the test above sees a wrong share."""
    batch = [sample(n, seed) for seed, n in enumerate((1, 4, 0, 2))]
    whole, _ = gradients(batch, 1, tmp_path)
    monkeypatch.setattr(BatchParts, "_shares_of", lambda self, *_: [1 / self.steps] * self.steps)
    split, _ = gradients(batch, 2, tmp_path)
    assert distance(whole, split) > 1e-1


def test_shares_are_the_ratios_of_the_divisors():
    divided = parts(2, queries=10).shares([[sample(3)], [sample(1)]])
    assert [share["loss_mask"] for share in divided] == pytest.approx([0.75, 0.25])
    weights = [3 + 0.7, 1 + 0.9]
    expected = [weight / sum(weights) for weight in weights]
    assert [share["loss_ce"] for share in divided] == pytest.approx(expected)


def test_a_part_without_masks_counts_as_the_criterion_counts_it():
    """The criterion divides by at least one mask; a part's share undoes that."""
    empty, full = (s["loss_mask"] for s in parts(2).shares([[sample(0)], [sample(4)]]))
    assert (empty, full) == pytest.approx((0.25, 1.0))  # 0 / 1 * 0.25 + sum / 4 * 1
    none = parts(2).shares([[sample(0)], [sample(0)]])
    assert [share["loss_mask"] for share in none] == [1.0, 1.0]


def test_an_intermediate_prediction_has_the_divisor_of_the_last():
    losses = {"loss_dice": torch.tensor(8.0), "loss_dice_11": torch.tensor(4.0)}
    assert parts(2).scale(losses, {"loss_dice": 0.25}) == {"loss_dice": 2, "loss_dice_11": 1}


def test_a_mean_over_images_counts_the_same_in_every_part():
    whole = BatchParts(4, {"loss_other": PER_IMAGE}, device="cpu")
    for share in whole.shares([[1], [2], [3], [4]]):
        assert whole.scale({"loss_other": torch.tensor(8.0)}, share)["loss_other"] == 2


@pytest.mark.parametrize("name", ["loss_boundary", "loss_ce_extra", "loss_mask2"])
def test_a_loss_that_does_not_say_what_it_is_averaged_over_is_an_error(name):
    losses, batch = {name: torch.tensor(1.0)}, [[sample(3)], [sample(1)]]
    with pytest.raises(ValueError, match=rf"'{name}'.*`loss_divisors`.*loss_ce, loss_mask"):
        parts(2).scale(losses, parts(2).shares(batch)[0])
    assert parts(1).scale(losses, {}) == losses


def test_one_part_is_the_batch_itself():
    batch, loss = [1, 2, 3], {"loss_ce": torch.tensor(1.5)}
    whole = parts(1)
    assert whole.split(batch) == [batch]
    assert whole.split(batch)[0] is batch
    assert whole.scale(loss, whole.shares([batch])[0])["loss_ce"] is loss["loss_ce"]


def test_a_batch_is_split_in_order_and_evenly():
    assert parts(2).split([1, 2, 3, 4]) == [[1, 2], [3, 4]]
    with pytest.raises(ValueError, match=r"SOLVER\.ACCUMULATION_STEPS is 2.*3 images"):
        parts(2).split([1, 2, 3])
    with pytest.raises(ValueError, match=r"SOLVER\.ACCUMULATION_STEPS is 0"):
        parts(0)
