from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from open_clip.modified_resnet import AttentionPool2d

from frozenseg.encoders.clip.image_towers import (
    ConvNeXtTower,
    ResNetTower,
    attention_pool,
    build_visual_tower,
    map_shapes,
)

MAPS = ["stem", "res2", "res3", "res4", "res5", "clip_vis_dense"]


@pytest.mark.parametrize(
    ("kind", "tower_class", "stem_stride"),
    [("resnet", ResNetTower, 2), ("convnext", ConvNeXtTower, 4)],
)
def test_shapes_are_those_of_the_maps(make_clip, kind, tower_class, stem_stride):
    visual = make_clip(kind).visual.eval()
    tower = build_visual_tower(visual)
    assert isinstance(tower, tower_class)
    shapes, maps = map_shapes(tower, visual), tower.features(torch.randn(1, 3, 64, 96))
    assert list(shapes) == list(maps) == MAPS
    assert [shapes[name].stride for name in MAPS] == [stem_stride, 4, 8, 16, 32, 32]
    for name, shape in shapes.items():
        size = (64 // shape.stride, 96 // shape.stride)
        assert maps[name].shape == (1, shape.channels, *size), name


def test_channels_come_from_the_model(make_clip):
    def shapes_of(visual):
        return map_shapes(build_visual_tower(visual), visual)

    wide = shapes_of(make_clip("resnet", vision={"width": 16}).visual)
    assert [wide[name].channels for name in MAPS] == [16, 64, 128, 256, 512, 512]
    narrow = shapes_of(make_clip("convnext").visual)
    assert [narrow[name].channels for name in MAPS] == [8, 8, 12, 16, 24, 24]


def test_overlapping_stems_count_all_their_strides(clip_config):
    from frozenseg.encoders.clip.weights import load_clip

    vision = {"timm_model_name": "convnext_atto_ols"}
    path = clip_config("convnext", vision=vision, timm_convnext=None)
    visual = load_clip(str(path)).visual
    tower = build_visual_tower(visual)
    shapes, maps = map_shapes(tower, visual), tower.features(torch.randn(1, 3, 64, 64))
    assert shapes["stem"].stride == 4
    assert maps["stem"].shape == (1, shapes["stem"].channels, 16, 16)


@torch.no_grad()
def test_resnet_maps_lead_to_the_models_own_embedding(make_clip):
    visual, images = make_clip("resnet").visual.eval(), torch.randn(2, 3, 64, 64)
    maps = build_visual_tower(visual).features(images)
    torch.testing.assert_close(visual.attnpool(maps["clip_vis_dense"]), visual(images))
    stem = visual.avgpool(maps["stem"])
    torch.testing.assert_close(visual.layer1(stem), maps["res2"])


@torch.no_grad()
def test_convnext_mask_of_the_whole_image_gives_the_models_own_embedding(make_clip):
    visual, images = make_clip("convnext").visual.eval(), torch.randn(2, 3, 64, 96)
    tower = build_visual_tower(visual)
    dense = tower.features(images)["clip_vis_dense"]
    pooled = tower.pool(dense, torch.ones(2, 1, *dense.shape[-2:]))
    torch.testing.assert_close(pooled[:, 0], visual(images), atol=1e-5, rtol=1e-5)


def plain_attention_pool(pool, dense, allowed):
    """One `multi_head_attention_forward` per mask, as CLIP's own pool calls it."""
    size, side = dense.shape[-2:], int((len(pool.positional_embedding) - 1) ** 0.5)
    grid = pool.positional_embedding[1:].T.reshape(1, -1, side, side)
    grid = F.interpolate(grid, size, mode="bilinear", align_corners=False).flatten(2)
    tokens = (dense.flatten(2) + grid).permute(2, 0, 1)
    query = (dense.mean((2, 3)) + pool.positional_embedding[0])[None]
    out = []
    for mask_Bhw in allowed.unbind(1):
        pooled, _ = F.multi_head_attention_forward(
            query=query,
            key=tokens,
            value=tokens,
            embed_dim_to_check=tokens.shape[-1],
            num_heads=pool.num_heads,
            q_proj_weight=pool.q_proj.weight,
            k_proj_weight=pool.k_proj.weight,
            v_proj_weight=pool.v_proj.weight,
            in_proj_weight=None,
            in_proj_bias=torch.cat([pool.q_proj.bias, pool.k_proj.bias, pool.v_proj.bias]),
            bias_k=None,
            bias_v=None,
            add_zero_attn=False,
            dropout_p=0.0,
            out_proj_weight=pool.c_proj.weight,
            out_proj_bias=pool.c_proj.bias,
            use_separate_proj_weight=True,
            training=False,
            need_weights=False,
            key_padding_mask=~mask_Bhw.flatten(1),
        )
        out.append(pooled[0])
    return torch.stack(out, 1)


@torch.no_grad()
@pytest.mark.parametrize("size", [(2, 2), (5, 3), (7, 12)])
def test_attention_pool_is_the_plain_formula(size):
    pool = AttentionPool2d(spacial_dim=2, embed_dim=64, num_heads=4, output_dim=24).eval()
    for parameter in pool.parameters():
        parameter.mul_(1.5)
    dense = torch.randn(3, 64, *size)
    allowed = torch.rand(3, 9, *size) > 0.6
    allowed[..., 0, 0] = True
    expected = plain_attention_pool(pool, dense, allowed)
    assert expected.std() > 0.05
    actual = attention_pool(pool, dense, allowed)
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)


