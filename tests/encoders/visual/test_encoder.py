from __future__ import annotations

import json
import logging
from pathlib import Path

import huggingface_hub
import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer

from frozenseg.encoders.visual.encoder import (
    VISUAL_ENCODERS,
    VisualEncoderSpec,
    load_visual_encoder,
)

ROOT = Path(__file__).parents[3]
VIT = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 4}
CLIP_VIT = {"layers": 2, "width": 32, "head_width": 16, "patch_size": 8, "image_size": 32}
# Feature channels, patch side and positions of the row's own input size, 224 pixels.
ROWS = {
    "clip-vit-b-16": (512, 16),
    "clip-vit-l-14": (768, 14),
    "clip-rn101": (2048, 32),
    "resnet-101": (2048, 32),
    "dino-vit-b-16": (768, 16),
    "moco-v3-vit-b-16": (768, 16),
}


@pytest.fixture
def vit_config(tmp_path):
    """Writes a {"timm_vit": ...} file: `vit_config(depth=3)`; returns its path as a string."""

    def write(**settings) -> str:
        path = tmp_path / f"vit{len(list(tmp_path.glob('vit*.json')))}.json"
        path.write_text(json.dumps({"timm_vit": {**VIT, **settings}, "note": "pixels in [-1, 1]"}))
        return str(path)

    return write


@pytest.fixture
def vit_weights(tmp_path):
    """A file with random weights, timm's names."""
    torch.manual_seed(3)
    torch.save(VisionTransformer(**VIT, num_classes=0).state_dict(), tmp_path / "vit.pth")
    return str(tmp_path / "vit.pth")


