from __future__ import annotations

import open_clip
import pytest
import torch

from frozenseg.checkpoints import digests
from frozenseg.encoders.text.clip_text import ClipText

PROMPTS = ["a photo of a cat.", "dog!", "There is a small traffic light in the scene.", ""]
VARIANTS = [
    ("convnext", {}),
    ("resnet", {"quick_gelu": False}),
    ("resnet", {"quick_gelu": True}),
    ("resnet", {"custom_text": True}),
    ("resnet", {"custom_text": True, "text": {"proj_bias": True}}),
    ("resnet", {"text": {"proj_type": "none", "width": 16}}),
    ("resnet", {"custom_text": True, "text": {"pool_type": "eos", "eos_id": 49407}}),
]


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.parametrize(("kind", "settings"), VARIANTS)
def test_short_prompts_equal_the_full_context(make_clip, kind, settings):
    model = make_clip(kind, **settings)
    text = ClipText(model)
    tokens = text.tokenize(PROMPTS)
    assert tokens[0].shape[1] == 12 < text.context_length == 77
    expected = model.encode_text(open_clip.tokenize(PROMPTS))
    assert expected.std() > 0.05
    actual = text.encode(*tokens)
    assert actual.shape == (4, text.embed_dim)
    torch.testing.assert_close(actual, expected, atol=1e-5, rtol=1e-5)


def test_padding_is_not_computed(make_clip, monkeypatch):
    model = make_clip("resnet")
    lengths = []
    model.transformer.register_forward_pre_hook(
        lambda module, args: lengths.append(args[0].shape[1])
    )
    text = ClipText(model)
    tokens, is_token = text.tokenize(PROMPTS[:2])
    full = open_clip.tokenize(PROMPTS[:2])
    full_is_token = full != 0
    torch.testing.assert_close(text.encode(full, full_is_token), text.encode(tokens, is_token))
    assert lengths == [8, 8]  # start, "a photo of a cat .", end


def test_quick_gelu_matters(make_clip):
    plain, quick = (ClipText(make_clip("resnet", quick_gelu=quick)) for quick in (False, True))
    tokens = plain.tokenize(PROMPTS)
    difference = (plain.encode(*tokens) - quick.encode(*tokens)).abs().max()
    assert difference > 1e-3


def test_gradients_and_autocast_stay_outside(make_clip):
    text = ClipText(make_clip("resnet"))
    tokens = text.tokenize(PROMPTS)
    expected = text.encode(*tokens)
    assert not expected.requires_grad
    with torch.autocast("cpu", dtype=torch.bfloat16):
        actual = text.encode(*tokens)
    assert actual.dtype == torch.float32
    assert torch.equal(actual, expected)


def test_long_texts_are_cut_as_clip_does(make_clip):
    text = ClipText(make_clip("resnet"))
    fits, long = " ".join(["cat"] * 75), " ".join(["cat"] * 76)
    assert not text.exceeds_context(fits)
    assert text.exceeds_context(long)
    assert torch.equal(text.tokenize([fits, long])[0], open_clip.tokenize([fits, long]))


def test_no_texts_give_no_tokens(make_clip):
    assert ClipText(make_clip("resnet")).tokenize([])[1].shape == (0, 0)


def test_digest_follows_the_weights(make_clip):
    text, same = ClipText(make_clip("resnet")), ClipText(make_clip("resnet"))
    before = text.digest
    assert before == same.digest
    with torch.no_grad():
        text._tower.transformer.resblocks[1].ln_2.bias[3] += 1e-6
    assert text.digest != before
    text._tower.load_state_dict(same._tower.state_dict())
    assert text.digest == before


@pytest.mark.slow
def test_digest_follows_the_architecture(make_clip):
    variants = [
        {},
        {"quick_gelu": True},
        {"text": {"heads": 4}},
        {"text": {"norm_kwargs": {"eps": 1e-3}}},
        {"text": {"pool_type": "eos", "eos_id": 49407}},
    ]
    digests = [ClipText(make_clip("resnet", **variant)).digest for variant in variants]
    assert len(set(digests)) == len(variants)


def test_digest_is_that_of_the_text_alone(make_clip):
    flat, custom = (ClipText(make_clip("resnet", custom_text=custom)) for custom in (False, True))
    custom._tower.load_state_dict(
        {name: flat._tower.state_dict()[name] for name in custom._tower.state_dict()}
    )
    assert flat.digest == custom.digest


def test_digest_is_computed_once(make_clip, monkeypatch):
    text = ClipText(make_clip("resnet"))
    first = text.digest
    monkeypatch.setattr(digests, "_hash_tensor", lambda tensor: pytest.fail("hashed again"))
    assert text.digest == first


def test_meta_weights_have_no_digest(make_clip):
    with pytest.raises(ValueError, match="meta device"):
        _ = ClipText(make_clip("resnet").to("meta")).digest


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"custom_text": True, "text": {"no_causal_mask": True}}, "causal: False"),
        ({"text": {"pool_type": "last"}}, "pool_type: last"),
        ({"custom_text": True, "text": {"embed_cls": True}}, "class token: True"),
        ({"text": {"vocab_size": 500}}, "vocab_size to 49408"),
    ],
)
def test_towers_that_cannot_be_cut_are_refused(make_clip, settings, message):
    with pytest.raises(ValueError, match=message):
        ClipText(make_clip("resnet", **settings))
