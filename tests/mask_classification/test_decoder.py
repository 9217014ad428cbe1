"""The transformer decoder: what must not change a result, and what must."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from frozenseg.layers.position_encoding import sine_position_code
from frozenseg.mask_classification.decoder import MultiScaleMaskedTransformerDecoder, _allowed
from frozenseg.mask_classification.pixel_decoder import PixelFeatures
from frozenseg.mask_classification.sam_injection import SamFeatures, SamInjection
from frozenseg.structures import TextClassifier

SIZES = {
    "mask_dim": 16,
    "hidden_dim": 16,
    "num_queries": 6,
    "num_heads": 2,
    "feedforward_dim": 24,
    "num_layers": 4,
}


@pytest.fixture
def decoder():
    torch.manual_seed(0)
    return MultiScaleMaskedTransformerDecoder(16, 8, **SIZES).eval()


@pytest.fixture
def pixels():
    torch.manual_seed(1)
    levels = [torch.randn(2, 16, size, size + 1) for size in (2, 4, 8)]
    return PixelFeatures(torch.randn(2, 16, 16, 18), levels)


def classifier(classes: int = 5) -> TextClassifier:
    generator = torch.Generator().manual_seed(2)
    rows = F.normalize(torch.randn(classes, 8, generator=generator), dim=-1)
    return TextClassifier(rows, torch.arange(classes), classes)


VOID = torch.linspace(-1, 1, 8)[None]


def test_final_prediction_does_not_depend_on_the_auxiliary_ones(decoder, pixels):
    lean = decoder(pixels, classifier(), VOID)
    full = decoder(pixels, classifier(), VOID, auxiliary=True)
    assert lean.auxiliary == []
    assert len(full.auxiliary) == SIZES["num_layers"]
    assert torch.equal(lean.final.class_logits_BQC1, full.final.class_logits_BQC1)
    assert torch.equal(lean.final.mask_logits_BQHW, full.final.mask_logits_BQHW)


def test_images_of_a_batch_do_not_mix(decoder, pixels):
    both = decoder(pixels, classifier(), VOID).final
    one = PixelFeatures(pixels.mask_features_BDHW[1:], [level[1:] for level in pixels.levels])
    alone = decoder(one, classifier(), VOID).final
    torch.testing.assert_close(both.mask_logits_BQHW[1:], alone.mask_logits_BQHW)


def test_class_logits_are_scaled_cosines_with_void_last(decoder, pixels):
    few, many = (decoder(pixels, classifier(n), VOID).final.class_logits_BQC1 for n in (5, 5))
    assert torch.equal(few, many)
    assert few.shape == (2, 6, 6)
    assert few.abs().max() <= decoder.logit_scale.exp()
    rescaled = decoder(pixels, classifier(), 7 * VOID).final.class_logits_BQC1
    torch.testing.assert_close(rescaled, few)


def test_a_huge_logit_scale_is_clamped_at_100(decoder, pixels):
    with torch.no_grad():
        decoder.logit_scale.fill_(50.0)
    assert decoder(pixels, classifier(), VOID).final.class_logits_BQC1.abs().max() <= 100.001


def test_permuting_the_queries_permutes_the_predictions(decoder, pixels):
    before = decoder(pixels, classifier(), VOID).final
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    with torch.no_grad():
        for table in (decoder.query_feat, decoder.query_embed):
            table.weight.copy_(table.weight[order].clone())
    after = decoder(pixels, classifier(), VOID).final
    torch.testing.assert_close(after.class_logits_BQC1, before.class_logits_BQC1[:, order])
    torch.testing.assert_close(after.mask_logits_BQHW, before.mask_logits_BQHW[:, order])


def test_a_query_blocked_everywhere_attends_everywhere():
    embedding = torch.tensor([[[1.0], [-1.0]]])
    features = torch.tensor([[[0.5, 0.0, -2.0]]])
    assert _allowed(embedding, features).tolist() == [[[True, True, False], [False, True, True]]]
    assert _allowed(embedding, features.abs() + 1).tolist() == [[[True] * 3, [True] * 3]]


@pytest.mark.parametrize("keep", [False, True])
def test_injected_keys_have_positions_only_if_they_keep_them(pixels, keep):
    injection = SamInjection(feature_layer=1, query_layer=None, keep_positions=keep)
    decoder = MultiScaleMaskedTransformerDecoder(16, 8, **SIZES, injection=injection).eval()
    sam = SamFeatures(torch.randn(2, 16, 4, 4), torch.randn(2, 16, 2, 2))
    pixels = PixelFeatures(pixels.mask_features_BDHW, pixels.levels, sam)
    levels = [decoder._level_tokens(pixels, index) for index in range(3)]
    assert decoder._injected(0, levels, pixels) is levels[0]
    found = decoder._injected(1, levels, pixels)
    position = sine_position_code((4, 5), 16) if keep else torch.zeros(20, 16)
    torch.testing.assert_close(found.keys_BND, found.values_BND + position)
    assert not torch.allclose(found.values_BND, levels[1].values_BND)


def test_widths_must_agree():
    with pytest.raises(ValueError, match="CONVS_DIM"):
        MultiScaleMaskedTransformerDecoder(32, 8, **SIZES)


def test_every_parameter_learns(decoder, pixels):
    decoder.train()
    output = decoder(pixels, classifier(), VOID, auxiliary=True)
    loss = sum(
        p.class_logits_BQC1.square().sum() + p.mask_logits_BQHW.square().sum()
        for p in [output.final, *output.auxiliary]
    )
    loss.backward()
    silent = [n for n, p in decoder.named_parameters() if p.grad is None or not p.grad.any()]
    assert silent == []
