"""Early and late fusion: who sees whom."""

from __future__ import annotations

import pytest
import torch

from frozenseg.fusioner.fusion import EarlyFusion, LateFusion

SIZES = {
    "visual_channels": 6,
    "text_channels": 5,
    "width": 16,
    "layers": 2,
    "heads": 4,
    "feedforward": 24,
}


def build(kind):
    torch.manual_seed(0)
    return kind(**SIZES).double().eval()


def inputs(words=3):
    generator = torch.Generator().manual_seed(1)
    patches = torch.randn(2, 9, 6, generator=generator, dtype=torch.float64)
    return patches, torch.randn(2, words, 5, generator=generator, dtype=torch.float64)


@pytest.mark.parametrize("kind", [EarlyFusion, LateFusion])
def test_shapes_and_that_the_length_of_patches_does_not_matter(kind):
    fusion = build(kind)
    patches, words = inputs()
    fused = fusion(patches, words)
    assert [tuple(each.shape) for each in fused] == [(2, 9, 16), (2, 3, 16)]
    for one, other in zip(fused, fusion(patches * 7, words), strict=True):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize("kind", [EarlyFusion, LateFusion])
def test_words_and_patches_have_no_order(kind):
    fusion = build(kind)
    patches, words = inputs()
    order, turned = torch.randperm(9), torch.tensor([2, 0, 1])
    all_patches, all_words = fusion(patches, words)
    moved_patches, moved_words = fusion(patches[:, order], words[:, turned])
    torch.testing.assert_close(moved_patches, all_patches[:, order])
    torch.testing.assert_close(moved_words, all_words[:, turned])


def test_early_fusion_changes_patches_with_the_words_and_late_fusion_does_not():
    patches, words = inputs()
    early, late = build(EarlyFusion), build(LateFusion)
    assert not torch.allclose(early(patches, words)[0], early(patches, -words)[0])
    torch.testing.assert_close(late(patches, words)[0], late(patches, -words)[0])
    assert not torch.allclose(early(patches, words)[1], early(-patches, words)[1])
    torch.testing.assert_close(late(patches, words)[1], late(-patches, words)[1])


def test_late_words_do_not_see_each_other():
    patches, words = inputs()
    late = build(LateFusion)
    torch.testing.assert_close(late(patches, words)[1][:, :1], late(patches, words[:, :1])[1])


def test_early_and_late_differ_by_the_joint_parts_alone():
    early, late = build(EarlyFusion).state_dict(), build(LateFusion).state_dict()
    blocks = {name for name in early if name.startswith("blocks.")}
    assert blocks == {name for name in late if name.startswith("blocks.")}
    assert {"cls_emb", "proj_patch", "proj_classes"} <= early.keys() - late.keys()


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match=r"MODEL\.FUSIONER\.WIDTH 16 .*HEADS 3"):
        EarlyFusion(**{**SIZES, "heads": 3})
