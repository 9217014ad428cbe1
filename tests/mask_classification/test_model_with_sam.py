"""FrozenSeg as a whole: what SAM is asked for, what stays frozen, and its proposals."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from frozenseg.mask_classification.detectron2_io import as_mask_logits
from frozenseg.structures import ImageGeometry
from tools.record_reference import build_reference_model, reference_batch

MASK_ENSEMBLE = ("TEST.USE_SAM_MASKS", "True")
FEW_POINTS = ("TEST.SAM_MASK_GENERATION.POINTS_PER_SIDE", "2")
ALL_MASKS = (
    *("TEST.SAM_MASK_GENERATION.PRED_IOU_THRESH", "-100.0"),
    *("TEST.SAM_MASK_GENERATION.STABILITY_SCORE_THRESH", "0.0"),
    *("TEST.SAM_MASK_GENERATION.MIN_MASK_REGION_AREA", "0"),
)
OFF = (
    *("MODEL.MASK_FORMER.SAM_FEATURE_FUSE_LAYER", "-1"),
    *("MODEL.MASK_FORMER.SAM_QUERY_FUSE_LAYER", "-1"),
)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return build_reference_model("frozenseg", tmp_path_factory.mktemp("text"))


@pytest.fixture(scope="module")
def ensemble_model(tmp_path_factory):
    folder = tmp_path_factory.mktemp("text")
    return build_reference_model("frozenseg", folder, *MASK_ENSEMBLE, *FEW_POINTS, *ALL_MASKS)


@pytest.fixture
def sample():
    return {"image": reference_batch()[0]["image"]}


@pytest.mark.slow
def test_only_decoder_and_void_embedding_train(model):
    trained = {n.split(".")[0] for n, p in model.named_parameters() if p.requires_grad}
    assert trained == {"sem_seg_head", "void_embedding"}
    model.train()
    try:
        assert not any(m.training for part in (model.backbone, model.sam) for m in part.modules())
    finally:
        model.eval()


@pytest.mark.slow
def test_gradients_reach_every_part_of_the_injection(tmp_path):
    model = build_reference_model("frozenseg", tmp_path).train()
    sum(model(reference_batch()).values()).backward()
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and ("sam" in name or "fpn3" in name):
            assert parameter.grad.abs().sum() > 0, name


@pytest.mark.slow
@pytest.mark.parametrize("query_layer", ["-1", "2"])
def test_sam_in_the_pixel_decoder(tmp_path, sample, query_layer):
    """The masks depend on SAM, every part learns, and the feature injector is off."""
    options = (*OFF[:2], "MODEL.MASK_FORMER.SAM_QUERY_FUSE_LAYER", query_layer)
    joined = (*options[:1], "0", *options[2:], "MODEL.SAM_BRANCH", "pixel_decoder")
    model = build_reference_model("frozenseg", tmp_path, *joined)
    plain = build_reference_model("frozenseg", tmp_path, *OFF)
    own = model.state_dict().keys() - plain.state_dict().keys()
    head = {name.removeprefix("sem_seg_head.") for name in own if not name.startswith("sam.")}
    assert head == {
        f"pixel_decoder.sam_proj.{n}" for n in ("0.weight", "0.bias", "1.weight", "1.bias")
    }
    _, features = model.encode([sample])
    decoder = model.sem_seg_head.pixel_decoder
    other = features | {"sam": features["sam"].flip(-1)}
    before, after = (decoder(each).mask_features_BDHW for each in (features, other))
    assert not torch.allclose(before, after)
    sum(model.train()(reference_batch()).values()).backward()
    assert all(parameter.grad.abs().sum() > 0 for parameter in decoder.sam_proj.parameters())


@pytest.mark.slow
def test_without_injection_it_is_fcclip_and_has_no_sam(tmp_path, sample):
    model = build_reference_model("frozenseg", tmp_path, *OFF)
    assert model.sam is None
    fcclip = build_reference_model("convnext", tmp_path)
    assert fcclip.state_dict().keys() == model.state_dict().keys()
    expected, found = (m([sample])[0]["sem_seg"] for m in (fcclip, model))
    torch.testing.assert_close(found, expected)


@pytest.mark.slow
@pytest.mark.parametrize("key", ["FEATURE", "QUERY"])
@pytest.mark.parametrize("layer", ["-1", "0", "1", "2"])
def test_every_fuse_layer_works_and_matters(tmp_path, sample, key, layer):
    options = dict(zip(OFF[::2], OFF[1::2], strict=True))
    options[f"MODEL.MASK_FORMER.SAM_{key}_FUSE_LAYER"] = layer
    words = [word for pair in options.items() for word in pair]
    model = build_reference_model("frozenseg", tmp_path, *words)
    plain = build_reference_model("frozenseg", tmp_path, *OFF)
    difference = (model([sample])[0]["sem_seg"] - plain([sample])[0]["sem_seg"]).abs().max()
    assert (difference > 1e-5) == (layer != "-1")
    batch = reference_batch()
    sum(model.train()(batch).values()).backward()


@pytest.mark.slow
def test_sam_sees_its_square_at_test_time_and_the_crop_in_training(model, monkeypatch, sample):
    seen = []
    forward = type(model.sam).forward
    monkeypatch.setattr(
        type(model.sam), "forward", lambda self, x: seen.append(tuple(x.shape)) or forward(self, x)
    )
    model([sample])
    assert seen == [(1, 3, 64, 64)]
    model.train()
    try:
        model(reference_batch())
    finally:
        model.eval()
    assert seen[1] == (2, 3, 128, 128)


@pytest.mark.slow
def test_masks_of_samples_are_used_and_none_at_all_is_no_error(ensemble_model, sample):
    masks = torch.zeros(2, 96, 128, dtype=torch.bool)
    masks[0, :48], masks[1, :, :64] = True, True
    ensemble_model.task_settings = replace(ensemble_model.task_settings, query_masks=True)
    result = ensemble_model([{**sample, "sam_masks": masks}])[0]
    found = result["sam_proposals"]
    assert torch.equal(found.pred_masks.cpu(), masks)
    assert found.pred_classes.max() < len(ensemble_model.vocabulary)
    empty = ensemble_model([{**sample, "sam_masks": masks[:0]}])[0]
    assert len(empty["sam_proposals"]) == 0
    assert empty["sem_seg"].isfinite().all()


@pytest.mark.slow
def test_the_model_makes_proposals_itself(ensemble_model, sample):
    ensemble_model.task_settings = replace(ensemble_model.task_settings, query_masks=True)
    found = ensemble_model([sample])[0]["sam_proposals"]
    assert 0 < len(found) <= 50
    assert found.image_size == (96, 128)


@pytest.mark.slow
def test_proposals_without_masks_or_generator_name_the_keys(ensemble_model, sample, monkeypatch):
    monkeypatch.setattr(ensemble_model, "_mask_generator", None)
    with pytest.raises(ValueError, match=r"TEST\.SAM_MASKS_DIR"):
        ensemble_model([sample])


def test_judgement_of_a_mask_is_that_of_its_place(ensemble_model, sample):
    """Pooling a mask at the output's size equals pooling it at the network's own."""
    geometry = ImageGeometry(padded=(96, 128), image=(96, 128), output=(192, 256))
    mask = torch.zeros(1, 96, 128, dtype=torch.bool)
    mask[0, 32:, 64:] = True
    enlarged = mask.repeat_interleave(2, 1).repeat_interleave(2, 2)
    with torch.no_grad():
        _, features = ensemble_model.encode([sample])
        own, other = (
            ensemble_model.classify_proposals(as_mask_logits(m, geometry)[None], features)
            for m in (mask, enlarged)
        )
    torch.testing.assert_close(own, other)
    torch.testing.assert_close(own.exp().sum(-1), torch.ones(1, 1))


def test_padding_is_outside_of_every_mask():
    geometry = ImageGeometry(padded=(4, 6), image=(3, 4), output=(6, 8))
    logits = as_mask_logits(torch.ones(1, 6, 8, dtype=torch.bool), geometry)
    assert logits.shape == (1, 4, 6)
    assert (logits[0, :3, :4] == 1).all()
    assert (logits[0, 3:] == -1).all()
    assert (logits[0, :, 4:] == -1).all()
