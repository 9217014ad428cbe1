"""The frozen SAM: names, values, frozenness, and service to segment_anything's predictors."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from detectron2.config import CfgNode
from safetensors.torch import save_file
from segment_anything import SamAutomaticMaskGenerator, SamPredictor
from segment_anything.modeling import ImageEncoderViT

from frozenseg.data.miniature.scenes import draw_scene
from frozenseg.encoders.sam.model import FrozenSAM, build_sam, load_sam
from tests.golden_models import write_sam_config

ROOT = Path(__file__).resolve().parents[3]
MINIATURE = str(ROOT / "configs" / "miniature" / "miniature_sam.json")
MINIATURE_WEIGHTS = str(ROOT / "frozenseg" / "weights" / "miniature_sam.safetensors")
SIZE = 256


@pytest.fixture(scope="module")
def miniature() -> FrozenSAM:
    return load_sam(MINIATURE, MINIATURE_WEIGHTS)


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["vit_b", "vit_l", "vit_h", "vit_t"])
def test_full_sizes_have_the_released_names_and_shapes(shared_dir, variant, caplog):
    folder = shared_dir / "state_dict_keys"
    listed = json.loads((folder / f"frozenseg_convnext_large_{variant}.json").read_text())
    expected = {
        name.removeprefix("sam."): row for name, row in listed.items() if name.startswith("sam.")
    }
    sam = load_sam(variant, "no such file.pth", device="meta")
    found = sam.state_dict()
    assert list(found) == list(expected)
    for name, tensor in found.items():
        assert tensor.is_meta
        assert list(tensor.shape) == expected[name]["shape"], name
        assert str(tensor.dtype) == f"torch.{expected[name]['dtype']}", name
    assert (sam.image_size, sam.out_channels, sam.stride) == (1024, 256, 16)
    assert not caplog.records


def test_a_default_device_of_meta_is_respected():
    with torch.device("meta"):
        sam = load_sam("vit_t")
    assert all(tensor.is_meta for tensor in sam.state_dict().values())


@pytest.mark.golden
def test_golden_embeddings(golden_dir, tmp_path):
    folder = golden_dir / "frozenseg_tiny_convnext"
    state = torch.load(folder / "state_dict.pt", weights_only=True)
    state = {name[4:]: tensor for name, tensor in state.items() if name.startswith("sam.")}
    save_file({name: tensor.clone() for name, tensor in state.items()}, tmp_path / "s.safetensors")
    config = str(write_sam_config(folder, tmp_path))
    sam = load_sam(config, str(tmp_path / "s.safetensors"))
    inputs = torch.load(folder / "inputs.pt", weights_only=True)
    recorded = torch.load(folder / "eval.pt", weights_only=True)
    for i in range(2):
        image = inputs[i]["image"].float()
        normalised = (image - sam.pixel_mean) / sam.pixel_std
        height, width = image.shape[1:]
        padded = F.pad(normalised, (0, -width % 32, 0, -height % 32))[None]
        side = sam.image_size
        resized = F.interpolate(padded, (side, side), mode="bilinear", align_corners=False)
        expected = recorded[f"img{i}"]["sam_embedding"]
        torch.testing.assert_close(sam(resized), expected, rtol=0, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", [MINIATURE, "vit_t"])
def test_frozen_in_every_sense(name):
    sam = load_sam(name)
    assert not any(parameter.requires_grad for parameter in sam.parameters())
    before = {key: tensor.clone() for key, tensor in sam.state_dict().items()}
    parent = torch.nn.Sequential(sam).train()
    assert parent.training
    assert not any(module.training for module in sam.modules())
    images = torch.randn(1, 3, 64, 64, requires_grad=True)
    assert not sam(images).requires_grad
    assert all(torch.equal(before[key], tensor) for key, tensor in sam.state_dict().items())


def test_images_of_another_size(miniature):
    out = miniature(torch.randn(2, 3, 160, 320))
    assert out.shape == (2, miniature.out_channels, 10, 20)
    assert out.isfinite().all()


@pytest.mark.slow
def test_the_shipped_miniature_speaks_segment_anythings_language(miniature):
    scene = draw_scene(3, 0)
    image = torch.from_numpy(scene.image).permute(2, 0, 1)
    prepared = miniature.preprocess(image)[None]
    with torch.no_grad():
        expected = ImageEncoderViT.forward(miniature.image_encoder, prepared)
    torch.testing.assert_close(miniature(prepared), expected, rtol=0, atol=1e-4)
    predictor = SamPredictor(miniature)
    predictor.set_image(scene.image)
    torch.testing.assert_close(predictor.features, expected, rtol=0, atol=1e-4)
    masks, scores, _ = predictor.predict(np.array([[100, 90]], np.float32), np.ones(1))
    assert masks.shape == (3, SIZE, SIZE)
    assert masks.any()
    assert scores.shape == (3,)


@pytest.mark.slow
def test_the_automatic_generator(miniature):
    generator = SamAutomaticMaskGenerator(
        miniature,
        points_per_side=4,
        pred_iou_thresh=0.3,
        stability_score_thresh=0.3,
    )
    scene = draw_scene(3, 1)
    masks = generator.generate(scene.image)
    assert masks
    overlaps = [
        np.count_nonzero(m["segmentation"] & (scene.ids == s["id"]))
        / np.count_nonzero(m["segmentation"] | (scene.ids == s["id"]))
        for m in masks
        for s in scene.segments
    ]
    assert max(overlaps) > 0.6


@pytest.mark.slow
@pytest.mark.parametrize("name", [MINIATURE, "vit_t"])
@pytest.mark.parametrize("suffix", ["pth", "safetensors"])
def test_a_file_restores_every_tensor(name, suffix, tmp_path, caplog):
    saved = load_sam(name)
    for tensor in saved.state_dict().values():
        if tensor.is_floating_point():
            tensor.mul_(0.9).add_(0.05 * torch.rand_like(tensor))
    path = tmp_path / f"weights.{suffix}"
    torch.save(saved.state_dict(), path) if suffix == "pth" else save_file(saved.state_dict(), path)
    caplog.clear()
    loaded = load_sam(name, str(path))
    expected = {**saved.state_dict(), **dict(saved.named_buffers())}
    found = {**loaded.state_dict(), **dict(loaded.named_buffers())}
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], expected[key]) for key in expected)
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    assert not caplog.records
    images = torch.randn(1, 3, 64, 64)
    assert saved(images).isfinite().all()
    assert torch.equal(loaded(images), saved(images))


def test_random_weights_are_announced_once(caplog):
    with caplog.at_level(logging.WARNING):
        load_sam(MINIATURE)
    assert len(caplog.records) == 1
    assert "random weights" in caplog.text
    assert "MODEL.SAM_PRETRAINED_WEIGHTS" in caplog.text


@pytest.mark.slow
def test_missing_and_wrong_weights(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.pth.*mobile_sam\.pt.*MobileSAM"):
        load_sam("vit_t", str(tmp_path / "none.pth"))
    with pytest.raises(ValueError, match=r"does not fit SAM vit_t"):
        load_sam("vit_t", MINIATURE_WEIGHTS)


def config(**values: str) -> CfgNode:
    model = {
        "SAM_NAME": MINIATURE,
        "SAM_PRETRAINED_WEIGHTS": MINIATURE_WEIGHTS,
        "SAM_PRECISION": "float32",
        "DEVICE": "cpu",
    }
    return CfgNode({"MODEL": CfgNode({**model, **values})})


@pytest.mark.slow
def test_what_the_config_says_is_built(miniature):
    images = torch.randn(1, 3, SIZE, SIZE)
    expected = miniature(images)
    assert torch.equal(build_sam(config())(images), expected)
    rough = build_sam(config(SAM_PRECISION="bfloat16"))(images)
    assert rough.dtype == torch.float32
    assert 1e-4 < (rough - expected).norm() / expected.norm() < 3e-2
    assert build_sam(config(DEVICE="meta")).image_encoder.pos_embed.is_meta


def test_unknown_precisions_name_the_key():
    with pytest.raises(ValueError, match=r"MODEL.SAM_PRECISION is 'float16'.*float32 or bfloat16"):
        build_sam(config(SAM_PRECISION="float16"))
