from __future__ import annotations

import json

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st

from frozenseg.inference.class_ensemble import ensemble_classes
from frozenseg.structures import TextClassifier

INF, NAN = float("inf"), float("nan")


def _case(seed, batch=2, queries=5, classes=6, scale=3.0):
    generator = torch.Generator().manual_seed(seed)
    in_logits = torch.randn(batch, queries, classes + 1, generator=generator) * scale
    out_logits = torch.randn(batch, queries, classes, generator=generator) * scale
    return in_logits, out_logits, torch.rand(classes, generator=generator) > 0.5


def _with_powers(in_logits, out_logits, seen, alpha, beta):
    """The formula as the paper has it: products of powers of probabilities, in float64."""
    in_logits, out_logits = in_logits.double(), out_logits.double()
    p_in, p_out = in_logits[..., :-1].softmax(-1), out_logits.softmax(-1)
    seen_power = p_in ** (1 - alpha) * p_out**alpha
    unseen_power = p_in ** (1 - beta) * p_out**beta
    joint = torch.where(seen, seen_power, unseen_power)
    void = in_logits.softmax(-1)[..., -1:]
    classes = joint / joint.sum(-1, keepdim=True) * (1 - void)
    return (torch.cat([classes, void], -1) + 1e-8).log().float()


@settings(max_examples=25)
@given(
    seed=st.integers(0, 999),
    classes=st.integers(1, 9),
    alpha=st.floats(0, 1),
    beta=st.floats(0, 1),
)
def test_equals_the_formula_with_powers(seed, classes, alpha, beta) -> None:
    case = _case(seed, classes=classes)
    result = ensemble_classes(*case, alpha=alpha, beta=beta)
    torch.testing.assert_close(result, _with_powers(*case, alpha, beta), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(result.exp().sum(-1), torch.ones(2, 5), atol=1e-5, rtol=0)


@settings(max_examples=10)
@given(seed=st.integers(0, 999), classes=st.sampled_from([1, 2, 7, 2000]))
def test_order_of_queries_and_classes_is_immaterial(seed, classes) -> None:
    in_logits, out_logits, seen = _case(seed, classes=classes)
    generator = torch.Generator().manual_seed(seed)
    queries = torch.randperm(in_logits.shape[1], generator=generator)
    order = torch.randperm(classes, generator=generator)
    with_void = torch.cat([order, torch.tensor([classes])])
    result = ensemble_classes(in_logits, out_logits, seen)
    permuted = ensemble_classes(
        in_logits[:, queries][..., with_void], out_logits[:, queries][..., order], seen[order]
    )
    torch.testing.assert_close(permuted, result[:, queries][..., with_void])


def test_seen_and_unseen_classes_use_their_own_exponent() -> None:
    in_logits, out_logits, _ = _case(0)
    decoder = ensemble_classes(in_logits, None)
    all_seen = torch.ones(6, dtype=torch.bool)
    kept = ensemble_classes(in_logits, out_logits, all_seen, alpha=0.0, beta=1.0)
    torch.testing.assert_close(kept, decoder, atol=1e-4, rtol=1e-4)
    clip_only = ensemble_classes(in_logits, out_logits, ~all_seen, alpha=0.0, beta=1.0)
    void = in_logits.softmax(-1)[..., -1:]
    expected = out_logits.softmax(-1) * (1 - void)
    torch.testing.assert_close(clip_only.exp()[..., :-1], expected, atol=1e-5, rtol=1e-4)


def test_void_is_the_decoders_and_unaffected_by_clip() -> None:
    in_logits, out_logits, seen = _case(1)
    void = ensemble_classes(in_logits, out_logits, seen)[..., -1].exp()
    torch.testing.assert_close(void, in_logits.softmax(-1)[..., -1] + 1e-8)


def test_without_clip_the_decoder_decides() -> None:
    in_logits, _, _ = _case(2)
    torch.testing.assert_close(ensemble_classes(in_logits, None), in_logits.log_softmax(-1))


def test_invalid_masks_keep_the_decoders_judgement_and_no_nan_leaks() -> None:
    in_logits, out_logits, seen = _case(3)
    valid = torch.ones(2, 5, dtype=torch.bool)
    valid[0, 1] = valid[1, 4] = False
    spoiled = out_logits.clone()
    spoiled[~valid] = NAN
    result = ensemble_classes(in_logits, spoiled, seen, valid_BQ=valid)
    decoder = (in_logits.softmax(-1) + 1e-8).log()
    torch.testing.assert_close(result[~valid], decoder[~valid], atol=1e-4, rtol=1e-4)
    expected = ensemble_classes(in_logits, out_logits, seen)
    assert torch.equal(result[valid], expected[valid])


def test_underflowing_probabilities_still_decide() -> None:
    # Decoder and CLIP each exclude the other's favourite: p_in and p_out underflow to 0 in float32.
    in_logits = torch.tensor([[[500.0, 0.0, -500.0, 0.0]]])
    out_logits = torch.tensor([[[-500.0, 100.0, 500.0]]])
    unseen = torch.zeros(3, dtype=torch.bool)
    result = ensemble_classes(in_logits, out_logits, unseen, beta=0.8)
    assert torch.isfinite(result).all()
    assert result[0, 0].argmax() == 2
    assert ensemble_classes(in_logits, out_logits, unseen, beta=0.2)[0, 0].argmax() == 0


@pytest.mark.parametrize("extreme", [INF, -INF, 1e38, -1e38, 1e5])
@pytest.mark.parametrize("valid", [None, False])
def test_extreme_logits_give_finite_distributions(extreme, valid) -> None:
    for place in ((0, 0, 0), (0, 1, slice(None)), (1, 2, -1), (1, 3, slice(0, 3))):
        in_logits, out_logits, seen = _case(4)
        in_logits[place] = extreme
        out_logits[place] = -extreme
        mask = None if valid is None else torch.zeros(2, 5, dtype=torch.bool)
        result = ensemble_classes(in_logits, out_logits, seen, valid_BQ=mask)
        assert torch.isfinite(result).all()
        torch.testing.assert_close(result.exp().sum(-1), torch.ones(2, 5), atol=1e-4, rtol=0)


def test_half_precision_logits_are_computed_in_float32() -> None:
    in_logits, out_logits, seen = _case(5)
    result = ensemble_classes(in_logits.half(), out_logits.half(), seen)
    assert result.dtype == torch.float32
    expected = ensemble_classes(in_logits.half().float(), out_logits.half().float(), seen)
    assert torch.equal(result, expected)


def test_no_queries() -> None:
    in_logits, out_logits, seen = _case(6, queries=0)
    assert ensemble_classes(in_logits, out_logits, seen).shape == (2, 0, 7)


def test_shapes_and_exponents_that_do_not_fit_are_errors() -> None:
    in_logits, out_logits, seen = _case(7)
    with pytest.raises(ValueError, match="without the void column"):
        ensemble_classes(in_logits, in_logits, seen)
    with pytest.raises(ValueError, match="one bool for each of the 6 classes"):
        ensemble_classes(in_logits, out_logits, seen[:-1])
    with pytest.raises(ValueError, match="one bool"):
        ensemble_classes(in_logits, out_logits)
    with pytest.raises(ValueError, match="exponents"):
        ensemble_classes(in_logits, out_logits, seen, alpha=1.5)


@pytest.mark.golden
@pytest.mark.parametrize("call", ["img0", "img1", "batch"])
def test_golden_class_ensemble(golden_dir, call) -> None:
    folder = golden_dir / "fcclip_tiny_convnext"
    recorded = torch.load(folder / "eval.pt", weights_only=True)
    vocabulary = json.loads((folder / "vocab.json").read_text())
    weights = torch.load(folder / "state_dict.pt", weights_only=True)
    scale = weights["backbone.clip_model.logit_scale"].exp().clamp(max=100)
    counts = torch.tensor(vocabulary["test_num_templates"])
    rows = torch.arange(len(counts)).repeat_interleave(counts)
    # The recorded matrix ends with the void embedding where it has more rows than synonyms.
    text = recorded["test_text_classifier"][: len(rows)]
    classifier = TextClassifier(text, rows, len(counts))
    values = recorded[call]
    cosine = F.normalize(values["pooled_clip_feature"], dim=-1) @ text.T
    result = ensemble_classes(
        values["pred_logits"],
        classifier.max_over_synonyms(scale * cosine),
        torch.tensor(vocabulary["category_overlapping_mask"], dtype=torch.bool),
        alpha=0.4,
        beta=0.8,
    )
    torch.testing.assert_close(result, values["mask_cls_after_ensemble"], atol=1e-3, rtol=0)


def test_without_void_trust_nothing_changes_and_with_it_void_alone() -> None:
    in_logits, out_logits, seen = _case(3)
    plain = ensemble_classes(in_logits, out_logits, seen)
    assert torch.equal(ensemble_classes(in_logits, out_logits, seen, void_trust=0.0), plain)
    trusted = ensemble_classes(in_logits, out_logits, seen, void_trust=0.5)
    void = in_logits.softmax(-1)[..., -1]
    sure = out_logits.softmax(-1).amax(-1)
    close = torch.testing.assert_close
    close(trusted[..., -1].exp(), void * (1 - 0.5 * sure), atol=1e-6, rtol=1e-5)
    close(trusted[..., :-1].softmax(-1), plain[..., :-1].softmax(-1), atol=1e-6, rtol=1e-5)


def test_void_trust_leaves_masks_without_a_cell_to_the_decoder() -> None:
    in_logits, out_logits, seen = _case(4)
    valid = torch.rand(2, 5, generator=torch.Generator().manual_seed(0)) > 0.5
    trusted = ensemble_classes(in_logits, out_logits, seen, valid_BQ=valid, void_trust=1.0)
    torch.testing.assert_close(trusted[~valid].exp(), in_logits[~valid].softmax(-1))


@pytest.mark.parametrize("trust", [-0.1, 1.1, NAN])
def test_void_trust_is_a_share(trust) -> None:
    with pytest.raises(ValueError, match="void_trust"):
        ensemble_classes(*_case(5), void_trust=trust)
