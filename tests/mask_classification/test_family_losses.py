"""The descendants' losses: the released numbers, and what they mean."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F

from frozenseg.mask_classification.family_losses import (
    clip_class_loss,
    compensation_loss,
    gram_loss,
    mask_consistency_loss,
    ranking_loss,
    slot_class_loss,
)
from frozenseg.mask_classification.matcher import Target


def golden(golden_dir, name):
    return torch.load(golden_dir / name, weights_only=True)


def close(found, expected, atol=1e-6):
    torch.testing.assert_close(found, torch.as_tensor(expected), atol=atol, rtol=1e-5)


@pytest.mark.golden
@pytest.mark.parametrize("case", [0, 1])
def test_released_ranking_loss(golden_dir, case):
    case = golden(golden_dir, "maftplus_tiny/losses.pt")["ma"][case]
    logits = case["clip_logits"].requires_grad_()
    targets = [Target(t["labels"], t["masks"]) for t in case["targets"]]
    loss = ranking_loss(logits[..., :-1], case["mask_logits"], targets)
    close(loss.detach(), case["loss"])
    close(torch.autograd.grad(loss, logits)[0], case["grad"])


@pytest.mark.golden
@pytest.mark.parametrize("case", range(5))
def test_released_compensation_loss(golden_dir, case):
    case = golden(golden_dir, "maftplus_tiny/losses.pt")["rc"][case]
    student = case["student"].requires_grad_()
    loss = compensation_loss(student, case["teacher"], released=True)
    close(loss.detach(), case["loss"])
    close(torch.autograd.grad(loss, student)[0].norm(), case["grad_norm"])
    height, width = student.shape[-2:]
    sound = compensation_loss(student, case["teacher"])
    assert torch.equal(sound, loss) == (height <= width)  # only higher maps were cut


@pytest.mark.golden
@pytest.mark.parametrize("case", [0, 1])
def test_released_gram_loss(golden_dir, case):
    case = golden(golden_dir, "coat/model.pt")["gram"][case]
    student = case["student"].requires_grad_()
    loss = gram_loss(student, case["teacher"])
    close(loss.detach(), case["loss_unweighted"])
    close(torch.autograd.grad(loss, student)[0].norm(), case["grad_norm"])


@pytest.mark.golden
def test_released_and_sound_class_loss_of_clip(golden_dir):
    stored = golden(golden_dir, "coat/model.pt")["train"]
    train = stored["joint"]
    logits, matches = stored["oov_probabilities"].log(), train["matches_last_layer"]
    targets = [Target(classes, None) for classes in train["gt_classes"]]
    released = clip_class_loss(logits, targets, matches, released=True)
    weight = 0.1
    close(weight * released, train["losses_weighted"]["loss_oov_ce"], atol=1e-5)
    assert abs(released - math.log(133)) < 0.01
    sound = clip_class_loss(logits, targets, matches)
    assert round(float(weight * sound), 3) == 0.586


def test_class_loss_of_clip_without_matches_is_zero():
    logits, none = torch.randn(1, 3, 4, requires_grad=True), torch.zeros(0, dtype=torch.int64)
    loss = clip_class_loss(logits, [Target(none, None)], [(none, none)])
    loss.backward()
    assert loss == 0
    assert not logits.grad.any()


def test_ranking_loss_by_the_definition_at_full_size():
    torch.manual_seed(0)
    logits, masks = torch.randn(1, 5, 4), torch.randn(1, 5, 6, 9)
    target = Target(torch.tensor([2, 0]), torch.rand(2, 25, 31) > 0.5)
    probability = F.interpolate(masks.sigmoid(), (25, 31), mode="bilinear")[0]
    rows = []
    for mask, label in zip(target.masks_MHW.float(), target.classes_M, strict=True):
        shared = (mask * probability).sum((1, 2))
        iou = shared / (mask.sum() + probability.sum((1, 2)) - shared + 1e-7)
        wanted = (iou - iou.min()) / (iou.max() - iou.min() + 1e-8)
        rows.append(F.smooth_l1_loss(logits[0].softmax(-1)[:, label], wanted))
    close(ranking_loss(logits, masks, [target]), torch.stack(rows).mean())


def test_ranking_loss_without_masks_is_zero():
    logits = torch.randn(2, 3, 4, requires_grad=True)
    nothing = Target(torch.zeros(0, dtype=torch.int64), torch.zeros(0, 8, 8, dtype=torch.bool))
    loss = ranking_loss(logits, torch.randn(2, 3, 4, 4), [nothing] * 2)
    loss.backward()
    assert loss == 0


def test_equal_maps_lose_nothing_and_small_maps_are_an_error():
    maps = torch.randn(2, 3, 12, 5)
    assert compensation_loss(maps, maps) == 0
    assert gram_loss(maps, maps) == 0
    with pytest.raises(ValueError, match="maps of at least 4 cells, got 2x3"):
        compensation_loss(maps[..., :2, :3], maps[..., :2, :3])


def test_teachers_get_no_gradient():
    for loss in (compensation_loss, gram_loss):
        student, teacher = (torch.randn(1, 2, 4, 4, requires_grad=True) for _ in range(2))
        loss(student, teacher).backward()
        assert teacher.grad is None
        assert student.grad.any()


def test_slots_without_a_mask_do_not_count():
    logits = torch.randn(2, 3, 4, requires_grad=True)
    classes = torch.tensor([[0, -1, 3], [-1, -1, -1]])
    expected = F.cross_entropy(logits[0, [0, 2]], classes[0, [0, 2]])
    close(slot_class_loss(logits, classes).detach(), expected.detach())
    loss = slot_class_loss(logits, torch.full((2, 3), -1))
    loss.backward()
    assert loss == 0
    assert not logits.grad.any()


def test_consistency_counts_real_pairs_and_detaches_the_ground_truth():
    first, second = torch.randn(1, 3, 4), torch.randn(1, 3, 4, requires_grad=True)
    classes = torch.tensor([[5, -1, 0]])
    cosine = F.cosine_similarity(first, second, dim=-1)[0].detach()
    close(mask_consistency_loss(first, second, classes), 1 - cosine[[0, 2]].mean())
    close(mask_consistency_loss(first, second, classes, released=True), 1 - cosine.mean())
    assert mask_consistency_loss(first, second, torch.full((1, 3), -1)) == 0
    assert not mask_consistency_loss(first, second, classes).requires_grad
    assert mask_consistency_loss(first, second, classes, detach=False).requires_grad
