"""The model as a whole: its contract with detectron2, its words, and what stays frozen."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest
import torch

from frozenseg.config import get_config
from frozenseg.mask_classification.from_config import number_of_classes
from frozenseg.mask_classification.model import MaskClassificationModel
from frozenseg.structures import EnsembleSettings
from frozenseg.vocab import Vocabulary
from tools.record_reference import build_reference_model, reference_batch


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return build_reference_model("convnext", tmp_path_factory.mktemp("text"))


@pytest.fixture
def sample():
    return {"image": reference_batch()[0]["image"]}


@pytest.mark.slow
def test_output_has_the_wanted_size(model, sample):
    result = model([{**sample, "height": 50, "width": 70}])[0]
    assert result["sem_seg"].shape == (len(model.vocabulary), 50, 70)
    label_map, segments = result["panoptic_seg"]
    assert label_map.shape == (50, 70)
    assert set(label_map.unique().tolist()) <= {0, *(s["id"] for s in segments)}
    assert result["instances"].image_size == (50, 70)
    assert model([sample])[0]["sem_seg"].shape[1:] == sample["image"].shape[1:]


def test_only_decoder_and_void_embedding_train(model):
    trained = {n.split(".")[0] for n, p in model.named_parameters() if p.requires_grad}
    assert trained == {"sem_seg_head", "void_embedding"}
    model.train()
    assert not any(module.training for module in model.backbone.modules())
    model.eval()


def test_new_words_need_no_new_model_and_only_new_words_are_computed(model, sample, monkeypatch):
    old = model.vocabulary
    model([sample])
    encoded = []
    encode = model.backbone.text.encode
    monkeypatch.setattr(
        model.backbone.text, "encode", lambda t, m: encoded.append(len(t)) or encode(t, m)
    )
    model.set_vocabulary(Vocabulary.parse("dog, puppy; grass:stuff; zebra"))
    result = model([sample])[0]
    assert result["sem_seg"].shape[0] == 3
    assert model.seen_C.tolist() == [True, True, False]
    assert sum(encoded) == 14  # one new word in fourteen templates
    model.set_vocabulary(old)
    model([sample])
    assert sum(encoded) == 14


def test_a_class_with_more_synonyms_never_scores_less(model, sample):
    old = model.vocabulary
    scores = []
    for words in ("dog; red car", "dog, puppy; red car"):
        model.set_vocabulary(Vocabulary.parse(words))
        features = model.encode([sample])[1]
        logits = model._decode(features, model.vocabulary, False).final.class_logits_BQC1
        scores.append(logits[..., 0])
    model.set_vocabulary(old)
    assert (scores[1] >= scores[0] - 1e-5).all()


@pytest.mark.slow
def test_loading_other_clip_weights_renews_the_text(tmp_path, sample):
    model = build_reference_model("convnext", tmp_path)
    before = model.classifier(model.vocabulary).embeddings_SK
    name = "clip_model.text_projection"
    state = model.backbone.state_dict()
    model.backbone.load_state_dict({**state, name: state[name] + 0.1})
    after = model.classifier(model.vocabulary).embeddings_SK
    assert (before - after).abs().max() > 1e-3


@pytest.mark.parametrize("task", ["semantic", "panoptic", "instance"])
def test_each_task_alone(model, sample, monkeypatch, task):
    off = {"semantic": False, "panoptic": False, "instance": False}
    together = model([sample])[0]
    monkeypatch.setattr(model, "task_settings", replace(model.task_settings, **{**off, task: True}))
    result = model([sample])[0]
    key = {"semantic": "sem_seg", "panoptic": "panoptic_seg", "instance": "instances"}[task]
    assert set(result) == {key}
    if task == "semantic":
        torch.testing.assert_close(result[key], together[key])
    if task == "panoptic":
        assert torch.equal(result[key][0], together[key][0])
    if task == "instance":  # without panoptic, stuff classes stay: no panoptic metadata needed
        assert len(result[key]) == model.task_settings.detections_per_image


def test_recall_asks_for_all_proposals(model, sample, monkeypatch):
    from frozenseg.config import get_config
    from frozenseg.mask_classification.from_config import task_settings

    cfg = get_config()
    assert not task_settings(cfg).query_masks
    cfg.MODEL.MASK_FORMER.TEST.RECALL_ON = True
    settings = task_settings(cfg)
    assert settings.query_masks
    assert not settings.semantic_at_padded_size
    monkeypatch.setattr(model, "task_settings", settings)
    proposals = model([sample])[0]["query_masks"]
    assert len(proposals) == model.sem_seg_head.predictor.query_feat.num_embeddings
    assert proposals.pred_classes.max() < len(model.vocabulary)


def test_without_the_ensemble_clip_is_not_asked(model, sample, monkeypatch):
    monkeypatch.setattr(model.class_path, "ensemble", EnsembleSettings(enabled=False))
    monkeypatch.setattr(model.backbone, "pool_masks", lambda *_: pytest.fail("asked CLIP"))
    features = model.encode([sample])[1]
    prediction = model._decode(features, model.vocabulary, False).final
    probabilities = model.classify(prediction, features).shared.exp()
    expected = prediction.class_logits_BQC1.softmax(-1)
    torch.testing.assert_close(probabilities, expected, atol=1e-6, rtol=1e-4)


@pytest.mark.slow
def test_losses_fall_when_trained_on_one_batch(tmp_path):
    model = build_reference_model("convnext", tmp_path).train()
    parameters = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(parameters, lr=1e-3)
    totals = []
    for step in range(12):
        torch.manual_seed(step)
        loss = sum(model(reference_batch()).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        totals.append(loss.item())
    assert totals[-1] < 0.8 * totals[0]


def test_a_training_sample_without_ground_truth_is_named(model, sample):
    model.train()
    with pytest.raises(ValueError, match=r"INPUT\.DATASET_MAPPER_NAME"):
        model([sample])
    model.eval()


@pytest.mark.parametrize(
    ("given", "number", "source"),
    [(0, 3, "the classes of kitchen_train (DATASETS.TRAIN)"), (7, 7, "the config")],
)
def test_the_number_of_classes_follows_the_data_unless_it_is_given(given, number, source, caplog):
    cfg = get_config()
    assert cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES == 0
    cfg.DATASETS.TRAIN = ("kitchen_train",)
    cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES = given
    with caplog.at_level(logging.INFO, logger="frozenseg"):
        assert number_of_classes(cfg, Vocabulary.parse("cat; dog; sky:stuff")) == number
    assert f"MODEL.SEM_SEG_HEAD.NUM_CLASSES is {number}, from {source}" in caplog.text


def test_class_count_must_be_the_training_vocabularys(model):
    words = Vocabulary.parse("cat; dog")
    with pytest.raises(ValueError, match=r"NUM_CLASSES is 5 .*leave it out, or set it to 2"):
        MaskClassificationModel(
            backbone=model.backbone,
            sem_seg_head=model.sem_seg_head,
            criterion=model.criterion,
            text_classifier=model.classifier,
            pixel_mean=[0.0] * 3,
            pixel_std=[1.0] * 3,
            size_divisibility=32,
            task_settings=model.task_settings,
            ensemble=model.class_path.ensemble,
            train_vocabulary=words,
            test_vocabulary=words,
        )


def test_training_sets_must_share_their_words():
    from detectron2.data import MetadataCatalog

    from frozenseg.encoders.open_vocabulary import datasets_vocabulary

    for name, words in (("words_a", "cat; dog"), ("words_b", "cat; dog"), ("words_c", "dog; cat")):
        MetadataCatalog.get(name).vocabulary = Vocabulary.parse(words)
    same = datasets_vocabulary("DATASETS.TRAIN", ("words_a", "words_b"))
    assert same.names == ("cat", "dog")
    with pytest.raises(ValueError, match="words_a and words_c have different vocabularies"):
        datasets_vocabulary("DATASETS.TRAIN", ("words_a", "words_c"))
    for name in ("words_a", "words_b", "words_c"):
        MetadataCatalog.pop(name)
