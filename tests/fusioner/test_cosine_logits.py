"""Cosines of enlarged features, without enlarging them."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from frozenseg.fusioner.cosine_logits import binary_loss, cosine_logits, resized_norm

sides = st.integers(1, 9)


def plain(features, words, size, temperature):
    """The definition: enlarge, normalise, multiply."""
    large = F.interpolate(features, size=size, mode="bilinear", align_corners=False)
    unit, words = F.normalize(large, dim=1), F.normalize(words, dim=-1)
    return torch.einsum("bdhw,btd->bthw", unit, words) / temperature


@pytest.mark.slow
@settings(deadline=None, max_examples=40)
@given(h=sides, w=sides, out_h=st.integers(1, 23), out_w=st.integers(1, 23), seed=st.integers(0, 9))
def test_equals_the_definition_at_any_size(h, w, out_h, out_w, seed):
    generator = torch.Generator().manual_seed(seed)
    features = torch.randn(2, 5, h, w, generator=generator, dtype=torch.float64)
    words = torch.randn(2, 3, 5, generator=generator, dtype=torch.float64)
    got = cosine_logits(features, words, (out_h, out_w), temperature=0.07)
    expected = plain(features, words, (out_h, out_w), 0.07)
    torch.testing.assert_close(got, expected, atol=2e-4, rtol=1e-5)


def test_gradients_equal_those_of_the_definition():
    torch.manual_seed(0)
    features = torch.randn(2, 6, 4, 5, dtype=torch.float64, requires_grad=True)
    words = torch.randn(2, 3, 6, dtype=torch.float64, requires_grad=True)
    weight = torch.randn(2, 3, 11, 13, dtype=torch.float64)
    for function in (cosine_logits, plain):
        loss = (function(features, words, (11, 13), temperature=0.07) * weight).sum()
        gradients = torch.autograd.grad(loss, (features, words))
        if function is cosine_logits:
            ours = gradients
    for mine, other in zip(ours, gradients, strict=True):
        torch.testing.assert_close(mine, other, atol=1e-4, rtol=1e-5)


def test_features_that_are_zero_give_finite_logits_and_gradients():
    features = torch.zeros(1, 4, 3, 3, requires_grad=True)
    logits = cosine_logits(features, torch.ones(1, 2, 4), (6, 6))
    assert torch.equal(logits, torch.zeros(1, 2, 6, 6))
    logits.sum().backward()
    assert torch.isfinite(features.grad).all()


def test_the_norm_does_not_depend_on_where_a_vector_points():
    one = torch.randn(1, 1, 1, 1).expand(1, 7, 4, 4)
    torch.testing.assert_close(
        resized_norm(one, (9, 9)), one.norm(dim=1)[:, :1, :1, None].expand(1, 1, 9, 9)
    )


def test_an_empty_image_is_an_error():
    with pytest.raises(ValueError, match="the image is empty"):
        resized_norm(torch.zeros(1, 2, 3, 3), (0, 4))


def test_the_loss_is_a_mean_of_the_images_means():
    logits = torch.tensor([[[0.0, 2.0]], [[-1.0, 3.0]]])
    target = torch.tensor([[[1.0, 0.0]], [[0.0, 1.0]]])
    valid = torch.tensor([[[True, True]], [[True, False]]])
    soft = F.softplus
    first = (soft(torch.tensor(0.0)) + soft(torch.tensor(2.0))) / 2
    second = soft(torch.tensor(-1.0))
    torch.testing.assert_close(binary_loss(logits, target, valid), (first + second) / 2)


def test_an_image_without_a_valid_pixel_counts_as_zero():
    logits = torch.ones(2, 1, 2, requires_grad=True)
    valid = torch.tensor([[[True, True]], [[False, False]]])
    loss = binary_loss(logits, torch.zeros(2, 1, 2), valid)
    torch.testing.assert_close(loss, F.softplus(torch.tensor(1.0)) / 2)
    loss.backward()
    assert torch.equal(logits.grad[1], torch.zeros(1, 2))