@pytest.mark.slow
@pytest.mark.parametrize("name", VISUAL_ENCODERS)
def test_every_row_builds_without_weights_on_meta(name):
    encoder = load_visual_encoder(name, "no/such/tag" if VISUAL_ENCODERS[name].timm else "", "meta")
    channels, stride = ROWS[name]
    assert (encoder.channels, encoder.stride) == (channels, stride)
    assert {tensor.device.type for tensor in encoder.state_dict().values()} == {"meta"}
    patches = encoder(torch.empty(2, 3, 224, 336, device="meta"))
    assert patches.shape == (2, channels, 224 // stride, 336 // stride)
    with pytest.raises(ValueError, match="meta device"):
        _ = encoder.digest


def test_a_vit_file_is_loaded_and_answers_as_timm(vit_config, vit_weights, caplog):
    encoder = load_visual_encoder(vit_config(), vit_weights)
    reference = VisionTransformer(**VIT, num_classes=0).eval()
    reference.load_state_dict(torch.load(vit_weights, weights_only=True))
    images = torch.randn(2, 3, 32, 32)
    expected = reference.forward_features(images)[:, 1:].transpose(1, 2).unflatten(2, (4, 4))
    torch.testing.assert_close(encoder(images), expected)
    assert not caplog.records


def test_heads_in_a_vit_file_change_nothing(vit_config, vit_weights):
    plain = load_visual_encoder(vit_config(), vit_weights)
    pooled = load_visual_encoder(vit_config(global_pool="avg", num_classes=9), vit_weights)
    assert plain.digest == pooled.digest


def test_a_clip_keeps_its_image_tower_only(clip_config, make_clip, tmp_path):
    settings = {"vision": CLIP_VIT}
    clip = make_clip("resnet", **settings)
    torch.save(clip.state_dict(), tmp_path / "clip.pt")
    encoder = load_visual_encoder(str(clip_config("resnet", **settings)), str(tmp_path / "clip.pt"))
    wanted = dict(clip.visual.named_parameters())
    kept = {name.removeprefix("tower.visual."): p for name, p in encoder.named_parameters()}
    assert kept.keys() == wanted.keys()
    assert all(torch.equal(kept[name], wanted[name]) for name in wanted)


def test_the_miniature_clip_loads():
    encoder = load_visual_encoder(
        str(ROOT / "configs/miniature/miniature_clip.json"),
        str(ROOT / "frozenseg/weights/miniature_clip.safetensors"),
    )
    assert encoder(torch.zeros(1, 3, 256, 256)).shape == (1, encoder.channels, 8, 8)


def test_it_never_changes(vit_config):
    encoder = load_visual_encoder(vit_config(proj_drop_rate=0.5)).train()
    assert not any(module.training for module in encoder.modules())
    assert not any(parameter.requires_grad for parameter in encoder.parameters())
    images = torch.randn(1, 3, 32, 32, requires_grad=True)
    assert not encoder(images).requires_grad
    assert torch.equal(encoder(images), encoder(images))


def test_features_are_float32_under_autocast(vit_config):
    encoder = load_visual_encoder(vit_config())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert encoder(torch.randn(1, 3, 32, 32)).dtype == torch.float32


@pytest.mark.parametrize("kind", ["vit", "convnext", "resnet"])
def test_incomplete_patches_are_not_looked_at(kind, vit_config, clip_config):
    encoder = load_visual_encoder(vit_config() if kind == "vit" else str(clip_config(kind)))
    stride = encoder.stride
    images = torch.randn(1, 3, 2 * stride + 5, 3 * stride - 1)
    patches = encoder(images)
    assert patches.shape == (1, encoder.channels, 2, 2)
    images[..., 2 * stride :, :] = 9
    images[..., 2 * stride :] = 9
    assert torch.equal(encoder(images), patches)


def test_images_smaller_than_a_patch_are_refused(vit_config):
    with pytest.raises(ValueError, match=r"7 x 40 pixels .* \(8 x 8\)"):
        load_visual_encoder(vit_config())(torch.zeros(1, 3, 7, 40))


def test_digest_follows_weights_and_architecture(vit_config, vit_weights, tmp_path):
    encoder = load_visual_encoder(vit_config(), vit_weights)
    same = load_visual_encoder(vit_config(), vit_weights)
    assert encoder.digest == same.digest
    other = load_visual_encoder(vit_config(num_heads=8), vit_weights)
    assert other.digest != encoder.digest
    with torch.no_grad():
        same.tower.visual.norm.bias[0] += 1e-6
    assert same.digest != encoder.digest


def test_random_weights_are_announced_once(vit_config, caplog):
    with caplog.at_level(logging.WARNING):
        load_visual_encoder(vit_config())
    assert len(caplog.records) == 1
    assert "random weights" in caplog.text


def test_unknown_names_get_a_hint():
    with pytest.raises(ValueError, match=r"'dino-vit-b16': did you mean dino-vit-b-16.*clip-rn101"):
        load_visual_encoder("dino-vit-b16")


@pytest.mark.parametrize("name", ["resnet-101", "dino-vit-b-16", "moco-v3-vit-b-16"])
def test_missing_weights_say_where_to_get_them(name):
    with pytest.raises(FileNotFoundError, match=rf"{name} not found: gone.pth. Get it from https"):
        load_visual_encoder(name, "gone.pth")


def test_timm_publishes_no_moco():
    with pytest.raises(ValueError, match=r"moco-v3-vit-b-16; get them from https.*the file"):
        load_visual_encoder("moco-v3-vit-b-16", "timm")
    with pytest.raises(FileNotFoundError, match=r"missing\.json"):
        load_visual_encoder("missing.json")


def test_a_failed_download_tells_the_way_out(monkeypatch):
    def refuse(repository, file, revision):
        assert (repository, file) == ("timm/vit_base_patch16_224.dino", "model.safetensors")
        raise OSError("no network in tests")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    with pytest.raises(ConnectionError, match=r"dino-vit-b-16.*cannot be reached.*dino_vitbase16"):
        load_visual_encoder("dino-vit-b-16", "timm")


def test_timms_published_file_is_checked_and_loaded(monkeypatch, tmp_path):
    row = VisualEncoderSpec(timm="resnet10t", timm_tag="resnet10t.c3_in1k")
    monkeypatch.setitem(VISUAL_ENCODERS, "resnet-101", row)
    torch.manual_seed(0)
    saved = timm.create_model("resnet10t").eval()
    path = tmp_path / "model.safetensors"
    save_file(saved.state_dict(), path)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *_, **options: str(path))
    images = torch.randn(1, 3, 64, 64)
    patches = load_visual_encoder("resnet-101", "timm")(images)
    torch.testing.assert_close(patches, saved.forward_features(images))
    with path.open("ab") as file:
        file.write(b"x")
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged or was replaced"):
        load_visual_encoder("resnet-101", "timm")


def test_a_local_file_fills_a_row_of_the_table(monkeypatch, tmp_path):
    monkeypatch.setitem(VISUAL_ENCODERS, "resnet-101", VisualEncoderSpec(timm="resnet10t"))
    torch.manual_seed(0)
    saved = timm.create_model("resnet10t", num_classes=3).eval()
    torch.save(saved.state_dict(), tmp_path / "resnet.pth")
    images = torch.randn(1, 3, 64, 64)
    patches = load_visual_encoder("resnet-101", str(tmp_path / "resnet.pth"))(images)
    torch.testing.assert_close(patches, saved.forward_features(images))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not valid JSON"),
        ('{"timm_vit": 3}', "timm_vit is 3"),
        ('{"timm_vit": {"embed_dm": 3}}', "timm_vit: .*embed_dm"),
        ('{"timm_vit": {"embed_dim": 30, "num_heads": 4}}', "timm_vit: cannot build"),
        ("{}", "missing embed_dim, vision_cfg, text_cfg"),
    ],
)
def test_bad_configurations_are_named(tmp_path, content, message):
    path = tmp_path / "bad.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=rf"bad.json.*{message}"):
        load_visual_encoder(str(path))
