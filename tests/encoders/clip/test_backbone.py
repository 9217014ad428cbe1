from __future__ import annotations

import copy
import json
import math

import pytest
import torch
import torch.nn.functional as F
from detectron2.config import CfgNode
from detectron2.modeling import build_backbone

from frozenseg.config import get_config
from frozenseg.encoders import frozen
from frozenseg.encoders.clip.backbone import FrozenCLIP
from frozenseg.encoders.clip.weights import load_clip
from tests.golden_models import load_golden_clip, network_input

KINDS = pytest.mark.parametrize("kind", ["resnet", "convnext"])


@KINDS
def test_nothing_ever_trains(make_clip, kind):
    backbone = FrozenCLIP(make_clip(kind))
    before = copy.deepcopy(backbone.state_dict())
    holder = torch.nn.Sequential(backbone).train()
    assert holder.training
    assert not any(module.training for module in backbone.modules())
    assert not any(parameter.requires_grad for parameter in backbone.parameters())
    images = torch.randn(2, 3, 64, 64, requires_grad=True)
    maps = backbone(images)
    embeddings, _ = backbone.pool_masks(
        maps["clip_vis_dense"], torch.randn(2, 3, 16, 16, requires_grad=True)
    )
    assert not any(tensor.requires_grad for tensor in (*maps.values(), embeddings))
    assert all(torch.equal(before[name], value) for name, value in backbone.state_dict().items())


@KINDS
def test_parameters_have_the_released_names(make_clip, kind):
    model = make_clip(kind)
    names = [f"clip_model.{name}" for name in model.state_dict()]
    assert list(FrozenCLIP(model).state_dict()) == names


@KINDS
def test_channels_last_gives_the_same_maps(make_clip, kind):
    plain = copy.deepcopy(make_clip(kind)).visual.eval()
    backbone, images = FrozenCLIP(make_clip(kind)), torch.randn(1, 3, 96, 64)
    maps = backbone(images)
    assert maps["res2"].is_contiguous(memory_format=torch.channels_last)
    with torch.no_grad():
        if kind == "resnet":
            expected = plain.layer4(plain.layer3(plain.layer2(plain.layer1(plain.stem(images)))))
        else:
            expected = plain.trunk.forward_features(images)
    torch.testing.assert_close(maps["clip_vis_dense"], expected, atol=1e-4, rtol=1e-4)


@KINDS
def test_bfloat16_is_near_and_comes_back_as_float32(make_clip, kind, monkeypatch):
    backbone, images = FrozenCLIP(make_clip(kind)), torch.randn(1, 3, 64, 64)
    digests, maps = [], []
    for precision, processor_has_it in (("float32", True), ("auto", False), ("auto", True)):
        monkeypatch.setattr(frozen, "_CPU_MULTIPLIES_BFLOAT16", processor_has_it)
        backbone.precision = precision
        digests.append(backbone.text.digest)
        words = backbone.text.encode(*backbone.text.tokenize(["a cat"]))
        maps.append({**backbone(images), "words": words})
    exact, same, rough = maps
    assert digests[0] == digests[1] != digests[2]
    for name, expected in exact.items():
        assert torch.equal(same[name], expected)
        assert rough[name].dtype == torch.float32
        error = (rough[name] - expected).norm() / expected.norm()
        assert 1e-4 < error < 5e-2, name


def test_unknown_precisions_name_the_key(make_cfg):
    with pytest.raises(ValueError, match=r"FC_CLIP.CLIP_PRECISION is 'float16'.*float32 or bfloat"):
        build_backbone(make_cfg(CLIP_PRECISION="float16"))


@KINDS
def test_output_shape_and_divisibility(make_clip, kind):
    backbone = FrozenCLIP(make_clip(kind))
    maps = backbone(torch.randn(1, 3, 32, 64))
    assert {name: shape.channels for name, shape in backbone.output_shape().items()} == {
        name: tensor.shape[1] for name, tensor in maps.items()
    }
    assert backbone.size_divisibility == 32
    assert backbone.embed_dim == 16


