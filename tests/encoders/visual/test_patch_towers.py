"""Patch features against the libraries' own forward passes."""

from __future__ import annotations

import pytest
import timm
import torch
import torch.nn.functional as F
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from frozenseg.encoders.visual.patch_towers import build_patch_tower

VIT = {"layers": 2, "width": 32, "head_width": 16, "patch_size": 8, "image_size": 32}
TIMM_VIT = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 4}
SETTINGS = {"global_pool": "", "num_classes": 0, "dynamic_img_size": True}


def images(*size: int) -> torch.Tensor:
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(1))


def clip_vit(make_clip, **settings):
    return make_clip("resnet", vision=VIT, **settings).visual.eval()


def timm_vit(**settings) -> VisionTransformer:
    torch.manual_seed(0)
    vit = VisionTransformer(**TIMM_VIT, **SETTINGS, **settings).eval()
    for parameter in vit.parameters():  # class token and biases start near 0
        nn.init.normal_(parameter, std=0.2)
    return vit


@torch.no_grad()
@pytest.mark.parametrize("quick_gelu", [False, True])
def test_clip_vit_gives_open_clips_tokens_in_the_joint_space(make_clip, quick_gelu):
    visual = clip_vit(make_clip, quick_gelu=quick_gelu)
    plain = visual(images(32, 32))  # the class token's embedding: CLIP's of the image
    tower = build_patch_tower(visual)
    assert (tower.channels, tower.stride) == (16, 8)
    pooled, tokens = visual(images(32, 32))  # the tower made it return its tokens too
    assert torch.equal(pooled, plain)
    patches = tower(images(32, 32))
    assert patches.shape == (2, 16, 4, 4)
    assert patches.std() > 0.05
    torch.testing.assert_close(patches.flatten(2).transpose(1, 2), tokens @ visual.proj)


@torch.no_grad()
def test_clip_vit_patches_take_the_way_of_the_class_token(make_clip):
    """Where all tokens are equal from the start, patches and class token end equal too."""
    visual = clip_vit(make_clip)
    visual.conv1.weight.zero_()
    visual.positional_embedding.copy_(visual.positional_embedding[:1].expand(17, -1))
    visual.class_embedding.zero_()
    expected = visual(images(32, 32))
    patches = build_patch_tower(visual)(images(32, 32))
    torch.testing.assert_close(patches, expected[..., None, None].expand(2, 16, 4, 4))


@torch.no_grad()
def test_clip_vit_positions_are_resized_for_other_sizes(make_clip):
    visual = clip_vit(make_clip)
    patches = build_patch_tower(visual)(images(16, 48))
    assert patches.shape == (2, 16, 2, 6)
    token, grid = visual.positional_embedding[:1], visual.positional_embedding[1:]
    grid = grid.T.reshape(1, 32, 4, 4)
    grid = F.interpolate(grid, size=(2, 6), mode="bicubic", antialias=True)[0].flatten(1).T
    visual.positional_embedding = nn.Parameter(torch.cat([token, grid]))
    _, tokens = visual(images(16, 48))
    torch.testing.assert_close(patches.flatten(2).transpose(1, 2), tokens @ visual.proj)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("vision", "message"),
    [
        ({"attentional_pool": True, "attn_pooler_heads": 4}, "attention pool"),
        ({"pool_type": "none"}, "without pooling"),
        ({"final_ln_after_pool": True}, "last norm behind"),
        ({"patch_size": [8, 16]}, "8 x 16 pixels"),
    ],
)
def test_clip_vits_without_tokens_in_the_joint_space_are_refused(make_clip, vision, message):
    with pytest.raises(ValueError, match=message):
        build_patch_tower(make_clip("resnet", vision={**VIT, **vision}).visual)


@torch.no_grad()
def test_convnext_of_one_cell_is_clips_embedding_of_the_image(make_clip):
    visual = make_clip("convnext").visual.eval()
    expected = visual(images(32, 32))
    tower = build_patch_tower(visual)
    assert (tower.channels, tower.stride) == (16, 32)
    assert expected.std() > 0.05
    torch.testing.assert_close(tower(images(32, 32))[..., 0, 0], expected)


