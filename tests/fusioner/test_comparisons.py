"""SPNet and ZS3Net: the softmax's targets, the loss, the generator, the fitted classifier."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from frozenseg.fusioner.spnet import SPNet, above_rivals, softmax_loss, softmax_target
from frozenseg.fusioner.zs3net import ZS3Net, class_of_patches, fit_softmax, moment_loss
from frozenseg.structures import BACKGROUND, IGNORED, OTHER_CLASS

pytestmark = pytest.mark.slow


def test_targets_of_the_softmax():
    labels = torch.tensor([0, 2, BACKGROUND, IGNORED, OTHER_CLASS], dtype=torch.int32)
    assert softmax_target(labels, 4).tolist() == [0, 2, 3, IGNORED, IGNORED]


def test_above_rivals_decides_as_the_softmax_does():
    logits = torch.randn(2, 5, 3, 3)
    relative = above_rivals(logits, 3, (3, 3))
    assert relative.shape == (2, 3, 3, 3)
    winner = logits.argmax(1).clamp(max=3)  # the last two are rivals
    ours = torch.where(relative.amax(1) > 0, relative.argmax(1), 3)
    assert torch.equal(ours, winner)


def test_softmax_loss_by_hand():
    logits = torch.zeros(2, 3, 1, 2)
    logits[0, 0, 0, 0] = 2.0
    labels = torch.tensor([[[0, OTHER_CLASS]], [[BACKGROUND, 1]]], dtype=torch.int32)
    first = -F.log_softmax(torch.tensor([2.0, 0.0, 0.0]), 0)[0]
    second = torch.log(torch.tensor(3.0))
    torch.testing.assert_close(softmax_loss(logits, labels), (first + second) / 2)


def test_spnet_learns_and_names_words_it_was_not_trained_on():
    """Patches are a linear map of their word's vector: a projection must find its inverse."""
    torch.manual_seed(0)
    words = F.normalize(torch.randn(6, 8), dim=-1)  # the last is background
    mixing = torch.randn(8, 12)
    model = SPNet(visual_channels=12, text_channels=8, width=16)
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    seen = torch.tensor([0, 1, 2, 5])
    first = last = 0.0
    for _ in range(60):
        labels = torch.randint(0, 4, (4, 4, 4))
        patches = (words[seen][labels] @ mixing).permute(0, 3, 1, 2)
        large = torch.where(labels == 3, BACKGROUND, labels).to(torch.int32)
        large = large.repeat_interleave(8, 1).repeat_interleave(8, 2)
        loss = model.losses(patches, words[seen], large, torch.zeros(4, dtype=torch.long))[
            "loss_words"
        ]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        first, last = first or loss.item(), loss.item()
    assert last < 0.5 * first


def test_the_class_of_a_patch_is_that_of_its_middle():
    labels = torch.full((1, 4, 4), BACKGROUND, dtype=torch.int32)
    labels[0, 1, 1], labels[0, 3, 3] = 2, IGNORED
    assert class_of_patches(labels, torch.Size((2, 2)), 5).tolist() == [[[2, 4], [4, IGNORED]]]


def test_moments_of_equal_sets_agree():
    features = F.normalize(torch.randn(20, 5), dim=-1)
    assert moment_loss(features, features[torch.randperm(20)]).abs() < 1e-6
    assert moment_loss(features, -features.abs()) > 0.01


def test_a_fitted_classifier_separates():
    torch.manual_seed(0)
    centres = F.normalize(torch.randn(3, 10), dim=-1)
    target = torch.arange(3).repeat_interleave(30)
    features = F.normalize(centres[target] + 0.1 * torch.randn(90, 10), dim=-1)
    weight, bias = fit_softmax(features, target, 3)
    assert (F.linear(features, weight, bias).argmax(1) == target).all()
    assert not weight.requires_grad


def zs3net():
    torch.manual_seed(0)
    return ZS3Net(visual_channels=6, text_channels=4, width=16, features_per_class=8)


def test_zs3net_fits_once_for_the_same_words_and_always_the_same():
    model, patches = zs3net().eval(), torch.randn(1, 6, 3, 3)
    words = F.normalize(torch.randn(3, 4), dim=-1)
    with torch.no_grad():
        first = model(patches, words[:2], (6, 6), words[2:])
    assert first.shape == (1, 2, 6, 6)
    fitted = dict(model._fitted)
    with torch.no_grad():
        assert torch.equal(model(patches, words[:2], (6, 6), words[2:]), first)
        assert all(model._fitted[key] is value for key, value in fitted.items())
        assert torch.equal(zs3net().eval()(patches, words[:2], (6, 6), words[2:]), first)
    model.train()
    assert not model._fitted


def test_zs3net_fits_in_float32_also_under_autocast():
    """Autocast keeps a rounded copy of a weight, which does not see the steps of the optimizer."""
    words, patches = F.normalize(torch.randn(3, 4), dim=-1), torch.randn(1, 6, 3, 3)
    with torch.no_grad():
        exact = zs3net().eval()(patches, words[:2], (6, 6), words[2:])
        with torch.autocast("cpu", dtype=torch.bfloat16):
            half = zs3net().eval()(patches, words[:2], (6, 6), words[2:])
    assert exact.std() > 0.1
    assert (half.float() - exact).abs().max() < 0.2 * exact.std()


def test_zs3net_learns_to_generate_and_segments_words_it_has_not_seen():
    """Patches are a linear map of their word's vector, with noise; one word is held out."""
    torch.manual_seed(0)
    mixing = torch.randn(4, 6)
    words = F.normalize(torch.randn(40, 4), dim=-1)
    model = zs3net()
    optimizer = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(150):
        labels = torch.randint(0, 39, (2, 6, 6))
        patches = words[labels] @ mixing + 0.1 * torch.randn(2, 6, 6, 6)
        losses = model.losses(
            patches.permute(0, 3, 1, 2), words[:39], labels.to(torch.int32), torch.zeros(2)
        )
        optimizer.zero_grad()
        assert set(losses) == set(model.loss_divisors)
        losses["loss_mmd"].backward()
        optimizer.step()
    model.eval()
    asked = torch.stack((words[39], words[0], -words[39]))  # the last stands for background
    labels = torch.randint(0, 3, (1, 6, 6))
    with torch.no_grad():
        patches = (asked[labels] @ mixing).permute(0, 3, 1, 2)
        logits = model(patches, asked[:2], (6, 6), asked[2:])
    found = torch.where(logits.amax(1) > 0, logits.argmax(1), 2)
    assert (found == labels)[labels != 1].float().mean() > 0.8


def test_a_batch_without_a_counted_patch_still_has_a_gradient_for_all_parameters():
    model = zs3net()
    labels = torch.full((1, 3, 3), IGNORED, dtype=torch.int32)
    loss = model.losses(torch.randn(1, 6, 3, 3), torch.randn(2, 4), labels, torch.zeros(1))[
        "loss_mmd"
    ]
    loss.backward()
    assert loss == 0
    assert all(p.grad is not None for p in model.parameters())
