"""Mask pooling: means over regions."""

from __future__ import annotations

import torch

from frozenseg.layers.mask_pooling import has_positive, pool_by_masks, resize_mask_logits


def test_mean_over_the_positive_cells():
    features = torch.randn(2, 3, 4, 5)
    masks = torch.randn(2, 6, 4, 5)
    pooled = pool_by_masks(features, masks)
    for image in range(2):
        for query in range(6):
            mean = features[image][:, masks[image, query] > 0].mean(1)
            torch.testing.assert_close(pooled[image, query], mean, atol=1e-6, rtol=1e-5)


def test_empty_mask_gives_zeros_and_is_not_positive():
    masks = torch.stack((torch.full((4, 4), -1.0), torch.eye(4)))[None]
    pooled = pool_by_masks(torch.randn(1, 3, 4, 4), masks)
    assert pooled[0, 0].abs().max() == 0
    assert has_positive(masks).tolist() == [[False, True]]


def test_no_gradient_through_the_mask_but_through_the_features():
    features = torch.randn(1, 3, 4, 4, requires_grad=True)
    masks = torch.randn(1, 2, 4, 4, requires_grad=True)
    pool_by_masks(features, masks).sum().backward()
    assert masks.grad is None
    assert features.grad.abs().sum() > 0


def test_masks_are_resized_to_the_map():
    features = torch.randn(1, 3, 4, 4)
    small = torch.tensor([[[[1.0, -1.0], [-1.0, -1.0]]]])
    pooled = pool_by_masks(features, small)
    torch.testing.assert_close(pooled, pool_by_masks(features, resize_mask_logits(small, (4, 4))))
    same = resize_mask_logits(small, (2, 2))
    assert same is small


def test_no_masks_are_resized_and_pooled_to_nothing():
    none = torch.zeros(2, 0, 4, 4)
    assert resize_mask_logits(none, (8, 6)).shape == (2, 0, 8, 6)
    assert pool_by_masks(torch.randn(2, 3, 8, 8), none).shape == (2, 0, 3)