@torch.no_grad()
def test_convnext_cells_go_through_the_head_each_alone(make_clip):
    visual = make_clip("convnext").visual.eval()
    tower = build_patch_tower(visual)
    patches = tower(images(64, 96))
    assert patches.shape == (2, 16, 2, 3)
    dense = visual.trunk.forward_features(images(64, 96))
    for row, column in [(0, 0), (1, 2)]:
        cell = visual.head(visual.trunk.head(dense[:, :, row, column, None, None]))
        torch.testing.assert_close(patches[:, :, row, column], cell, atol=1e-5, rtol=1e-5)


@pytest.mark.slow
@torch.no_grad()
def test_clip_resnet_gives_the_map_before_the_attention_pool(make_clip):
    visual = make_clip("resnet").visual.eval()
    expected = visual(images(64, 64))
    tower = build_patch_tower(visual)
    assert (tower.channels, tower.stride) == (256, 32)
    torch.testing.assert_close(visual.attnpool(tower(images(64, 64))), expected)


@torch.no_grad()
@pytest.mark.parametrize(
    "settings", [{}, {"class_token": False}, {"reg_tokens": 3}, {"no_embed_class": True}]
)
def test_timm_vit_gives_the_normalised_tokens_of_the_last_block(settings):
    vit = timm_vit(**settings)
    tower = build_patch_tower(vit)
    assert (tower.channels, tower.stride) == (32, 8)
    outputs = []
    vit.norm.register_forward_hook(lambda module, args, output: outputs.append(output))
    for size in [(32, 32), (48, 24)]:
        patches = tower(images(*size))
        assert patches.shape == (2, 32, size[0] // 8, size[1] // 8)
        tokens = outputs.pop()
        assert tokens.shape[1] == patches[0, 0].numel() + vit.num_prefix_tokens
        for index, cell in enumerate(patches.flatten(2).unbind(-1), start=vit.num_prefix_tokens):
            assert torch.equal(cell, tokens[:, index])


@torch.no_grad()
def test_rows_and_columns_are_not_swapped():
    """A vision transformer without attention and positions sees each patch for itself."""
    vit = timm_vit()
    vit.pos_embed.zero_()
    for block in vit.blocks:
        block.attn.proj.weight.zero_()
        block.attn.proj.bias.zero_()
    tower = build_patch_tower(vit)
    whole, change = images(32, 32), images(32, 32)
    change[:, :, 8:16, 24:32] += 1
    moved = (tower(change) - tower(whole)).abs().amax((0, 1)) > 1e-3
    assert moved.nonzero().tolist() == [[1, 3]]


@pytest.mark.slow
@torch.no_grad()
def test_timm_resnet_gives_the_last_map():
    torch.manual_seed(0)
    resnet = timm.create_model("resnet10t", num_classes=5).eval()
    expected = resnet(images(64, 96))
    tower = build_patch_tower(resnet)
    assert (tower.channels, tower.stride) == (512, 32)
    patches = tower(images(64, 96))
    assert patches.shape == (2, 512, 2, 3)
    torch.testing.assert_close(resnet.fc(patches.mean((2, 3))), expected)


def test_other_models_are_refused(make_clip):
    with pytest.raises(ValueError, match="had of a Linear"):
        build_patch_tower(nn.Linear(2, 2))
    with pytest.raises(ValueError, match="dynamic_img_size"):
        build_patch_tower(VisionTransformer(**TIMM_VIT))


def test_descriptions_tell_architectures_apart(make_clip):
    def describe(**settings):
        return build_patch_tower(timm_vit(**settings)).describe()

    assert describe() == describe()
    eight = VisionTransformer(**{**TIMM_VIT, "num_heads": 8}, **SETTINGS)
    assert build_patch_tower(eight).describe() != describe()
    assert describe(act_layer="relu") != describe()