@KINDS
def test_masks_are_resized_to_the_map_and_judged_there(make_clip, kind):
    backbone = FrozenCLIP(make_clip(kind))
    dense = backbone(torch.randn(2, 3, 96, 128))["clip_vis_dense"]
    masks = torch.randn(2, 6, 24, 32) - 0.3
    masks[:, 0] = -1
    masks[:, 1] = -1
    masks[:, 1, 0, 0] = 0.5  # positive at its own size, negative once resized to the map
    resized = F.interpolate(masks, dense.shape[-2:], mode="bilinear", align_corners=False)
    embeddings, valid = backbone.pool_masks(dense, masks)
    expected, expected_valid = backbone.pool_masks(dense, resized)
    torch.testing.assert_close(embeddings, expected)
    assert embeddings.shape == (2, 6, 16)
    assert valid.dtype == torch.bool
    assert torch.equal(valid, expected_valid)
    assert valid.tolist() == [[False, False, True, True, True, True]] * 2
    assert embeddings.isfinite().all()


@KINDS
def test_masks_are_judged_one_by_one(make_clip, kind):
    backbone = FrozenCLIP(make_clip(kind))
    dense, masks = (
        torch.randn(2, backbone.output_shape()["res5"].channels, 4, 5),
        torch.randn(2, 7, 4, 5),
    )
    embeddings, valid = backbone.pool_masks(dense, masks)
    order = torch.randperm(7)
    permuted, permuted_valid = backbone.pool_masks(dense, masks[:, order])
    torch.testing.assert_close(permuted, embeddings[:, order], atol=1e-5, rtol=1e-4)
    assert torch.equal(permuted_valid, valid[:, order])
    alone, _ = backbone.pool_masks(dense[1:], masks[1:, 3:4])
    torch.testing.assert_close(alone[0], embeddings[1, 3:4], atol=1e-5, rtol=1e-4)
    scaled, _ = backbone.pool_masks(dense, masks * 9)  # only the sign of a logit counts
    torch.testing.assert_close(scaled, embeddings)


@KINDS
def test_no_masks_give_no_embeddings(make_clip, kind):
    backbone = FrozenCLIP(make_clip(kind))
    dense = torch.randn(2, backbone.output_shape()["res5"].channels, 2, 3)
    embeddings, valid = backbone.pool_masks(dense, torch.zeros(2, 0, 8, 12))
    assert embeddings.shape == (2, 0, 16)
    assert valid.shape == (2, 0)


def test_logit_scale_is_the_clamped_exponential(make_clip):
    backbone = FrozenCLIP(make_clip("resnet"))
    for raw, scale in ((math.log(20), 20), (9.0, 100)):
        backbone.clip_model.logit_scale.fill_(raw)
        torch.testing.assert_close(backbone.logit_scale, torch.tensor(float(scale)))
    assert backbone.logit_scale.shape == ()


@pytest.fixture
def make_cfg(clip_config):
    def make(architecture="FCCLIP", section="FC_CLIP", **values):
        cfg = get_config()
        cfg.MODEL.DEVICE = "cpu"
        cfg.MODEL.BACKBONE.NAME = "CLIP"
        cfg.MODEL.META_ARCHITECTURE = architecture
        node = {
            "CLIP_MODEL_NAME": str(clip_config("resnet")),
            "CLIP_PRETRAINED_WEIGHTS": "",
            "EMBED_DIM": 16,
            "CLIP_PRECISION": "float32",
        }
        cfg.MODEL[section] = CfgNode({**node, **values})
        return cfg

    return make


@pytest.mark.parametrize(
    ("architecture", "section"), [("FCCLIP", "FC_CLIP"), ("FrozenSeg", "FROZEN_SEG")]
)
def test_the_registry_builds_it_from_the_section_of_the_architecture(
    make_cfg, architecture, section
):
    backbone = build_backbone(make_cfg(architecture, section))
    assert isinstance(backbone, FrozenCLIP)
    assert backbone.output_shape()["res5"].channels == 256


