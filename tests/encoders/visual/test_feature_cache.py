from __future__ import annotations

import json

import pytest
import torch

from frozenseg.encoders.visual.encoder import load_visual_encoder
from frozenseg.encoders.visual.feature_cache import CachedVisualEncoder, image_digests

VIT = {"img_size": 32, "patch_size": 8, "embed_dim": 16, "depth": 1, "num_heads": 2}


@pytest.fixture
def encoder(tmp_path):
    torch.manual_seed(0)
    (tmp_path / "vit.json").write_text(json.dumps({"timm_vit": VIT}))
    encoder = load_visual_encoder(str(tmp_path / "vit.json"))
    encoder.computed = []
    encoder.tower.register_forward_pre_hook(
        lambda module, args: encoder.computed.append(len(args[0]))
    )
    return encoder


def images(count: int = 4, seed: int = 0) -> torch.Tensor:
    return torch.randn(count, 3, 32, 32, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_features_are_the_encoders_rounded_to_the_kept_precision(encoder, tmp_path, dtype):
    expected = encoder(images()).to(dtype).float()
    encoder.computed.clear()
    cached = CachedVisualEncoder(encoder, tmp_path / "cache", dtype=dtype)
    for _ in range(2):  # computed, then found
        features = cached(images())
        assert features.dtype == torch.float32
        assert torch.equal(features, expected)
    assert encoder.computed == [4]


def test_a_batch_with_new_images_is_computed_whole_in_one_go(encoder, tmp_path):
    CachedVisualEncoder(encoder, tmp_path)(images(3))
    encoder.computed.clear()
    cached = CachedVisualEncoder(encoder, tmp_path)  # as a second run finds the disk
    batch = torch.cat([images(2, seed=5), images(3).flip(0), images(2, seed=5)])
    features = cached(batch)
    assert encoder.computed == [7]
    torch.testing.assert_close(features, encoder(batch), atol=2e-3, rtol=2e-3)
    assert torch.equal(features[:2], features[5:])


def test_pictures_of_several_sizes(encoder, tmp_path):
    cached = CachedVisualEncoder(encoder, tmp_path)
    wide = torch.randn(1, 3, 16, 48)
    for _ in range(2):
        assert cached(wide).shape == (1, 16, 2, 6)
        assert cached(images(1)).shape == (1, 16, 4, 4)
    assert encoder.computed == [1, 1]


def test_new_weights_never_meet_old_features(encoder, tmp_path):
    cached = CachedVisualEncoder(encoder, tmp_path)
    before = cached(images())
    with torch.no_grad():
        encoder.tower.visual.norm.bias += 1
    after = cached(images())
    torch.testing.assert_close(after, before + 1, atol=5e-3, rtol=0)
    assert encoder.computed == [4, 4]


def test_precisions_do_not_mix(encoder, tmp_path):
    CachedVisualEncoder(encoder, tmp_path)(images())
    exact = CachedVisualEncoder(encoder, tmp_path, dtype=torch.float32)
    assert torch.equal(exact(images()), encoder(images()))
    assert encoder.computed == [4, 4, 4]


def test_autocast_leaves_no_trace_on_disk(encoder, tmp_path):
    cached = CachedVisualEncoder(encoder, tmp_path, dtype=torch.float32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        features = cached(images())
    assert torch.equal(features, encoder(images()))


def test_damage_costs_a_warning_and_is_repaired(encoder, tmp_path, caplog):
    cached = CachedVisualEncoder(encoder, tmp_path)
    expected = cached(images())
    (path,) = tmp_path.rglob("*.safetensors")
    content = bytearray(path.read_bytes())
    content[content.index(expected[1].half().contiguous().numpy().tobytes())] ^= 1
    path.write_bytes(content)
    assert torch.equal(cached(images()), expected)
    assert "is damaged" in caplog.text
    assert encoder.computed == [4, 4]  # a batch of another size would round differently
    caplog.clear()
    again = CachedVisualEncoder(encoder, tmp_path)
    for _ in range(2):
        assert torch.equal(again(images()), expected)
    assert encoder.computed == [4, 4, 4]  # the first lay in the damaged shard too
    assert not caplog.records


def test_features_beyond_float16_are_refused(encoder, tmp_path):
    with torch.no_grad():
        encoder.tower.visual.norm.bias += 1e5
    with pytest.raises(ValueError, match=r"up to 1e\+05 are beyond .* keep them as float32"):
        CachedVisualEncoder(encoder, tmp_path)(images())
    wide = CachedVisualEncoder(encoder, tmp_path, dtype=torch.float32)
    assert torch.equal(wide(images()), encoder(images()))
    with pytest.raises(ValueError, match=r"not as torch\.int8"):
        CachedVisualEncoder(encoder, tmp_path, dtype=torch.int8)


def test_digests_tell_images_apart():
    batch = images(3)
    digests = image_digests(batch)
    assert len(set(digests)) == 3
    assert image_digests(batch[1:2]) == digests[1:2]
    assert image_digests(batch.to(memory_format=torch.channels_last)) == digests
    changed = batch.clone()
    changed[2, 0, 5, 5] += 1e-6
    assert image_digests(changed)[:2] == digests[:2]
    assert image_digests(changed)[2] != digests[2]
    assert image_digests(batch.transpose(2, 3).reshape(3, 3, 32, 32))[0] != digests[0]
    assert image_digests(torch.zeros(1, 3, 8, 8)) != image_digests(torch.zeros(1, 3, 4, 16))
