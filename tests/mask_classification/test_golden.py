"""FC-CLIP and FrozenSeg against the golden values: the same numbers as the released code's."""

from __future__ import annotations

import json

import pytest
import torch
from detectron2.structures import Instances

from frozenseg.mask_classification.detectron2_io import training_targets

pytestmark = pytest.mark.golden

CALLS = {"img0": [0], "img1": [1], "batch": [0, 1]}


def close(actual, expected, atol=1e-3):
    torch.testing.assert_close(actual, expected, atol=atol, rtol=0)


def intermediate(model, samples, auxiliary=False):
    """Features, decoder output and final class logits of one call."""
    with torch.no_grad():
        images, features = model.encode(samples)
        output = model._decode(features, model.vocabulary, auxiliary)
        return images, features, output, model.classify(output.final, features).shared


@pytest.mark.parametrize("call", CALLS)
def test_logits_masks_and_ensemble(golden_model, golden_inputs, golden_eval, call):
    samples, expected = [golden_inputs[i] for i in CALLS[call]], golden_eval[call]
    _, features, output, class_logits = intermediate(golden_model, samples)
    close(output.final.class_logits_BQC1, expected["pred_logits"])
    close(output.final.mask_logits_BQHW, expected["pred_masks"])
    close(class_logits, expected["mask_cls_after_ensemble"])
    pooled, valid = golden_model.backbone.pool_masks(
        features["clip_vis_dense"], output.final.mask_logits_BQHW
    )
    close(pooled, expected["pooled_clip_feature"])
    assert valid.shape == pooled.shape[:2]


@pytest.mark.parametrize("call", ["img0", "img1"])
def test_intermediate_values(golden_model, golden_inputs, golden_eval, call):
    samples, expected = [golden_inputs[i] for i in CALLS[call]], golden_eval[call]
    images, features, output, _ = intermediate(golden_model, samples, auxiliary=True)
    for name, value in expected["clip_features"].items():
        close(features[name], value)
    with torch.no_grad():
        pixels = golden_model.sem_seg_head.pixel_decoder(features)
    close(pixels.mask_features_BDHW, expected["mask_features"])
    for level, value in zip(pixels.levels, expected["multi_scale_features"], strict=True):
        close(level, value)
    for auxiliary, value in zip(output.auxiliary, expected["aux_logits"], strict=True):
        close(auxiliary.class_logits_BQC1, value)
    close(output.auxiliary[0].mask_logits_BQHW, expected["aux_masks_first"])
    assert images.tensor.shape[-1] % 32 == 0


def rows_of_distinct_synonyms(names):
    """Rows of the golden classifier; "stove" lists "kitchen range" twice, a vocabulary once."""
    rows, words = [], []
    for text in names:
        seen = set()
        for word in text.split(","):
            if word not in seen:
                rows.append(len(words))
            seen.add(word)
            words.append(word)
    return rows


def test_text_classifier(golden_model, golden_eval, golden_folder):
    names = json.loads((golden_folder / "vocab.json").read_text())["test_stuff_classes"]
    rows = rows_of_distinct_synonyms(names)
    expected = golden_eval["test_text_classifier"]
    assert len(rows) == len(expected) - 1
    classifier = golden_model.classifier(golden_model.vocabulary)
    close(classifier.embeddings_SK, expected[rows], atol=1e-5)


@pytest.mark.parametrize("call", CALLS)
def test_results(golden_model, golden_inputs, golden_eval, call):
    samples = [golden_inputs[i] for i in CALLS[call]]
    for result, expected in zip(golden_model(samples), golden_eval[call]["per_image"], strict=True):
        label_map, segments = result["panoptic_seg"]
        assert (label_map == expected["panoptic_seg"]).float().mean() >= 0.999
        assert without_scores(segments) == expected["segments_info"]
        labels = result["sem_seg"].argmax(0)
        assert (labels == expected["sem_seg_argmax"]).float().mean() >= 0.999
        for stride in (2, 4):
            if f"sem_seg_stride{stride}" in expected:
                value = result["sem_seg"][:, ::stride, ::stride]
                close(value, expected[f"sem_seg_stride{stride}"])
        compare_instances(result["instances"], expected)


def without_scores(segments):
    """The released code gives no scores; ours lie in (0, 1]."""
    assert all(0 < segment["score"] <= 1 for segment in segments)
    return [{k: v for k, v in segment.items() if k != "score"} for segment in segments]


