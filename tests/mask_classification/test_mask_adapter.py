"""Mask-Adapter: the released numbers, and the fused, chunked form against the formula."""

from __future__ import annotations

import json

import pytest
import torch
import torch.nn.functional as F
from torch.utils._python_dispatch import TorchDispatchMode

from frozenseg.mask_classification.mask_adapter import MaskAdapter, embed_by_maps, pool_by_maps


class LargestTensor(TorchDispatchMode):
    """Remembers the largest tensor that an operation made, in bytes."""

    nbytes = 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for tensor in out if isinstance(out, (tuple, list)) else [out]:
            if isinstance(tensor, torch.Tensor):
                self.nbytes = max(self.nbytes, tensor.untyped_storage().nbytes())
        return out


def small_adapter(seed: int = 0, **options) -> MaskAdapter:
    """K 12, D 8, M 3; every parameter drawn, so that no part of the network is silent."""
    torch.manual_seed(seed)
    adapter = MaskAdapter(12, mask_in_channels=8, num_channels=8, num_output_maps=3, **options)
    with torch.no_grad():
        for parameter in adapter.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape))
    return adapter


def directly(adapter: MaskAdapter, dense_BKhw, masks_BNHW):
    """The forward pass as it is defined, channels first, one copy of the embedding per mask."""
    p = dict(adapter.named_parameters())

    def norm(x, name, eps=1e-6):
        mean, variance = x.mean(1, keepdim=True), x.var(1, unbiased=False, keepdim=True)
        weight, bias = (p[f"{name}.{kind}"][:, None, None] for kind in ("weight", "bias"))
        return (x - mean) / (variance + eps).sqrt() * weight + bias

    def conv(x, name, **options):
        return F.conv2d(x, p[f"{name}.weight"], p[f"{name}.bias"], **options)

    batch, number = masks_BNHW.shape[:2]
    height, width = dense_BKhw.shape[-2:]
    masks = F.interpolate(masks_BNHW.float(), (4 * height, 4 * width), mode="bilinear")
    x = masks.flatten(0, 1)[:, None]
    for index in (0, 3):
        x = conv(x, f"mask_downscaling.{index}", stride=2, padding=1)
        x = F.gelu(norm(x, f"mask_downscaling.{index + 1}"))
    x = conv(x, "mask_downscaling.6") + dense_BKhw.repeat_interleave(number, 0)
    x = conv(x, "fuse")
    for name in ("cnext1", "cnext2", "cnext3"):
        y = norm(conv(x, f"{name}.dwconv", padding=3, groups=x.shape[1]), f"{name}.norm")
        y = F.gelu(conv_1x1(y, p, f"{name}.pwconv1"))
        x = x + p[f"{name}.gamma"][:, None, None] * conv_1x1(y, p, f"{name}.pwconv2")
    return conv(norm(x, "norm", 1e-5), "final").view(batch, number, -1, height, width)


def conv_1x1(x, p, name):
    return F.conv2d(x, p[f"{name}.weight"][:, :, None, None], p[f"{name}.bias"])


def objects(size=(40, 56)):
    """(2, 6, H, W): empty, full, one pixel, two boxes, a chessboard (none of it uniform)."""
    masks = torch.zeros(2, 6, *size, dtype=torch.bool)
    masks[:, 1] = True
    masks[:, 2, 3, 5] = True
    masks[:, 3, 4:18, 4:20] = True
    masks[:, 4, :, 30:] = True
    masks[:, 5] = (torch.arange(size[0])[:, None] + torch.arange(size[1])) % 2 == 0
    masks[1] = masks[1].flip(-1)
    return masks