@torch.no_grad()
def test_attention_pool_stays_exact_where_the_allowed_scores_are_far_below_the_best():
    pool = AttentionPool2d(spacial_dim=2, embed_dim=64, num_heads=4).eval().double()
    dense = torch.randn(1, 64, 4, 4).double() * 60
    allowed = torch.eye(16, dtype=torch.bool).reshape(1, 16, 4, 4)
    expected = plain_attention_pool(pool, dense, allowed)
    actual = attention_pool(pool.float(), dense.float(), allowed)
    assert actual.isfinite().all()
    torch.testing.assert_close(actual.double(), expected, atol=1e-3, rtol=1e-3)


@torch.no_grad()
def test_resnet_mask_without_a_positive_cell_attends_everywhere(make_clip):
    tower = build_visual_tower(make_clip("resnet").visual.eval())
    dense = torch.randn(1, 256, 3, 4)
    empty, whole = -torch.ones(1, 1, 3, 4), torch.ones(1, 1, 3, 4)
    pooled = tower.pool(dense, torch.cat([empty, whole], 1))
    assert pooled.isfinite().all()
    torch.testing.assert_close(pooled[:, 0], pooled[:, 1])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("vision", "message"),
    [
        ({"timm_model_name": "resnet18", "timm_pool": "avg", "timm_proj": "linear"}, "ResNet"),
        ({"layers": 1, "width": 64, "patch_size": 32}, "VisionTransformer"),
    ],
)
def test_other_towers_are_refused(make_clip, vision, message):
    config = {"vision": {**vision, "timm_model_name": vision.get("timm_model_name")}}
    model = make_clip("convnext", timm_convnext=None, **config)
    with pytest.raises(ValueError, match=rf"ConvNeXt or a ResNet.*{message}"):
        build_visual_tower(model.visual)


def test_attention_pooled_convnexts_are_refused(make_clip):
    vision = {"timm_pool": "rot_attn", "timm_proj": "", "timm_model_name": "convnext_test_rot"}
    trunk = {"depths": [1, 1, 1, 1], "dims": [4, 4, 4, 64]}
    model = make_clip("convnext", vision=vision, timm_convnext=trunk)
    with pytest.raises(ValueError, match="attention pool"):
        build_visual_tower(model.visual)