def compare_instances(instances, expected):
    """Equal as sets: sorted by score, classes and (where stored) masks agree."""
    order = instances.scores.argsort(descending=True)
    golden_order = expected["scores"].argsort(descending=True)
    close(instances.scores[order], expected["scores"][golden_order])
    found = sorted(zip(instances.pred_classes.tolist(), instances.scores.tolist(), strict=True))
    golden = sorted(
        zip(expected["pred_classes"].tolist(), expected["scores"].tolist(), strict=True)
    )
    assert [c for c, _ in found] == [c for c, _ in golden]
    if "pred_masks" in expected:
        areas = sorted(instances.pred_masks.flatten(1).sum(1).tolist())
        assert areas == pytest.approx(
            sorted(expected["pred_masks"].flatten(1).sum(1).tolist()), rel=1e-3, abs=3
        )


def test_lower_overlap_threshold(golden_model, golden_inputs, golden_eval, monkeypatch):
    from dataclasses import replace

    settings = replace(golden_model.task_settings, overlap_threshold=0.05)
    monkeypatch.setattr(golden_model, "task_settings", settings)
    for call, images in CALLS.items():
        results = golden_model([golden_inputs[i] for i in images])
        for result, expected in zip(results, golden_eval[call]["per_image"], strict=True):
            label_map, segments = result["panoptic_seg"]
            assert (label_map == expected["panoptic_seg_overlap0.05"]).float().mean() >= 0.999
            assert without_scores(segments) == expected["segments_info_overlap0.05"]


def test_semantic_only(golden_model, golden_inputs, golden_eval, monkeypatch):
    from dataclasses import replace

    settings = replace(
        golden_model.task_settings, panoptic=False, instance=False, semantic_at_padded_size=True
    )
    monkeypatch.setattr(golden_model, "task_settings", settings)
    result = golden_model([golden_inputs[1]])[0]
    assert set(result) == {"sem_seg"}
    close(result["sem_seg"][:, ::4, ::4], golden_eval["img1_semantic_only_sem_seg_stride4"])


def training_batch(train):
    batch = []
    for image, masks, classes in zip(
        train["images"], train["gt_masks"], train["gt_classes"], strict=True
    ):
        instances = Instances(tuple(image.shape[-2:]))
        instances.gt_classes = classes
        instances.gt_masks = masks
        batch.append({"image": image, "instances": instances})
    return batch


def test_training_losses_matches_and_gradients(golden_model, golden_folder):
    train = torch.load(golden_folder / "train.pt", weights_only=True)
    batch = training_batch(train)
    model = golden_model.train()
    try:
        images, features = model.encode(batch)
        output = model._decode(features, model.train_vocabulary, auxiliary=True)
        close(output.final.class_logits_BQC1, train["pred_logits"])
        close(output.final.mask_logits_BQHW, train["pred_masks"])
        matched = []
        hook = model.criterion.matcher.register_forward_hook(lambda *args: matched.append(args[2]))
        torch.manual_seed(1234)
        losses = model.criterion(output, training_targets(batch, images, model.device))
        hook.remove()
        sum(losses.values()).backward()
        gradients = {n: p.grad for n, p in model.named_parameters() if p.grad is not None}
    finally:
        model.eval()
    assert losses.keys() == train["losses_weighted"].keys()
    for name, value in train["losses_weighted"].items():
        assert losses[name].item() == pytest.approx(value, rel=1e-3), name
    golden_matches = next(v for k, v in train.items() if k.startswith("matches"))
    for found, golden in zip(matched, golden_matches, strict=True):
        for (queries, masks), (golden_queries, golden_masks) in zip(found, golden, strict=True):
            assert queries.tolist() == golden_queries.tolist()
            assert masks.tolist() == golden_masks.tolist()
    assert gradients.keys() == train["grad_norms"].keys()
    for name, value in train["grad_norms"].items():
        assert gradients[name].norm().item() == pytest.approx(value, rel=1e-2), name
    for name, value in train["grads"].items():
        error = (gradients[name] - value).norm() / value.norm()
        assert error < 1e-2, name
    model.zero_grad(set_to_none=True)


def test_text_classifier_of_the_training_words(golden_model, golden_folder):
    train = torch.load(golden_folder / "train.pt", weights_only=True)
    classifier = golden_model.classifier(golden_model.train_vocabulary)
    close(classifier.embeddings_SK, train["train_text_classifier"], atol=1e-5)


def test_seen_mask_and_template_counts(golden_model, golden_folder):
    vocab = json.loads((golden_folder / "vocab.json").read_text())
    assert golden_model.seen_C.int().tolist() == vocab["category_overlapping_mask"]
    counts = [len(set(names.split(","))) for names in vocab["test_stuff_classes"]]
    assert [len(s) for s in golden_model.vocabulary.synonyms] == counts
    assert sum(vocab["test_num_templates"]) == sum(counts) + 1