def test_equals_the_formula_with_and_without_gradients():
    adapter, dense = small_adapter(), torch.randn(2, 12, 20, 28)
    expected = directly(adapter, dense, objects())
    torch.testing.assert_close(adapter(dense, objects()), expected, atol=2e-5, rtol=1e-4)
    with torch.no_grad():
        for max_bytes in (60_000, 300_000, 2**28):  # one mask at a time, several, all
            maps = adapter(dense, objects(), max_bytes=max_bytes)
            torch.testing.assert_close(maps, expected, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("use_checkpoint", [False, True])
def test_gradients_equal_those_of_the_formula(use_checkpoint):
    adapter, weights = small_adapter(use_checkpoint=use_checkpoint), torch.randn(2, 6, 3, 5, 7)
    dense, masks = torch.randn(2, 12, 5, 7), torch.rand(2, 6, 33, 41)
    gradients = []
    for maps in (adapter(dense, masks), directly(adapter, dense, masks)):
        gradients.append(torch.autograd.grad((maps * weights).sum(), list(adapter.parameters())))
    for found, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(found, expected, atol=2e-4, rtol=1e-3)


@torch.no_grad()
def test_rows_where_masks_look_alike_are_computed_once(monkeypatch):
    adapter, dense = small_adapter(), torch.randn(1, 12, 24, 24)
    rows = []
    for block in (adapter.cnext1, adapter.cnext2, adapter.cnext3):
        perceptron = block._perceptron
        monkeypatch.setattr(
            block, "_perceptron", lambda x, f=perceptron: rows.append(len(x)) or f(x)
        )
    adapter(dense, torch.zeros(1, 9, 96, 96))
    assert rows == [24 * 24] * 3
    rows.clear()
    small = torch.zeros(1, 9, 96, 96)
    small[:, 1:, 47:49, 47:49] = 1  # cells 11 and 12 see it, and 3 more per side with each block
    adapter(dense, small)
    assert rows == [24 * 24 + 8 * side**2 for side in (8, 14, 20)]


def test_no_masks_one_cell_and_any_dtype():
    adapter = small_adapter()
    assert adapter(torch.randn(2, 12, 5, 7), torch.zeros(2, 0, 9, 9)).shape == (2, 0, 3, 5, 7)
    features, head = torch.randn(2, 16, 5, 7), torch.nn.Linear(16, 4)
    with torch.no_grad():
        assert embed_by_maps(features, torch.zeros(2, 0, 3, 5, 7), head).shape == (2, 0, 4)
        dense, masks = torch.randn(1, 12, 1, 1), torch.ones(1, 2, 1, 1)
        maps = adapter(dense, masks)
        torch.testing.assert_close(maps, directly(adapter, dense, masks), atol=2e-5, rtol=1e-4)
        for dtype in (torch.bool, torch.uint8, torch.float16, torch.float64):
            assert torch.equal(adapter(dense, masks.to(dtype)), maps)


@torch.no_grad()
def test_memory_is_bounded_whatever_the_number_of_masks():
    adapter, dense = small_adapter(), torch.randn(1, 12, 8, 8)
    features, head = torch.randn(1, 16, 8, 8), torch.nn.Linear(16, 4)
    masks = torch.rand(1, 400, 32, 32) > 0.5
    bound = 2**20  # of a chunk; the result itself is 400 x 3 x 64 floats
    with LargestTensor() as largest:
        maps = adapter(dense, masks, max_bytes=bound)
        embed_by_maps(features, maps, head, max_bytes=bound)
    assert largest.nbytes <= bound
    with LargestTensor() as largest:
        directly(adapter, dense, masks)
    assert largest.nbytes > 2 * bound


def test_pooling_stays_finite_where_every_sigmoid_underflows():
    features = torch.randn(1, 6, 3, 4)
    maps = torch.randn(1, 2, 5, 3, 4)
    weights = maps.sigmoid().flatten(3)
    expected = (weights / weights.sum(-1, keepdim=True)) @ features.flatten(2).transpose(1, 2)[None]
    torch.testing.assert_close(pool_by_maps(features, maps), expected)
    torch.testing.assert_close(  # far below zero log sigmoid(x) is x
        pool_by_maps(features, maps - 1e3),
        maps.flatten(3).softmax(-1) @ features.flatten(2).transpose(1, 2)[None],
        atol=1e-4,
        rtol=1e-3,
    )


def test_the_embedding_is_the_mean_after_a_head_that_is_not_linear():
    features, maps = torch.randn(2, 6, 3, 4), torch.randn(2, 3, 5, 3, 4)
    expected = pool_by_maps(features, maps).relu().mean(2)
    torch.testing.assert_close(embed_by_maps(features, maps, torch.relu), expected)
    with torch.no_grad():
        chunked = embed_by_maps(features, maps, torch.relu, max_bytes=1)
    torch.testing.assert_close(chunked, expected)


def test_mask_channels_must_be_a_multiple_of_four():
    with pytest.raises(ValueError, match=r"MASK_IN_CHANNELS is 6"):
        MaskAdapter(12, mask_in_channels=6)


@pytest.mark.golden
@pytest.mark.parametrize("size", ["large", "base"])
def test_names_shapes_and_first_values_are_the_released_ones(shared_dir, size):
    name = {
        "large": "mask_adapter_fcclip_convnext_large",
        "base": "mask_adapter_maftplus_convnext_base",
    }[size]
    keys = json.loads((shared_dir / f"state_dict_keys/{name}.json").read_text())
    expected = {
        key.removeprefix("mask_adapter."): tuple(value["shape"])
        for key, value in keys.items()
        if key.startswith("mask_adapter.")
    }
    adapter = MaskAdapter({"large": 768, "base": 640}[size])
    assert {key: tuple(v.shape) for key, v in adapter.state_dict().items()} == expected
    assert len(expected) == 43
    for block in (adapter.cnext1, adapter.cnext2, adapter.cnext3):
        assert (block.gamma == 1e-6).all()
    decayed = [
        key
        for owner, module in adapter.named_modules()
        if not isinstance(module, torch.nn.LayerNorm)
        for key, _ in module.named_parameters(prefix=owner, recurse=False)
    ]
    assert len(decayed) == 41


@pytest.fixture(scope="module")
def golden_head(golden_dir):
    return torch.load(golden_dir / "mask_adapter_tiny/head.pt", weights_only=True)


@pytest.fixture(scope="module")
def golden_adapter(golden_dir):
    state = torch.load(golden_dir / "mask_adapter_tiny/adapter_state_dict.pt", weights_only=True)
    adapter = MaskAdapter(32, num_channels=24, num_output_maps=4)
    adapter.load_state_dict({k.removeprefix("mask_adapter."): v for k, v in state.items()})
    return adapter


def clip_head(weights):
    """What follows ConvNeXt-L's pooling: layer norm, then a perceptron with GELU."""

    def head(rows):
        norm = [weights[f"trunk.head.norm.{kind}"] for kind in ("weight", "bias")]
        rows = F.layer_norm(rows, rows.shape[-1:], *norm, eps=1e-6)
        hidden = F.linear(rows, weights["head.mlp.fc1.weight"], weights["head.mlp.fc1.bias"])
        return F.linear(F.gelu(hidden), weights["head.mlp.fc2.weight"])

    return head


@pytest.mark.golden
@pytest.mark.parametrize("case", [0, 1, 2])
@pytest.mark.parametrize("gradients", [True, False])
def test_released_maps_and_embeddings(golden_adapter, golden_head, case, gradients):
    expected, features = golden_head["cases"][case], golden_head["clip_vis_dense"]
    head = clip_head(golden_head["clip_head"])
    masks = golden_head["mask_logits"].sigmoid() > expected["threshold"]
    assert torch.equal(masks, expected["binary"])
    with torch.set_grad_enabled(gradients):
        rows = features.permute(0, 2, 3, 1)
        dense = head(rows).permute(0, 3, 1, 2)
        torch.testing.assert_close(dense, golden_head["clip_dense_embedding"], atol=5e-5, rtol=0)
        maps = golden_adapter(dense, masks)
        torch.testing.assert_close(maps.flatten(1, 2), expected["maps"], atol=5e-5, rtol=0)
        pooled = embed_by_maps(features, maps, head)
        torch.testing.assert_close(pooled, expected["pooled_embedding"], atol=5e-5, rtol=0)
    logits = golden_head["clip_logit_scale"].exp() * F.normalize(pooled, dim=-1)
    logits = logits @ golden_head["text_classifier"].T
    counts = [*golden_head["num_templates"], 1]
    logits = torch.stack([part.amax(-1) for part in logits.split(counts, -1)], -1)
    torch.testing.assert_close(logits, expected["clip_logits"], atol=5e-5, rtol=0)


@torch.no_grad()
def test_mixed_precision_stays_close():
    adapter, dense = small_adapter(), torch.randn(2, 12, 5, 7)
    expected = adapter(dense, objects())
    with torch.autocast("cpu", torch.bfloat16):
        maps = adapter(dense, objects())
    assert (maps - expected).norm() < 0.05 * expected.norm()


@pytest.mark.golden
@pytest.mark.parametrize("image", ["img0", "img1"])
def test_released_maps_and_embeddings_of_a_whole_model(golden_adapter, golden_dir, image):
    base = golden_dir / "fcclip_tiny_convnext"
    recorded = torch.load(base / "eval.pt", weights_only=True)[image]["clip_features"]
    expected = torch.load(golden_dir / "mask_adapter_tiny/eval.pt", weights_only=True)[image]
    prefix = "backbone.clip_model.visual."
    state = torch.load(base / "state_dict.pt", weights_only=True)
    head = clip_head({k.removeprefix(prefix): v for k, v in state.items() if prefix in k})
    features = recorded["clip_vis_dense"]
    with torch.no_grad():
        maps = golden_adapter(expected["clip_dense_embedding"], expected["binary_masks"])
        torch.testing.assert_close(maps.flatten(1, 2), expected["adapter_maps"], atol=1e-3, rtol=0)
        pooled = embed_by_maps(features, maps, head)
    torch.testing.assert_close(pooled, expected["pooled_embedding"], atol=1e-3, rtol=0)