def test_weights_of_the_config_are_loaded(make_cfg, make_clip, tmp_path):
    model = make_clip("resnet")
    torch.save(model.state_dict(), tmp_path / "weights.pt")
    backbone = build_backbone(make_cfg(CLIP_PRETRAINED_WEIGHTS=str(tmp_path / "weights.pt")))
    assert torch.equal(backbone.clip_model.text_projection, model.text_projection)


def test_wrong_embed_dim_names_key_and_remedy(make_cfg):
    with pytest.raises(ValueError, match=r"MODEL\.FC_CLIP\.EMBED_DIM is 768.*set it to 16"):
        build_backbone(make_cfg(EMBED_DIM=768))


def test_other_architectures_are_refused(make_cfg):
    with pytest.raises(ValueError, match=r"META_ARCHITECTURE is 'GeneralizedRCNN'.*FCCLIP"):
        build_backbone(make_cfg("GeneralizedRCNN"))


def test_meta_device_of_the_config_builds_names_only(make_cfg):
    cfg = make_cfg(CLIP_MODEL_NAME="RN50", CLIP_PRETRAINED_WEIGHTS="openai", EMBED_DIM=1024)
    cfg.MODEL.DEVICE = "meta"
    assert build_backbone(cfg).logit_scale.is_meta


@pytest.mark.slow
@pytest.mark.parametrize(
    ("file", "name"),
    [
        ("fcclip_r50", "RN50"),
        ("fcclip_r101", "RN101"),
        ("fcclip_r50x4", "RN50x4"),
        ("fcclip_r50x64", "RN50x64"),
        ("fcclip_convnext_large", "convnext_large_d_320"),
    ],
)
@pytest.mark.golden
def test_full_sizes_have_the_released_names_and_shapes(shared_dir, file, name):
    released = json.loads((shared_dir / "state_dict_keys" / f"{file}.json").read_text())
    released = released.get("keys", released)
    expected = {
        key.removeprefix("backbone."): list(entry["shape"])
        for key, entry in released.items()
        if key.startswith("backbone.")
    }
    state = FrozenCLIP(load_clip(name, device="meta")).state_dict()
    assert {key: list(value.shape) for key, value in state.items()} == expected


@pytest.mark.golden
@pytest.mark.parametrize("image", [0, 1])
def test_golden_maps_and_mask_embeddings(golden_dir, tmp_path, image):
    folder = golden_dir / "fcclip_tiny_convnext"
    backbone = load_golden_clip(folder, tmp_path)
    recorded = torch.load(folder / "eval.pt", weights_only=True)[f"img{image}"]
    inputs = torch.load(folder / "inputs.pt", weights_only=True)[image]
    maps = backbone(network_input(folder, inputs["image"]))
    assert maps.keys() == recorded["clip_features"].keys()
    for name, expected in recorded["clip_features"].items():
        torch.testing.assert_close(maps[name], expected, atol=1e-4, rtol=1e-4, msg=name)
    embeddings, _ = backbone.pool_masks(maps["clip_vis_dense"], recorded["pred_masks"])
    torch.testing.assert_close(embeddings, recorded["pooled_clip_feature"], atol=1e-5, rtol=1e-4)


@pytest.mark.golden
def test_golden_mask_embeddings_of_a_batch(golden_dir, tmp_path):
    folder = golden_dir / "fcclip_tiny_convnext"
    backbone = load_golden_clip(folder, tmp_path)
    recorded = torch.load(folder / "eval.pt", weights_only=True)["batch"]
    images = [
        network_input(folder, entry["image"])
        for entry in torch.load(folder / "inputs.pt", weights_only=True)
    ]
    size = [max(image.shape[axis] for image in images) for axis in (2, 3)]
    batch = torch.cat(
        [F.pad(x, (0, size[1] - x.shape[3], 0, size[0] - x.shape[2])) for x in images]
    )
    embeddings, _ = backbone.pool_masks(backbone(batch)["clip_vis_dense"], recorded["pred_masks"])
    torch.testing.assert_close(embeddings, recorded["pooled_clip_feature"], atol=1e-5, rtol=1e-4)
