"""Weight files in the layouts in which DINO, MoCo v3, torchvision and timm publish them."""

from __future__ import annotations

import math

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from frozenseg.encoders.visual.timm_weights import load_timm_weights, sine_positions


def build_vit(**settings) -> VisionTransformer:
    sizes = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 2, "num_heads": 2}
    return VisionTransformer(**sizes, num_classes=0, global_pool="", **settings)


def trained(seed: int) -> dict[str, Tensor]:
    """Released names: those of the authors' VisionTransformer, which timm's follow."""
    generator = torch.Generator().manual_seed(seed)
    state = {
        "cls_token": (1, 1, 16),
        "pos_embed": (1, 17, 16),
        "patch_embed.proj.weight": (16, 3, 8, 8),
        "patch_embed.proj.bias": (16,),
        "norm.weight": (16,),
        "norm.bias": (16,),
    }
    for block in ("blocks.0.", "blocks.1."):
        for norm in ("norm1", "norm2"):
            state |= {f"{block}{norm}.weight": (16,), f"{block}{norm}.bias": (16,)}
        for layer, out, into in [
            ("attn.qkv", 48, 16),
            ("attn.proj", 16, 16),
            ("mlp.fc1", 64, 16),
            ("mlp.fc2", 16, 64),
        ]:
            state |= {f"{block}{layer}.weight": (out, into), f"{block}{layer}.bias": (out,)}
    return {name: torch.randn(shape, generator=generator) for name, shape in state.items()}


def check_loaded(model: nn.Module, expected: dict[str, Tensor]) -> None:
    actual = model.state_dict()
    assert actual.keys() == expected.keys()
    assert all(torch.equal(actual[name], expected[name]) for name in expected)


def test_dinos_released_backbone(tmp_path):
    torch.save(trained(0), tmp_path / "dino.pth")
    model = build_vit()
    load_timm_weights(model, tmp_path / "dino.pth", label="dino")
    check_loaded(model, trained(0))


def test_timms_file_with_a_classifier(tmp_path):
    head = {"head.weight": torch.ones(5, 16), "head.bias": torch.ones(5)}
    save_file(trained(0) | head, tmp_path / "timm.safetensors")
    model = build_vit()
    load_timm_weights(model, tmp_path / "timm.safetensors", label="vit")
    check_loaded(model, trained(0))


def moco_file(path, *, positions: bool):
    """What MoCo v3's training saves: base encoder, momentum encoder, predictor, optimizer."""
    state = {}
    for encoder, seed in (("base_encoder", 0), ("momentum_encoder", 1)):
        weights = trained(seed)
        if not positions:
            del weights["pos_embed"]
        state |= {f"module.{encoder}.{name}": tensor for name, tensor in weights.items()}
        state[f"module.{encoder}.head.0.weight"] = torch.ones(32, 16)
    state["module.predictor.0.weight"] = torch.ones(8, 32)
    optimizer = {"state": {0: {"step": 3}}, "param_groups": [{"lr": 0.1, "params": [0]}]}
    content = {"epoch": 300, "arch": "vit_base", "state_dict": state, "optimizer": optimizer}
    torch.save(content, path)
    return path


@pytest.mark.parametrize("positions", [True, False])
def test_moco_v3s_released_file(tmp_path, positions):
    path = moco_file(tmp_path / "vit-b-300ep.pth.tar", positions=positions)
    model = build_vit()
    load_timm_weights(model, path, label="moco")
    expected = trained(0)
    if not positions:
        expected["pos_embed"] = sine_positions(model)
    check_loaded(model, expected)


def test_positions_are_missed_in_any_other_file(tmp_path):
    state = trained(0)
    del state["pos_embed"]
    torch.save(state, tmp_path / "dino.pth")
    with pytest.raises(
        ValueError, match=r"dino.pth do not fit .* dino: .*1 missing, first pos_emb"
    ):
        load_timm_weights(build_vit(), tmp_path / "dino.pth", label="dino")


def test_sine_positions_by_hand():
    table = sine_positions(build_vit())[0]
    assert table.shape == (17, 16)
    assert torch.equal(table[0], torch.zeros(16))  # the class token
    row, column = 2, 3
    frequencies = [1.0, 0.1, 0.01, 0.001]  # 10000^(-4i/16)
    expected = [
        function(place * frequency)
        for place in (row, column)
        for function in (math.sin, math.cos)
        for frequency in frequencies
    ]
    torch.testing.assert_close(table[1 + row * 4 + column], torch.tensor(expected))
    assert sine_positions(build_vit(no_embed_class=True)).shape == (1, 16, 16)
    assert torch.equal(sine_positions(build_vit(class_token=False))[0], table[1:])


@pytest.mark.slow
def test_torchvisions_resnet(tmp_path):
    torch.manual_seed(0)
    saved = timm.create_model("resnet10t", num_classes=7)
    state = {
        name: tensor
        for name, tensor in saved.state_dict().items()
        if not name.endswith("num_batches_tracked")  # as in torchvision's older files
    }
    assert "fc.weight" in state
    torch.save(state, tmp_path / "resnet.pth")
    model = timm.create_model("resnet10t", num_classes=0, global_pool="")
    load_timm_weights(model, tmp_path / "resnet.pth", label="resnet")
    loaded = model.state_dict()
    kept = {name for name in state if not name.startswith("fc.")}
    assert kept == {name for name in loaded if not name.endswith("num_batches_tracked")}
    assert all(torch.equal(loaded[name], state[name]) for name in kept)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s.pop("norm.bias"), "1 missing, first norm.bias"),
        (lambda s: s.update({"norm9.bias": torch.ones(2)}), "1 unexpected, first norm9.bias"),
        (
            lambda s: s.update({"pos_embed": torch.ones(1, 5, 16)}),
            r"pos_embed \(\[1, 5, 16\] in the file, \[1, 17, 16\] in the model\)",
        ),
    ],
)
def test_other_weights_are_refused(tmp_path, change, message):
    state = trained(0)
    change(state)
    torch.save(state, tmp_path / "other.pth")
    with pytest.raises(ValueError, match=message):
        load_timm_weights(build_vit(), tmp_path / "other.pth", label="vit")


def test_half_precision_files_fill_float32_models(tmp_path):
    save_file(
        {name: tensor.half() for name, tensor in trained(0).items()}, tmp_path / "h.safetensors"
    )
    model = build_vit()
    load_timm_weights(model, tmp_path / "h.safetensors", label="vit")
    check_loaded(model, {name: tensor.half().float() for name, tensor in trained(0).items()})
