"""MobileSAM's names on timm's TinyViT."""

from __future__ import annotations

import re

import pytest
import torch
from timm.models.tiny_vit import TinyVit
from torch import nn

from frozenseg.encoders.sam.tiny_vit import TinyVitEncoder

SIZES = {"depths": (1, 2, 1, 1), "window_sizes": (3, 3, 5, 3)}
DIMS, HEADS = (8, 16, 24, 32), (1, 2, 3, 4)


def randomise(module: nn.Module) -> nn.Module:
    for name, tensor in module.state_dict().items():
        if name.endswith("running_var"):
            tensor.uniform_(0.5, 1.5)
        elif tensor.is_floating_point():
            tensor.normal_(std=0.4)
    return module.eval().requires_grad_(False)


@pytest.fixture
def encoder() -> TinyVitEncoder:
    return randomise(
        TinyVitEncoder(image_size=128, dims=DIMS, heads=HEADS, out_channels=16, **SIZES)
    )


def timms_name(name: str) -> str:
    """What timm calls a parameter of MobileSAM's trunk."""
    name = re.sub(r"^patch_embed\.seq\.(\d)", lambda m: f"patch_embed.conv{m[1]}", name)
    name = name.replace("patch_embed.conv0", "patch_embed.conv1")
    name = re.sub(
        r"^layers\.(\d)\.downsample", lambda m: f"stages.{int(m[1]) + 1}.downsample", name
    )
    return re.sub(r"\.c\.", ".conv.", name).replace("layers.", "stages.")


def timms(encoder: TinyVitEncoder) -> TinyVit:
    """timm's model with the encoder's weights; its last stage keeps the resolution."""
    model = TinyVit(
        num_classes=0, embed_dims=DIMS, num_heads=HEADS, drop_path_rate=0.0, **SIZES
    ).eval()
    state = encoder.state_dict().items()
    trunk = {timms_name(name): t for name, t in state if not name.startswith("neck.")}
    missing, unexpected = model.load_state_dict(trunk, strict=False)
    assert not unexpected
    assert all(name.startswith("head.") for name in missing)
    model.stages[3].downsample.conv2.conv.stride = (1, 1)
    return model


@pytest.mark.parametrize("size", [(64, 64), (96, 48), (16, 32)])
def test_it_is_timms_model_with_a_neck(encoder, size):
    images = torch.randn(2, 3, *size)
    with torch.no_grad():
        expected = encoder.neck(timms(encoder).forward_intermediates(images)[0])
        found = encoder(images)
    assert found.shape == (2, 16, size[0] // 16, size[1] // 16)
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


def test_sides_must_be_multiples_of_16(encoder):
    with pytest.raises(ValueError, match=r"64 x 72 pixels.*multiples of 16"):
        encoder(torch.zeros(1, 3, 64, 72))


def test_weights_loaded_after_a_forward_count(encoder):
    """timm caches the biases of its windows; a cache of old weights would be used silently."""
    images = torch.randn(1, 3, 64, 64)
    before = encoder(images)
    state = {name: tensor.clone() for name, tensor in encoder.state_dict().items()}
    biases = [name for name in state if name.endswith("attention_biases")]
    assert len(biases) == 4
    for name in biases:
        state[name].normal_()
    encoder.load_state_dict(state)
    after = encoder(images)
    assert (after - before).abs().max() > 1e-3
    fresh = TinyVitEncoder(image_size=128, dims=DIMS, heads=HEADS, out_channels=16, **SIZES).eval()
    fresh.load_state_dict(state)
    with torch.no_grad():
        assert torch.equal(fresh(images), after)


def test_bfloat16_is_near_and_comes_back_as_float32(encoder):
    images = torch.randn(1, 3, 64, 64)
    expected = encoder(images)
    encoder.precision = "bfloat16"
    found = encoder(images)
    assert found.dtype == torch.float32
    assert 1e-4 < (found - expected).norm() / expected.norm() < 5e-2
