"""A batch in parts: its gradients are those of the whole batch."""

from __future__ import annotations

import pytest
import torch
from detectron2.structures import Instances
from detectron2.utils.events import EventStorage

from frozenseg.engine.accumulation import BatchParts
from frozenseg.engine.precision import Precision
from frozenseg.engine.train_step import TrainStep
from tests.smooth_decoder import smooth_model


def parts(steps, queries=12):
    return BatchParts(steps, num_queries=queries, no_object_weight=0.1, device="cpu")


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
        queries = model.sem_seg_head.predictor.query_feat.num_embeddings
        step = TrainStep(
            model,
            [batch],
            optimizer,
            precision=Precision("cpu"),
            seed=0,
            parts=parts(steps, queries),
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


def test_two_parts_have_the_gradients_of_the_batch(same_points, tmp_path):
    """Of the real model, with 1 + 4 and 0 + 2 masks: parts that differ in what they divide by."""
    batch = [sample(n, seed) for seed, n in enumerate((1, 4, 0, 2))]
    whole, loss = gradients(batch, 1, tmp_path)
    split, loss_of_parts = gradients(batch, 2, tmp_path)
    assert loss_of_parts == pytest.approx(loss, rel=1e-5)
    assert distance(whole, split) < 1e-4


def test_a_plain_mean_of_the_parts_would_not_do(same_points, tmp_path, monkeypatch):
    """The measure of the test above sees a wrong share."""
    batch = [sample(n, seed) for seed, n in enumerate((1, 4, 0, 2))]
    whole, _ = gradients(batch, 1, tmp_path)
    monkeypatch.setattr(BatchParts, "_share_of", lambda self, *_: 1 / self.steps)
    split, _ = gradients(batch, 2, tmp_path)
    assert distance(whole, split) > 1e-1


def test_shares_are_the_ratios_of_the_divisors():
    divided = parts(2, queries=10).shares([[sample(3)], [sample(1)]])
    assert [share["masks"] for share in divided] == pytest.approx([0.75, 0.25])
    weights = [3 + 0.7, 1 + 0.9]
    expected = [weight / sum(weights) for weight in weights]
    assert [share["weights"] for share in divided] == pytest.approx(expected)


def test_a_part_without_masks_counts_as_the_criterion_counts_it():
    """The criterion divides by at least one mask; a part's share undoes that."""
    empty, full = (s["masks"] for s in parts(2).shares([[sample(0)], [sample(4)]]))
    assert (empty, full) == pytest.approx((0.25, 1.0))  # 0 / 1 * 0.25 + sum / 4 * 1
    none = parts(2).shares([[sample(0)], [sample(0)]])
    assert [share["masks"] for share in none] == [1.0, 1.0]


def test_other_losses_are_means_over_images():
    scaled = parts(4).scale({"loss_other": torch.tensor(8.0)}, {"masks": 0.5, "weights": 0.5})
    assert scaled["loss_other"] == 2


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
