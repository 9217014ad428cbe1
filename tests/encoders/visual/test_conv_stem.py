"""Patches from several convolutions, behind timm's vision transformer."""

from __future__ import annotations

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer

from frozenseg.encoders.visual.conv_stem import ConvStem, build_vit

_TINY = {"img_size": 32, "patch_size": 16, "embed_dim": 8, "depth": 1, "num_heads": 2}


def test_every_patch_becomes_a_token_of_a_like_size():
    vit = build_vit({**_TINY, "stem_channels": [6, 7, 9], "num_classes": 0})
    images = torch.randn(2, 3, 32, 32)
    tokens = vit.patch_embed(images)
    assert tokens.shape == (2, 4, 8)
    assert isinstance(vit.patch_embed, ConvStem)
    assert 0.1 < float(tokens.std()) < 10  # a deep stem does not fade out


def test_a_pixel_reaches_its_own_patch_and_only_the_edge_of_the_next():
    stem = build_vit({**_TINY, "stem_channels": [6, 7, 9]}).patch_embed
    images = torch.randn(1, 3, 32, 32)
    changed = images.clone()
    changed[..., 31, 31] += 5
    moved = (stem(changed) - stem(images)).abs().sum(-1)[0]
    assert moved[3] > 0
    assert moved[0] == 0


def test_without_stem_it_is_timms_model():
    torch.manual_seed(0)
    ours = build_vit({**_TINY, "num_classes": 0})
    torch.manual_seed(0)
    theirs = VisionTransformer(**_TINY, num_classes=0)
    images = torch.randn(1, 3, 32, 32)
    assert torch.equal(ours(images), theirs(images))


def test_strides_must_multiply_to_the_patch():
    with pytest.raises(ValueError, match="patches of 8 pixels, patch_size is 16"):
        build_vit({**_TINY, "stem_channels": [6, 7]})
