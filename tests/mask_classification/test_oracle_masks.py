"""TEST.ORACLE_MASKS: CLIP names the annotated masks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from detectron2.data.transforms import TransformList
from PIL import Image

from frozenseg.build import load_model
from frozenseg.checkpoints.named_models import model_config
from frozenseg.data.mappers.targets import AnyTargets

SIZE = (40, 64)


@pytest.fixture(scope="module")
def model():
    cfg, weights = model_config(
        "miniature-fcclip",
        opts=["MODEL.DEVICE", "cpu", "TEST.ORACLE_MASKS", "True"]
        + ["MODEL.MASK_FORMER.TEST.PANOPTIC_ON", "True"]
        + ["MODEL.MASK_FORMER.TEST.INSTANCE_ON", "True"]
        + ["MODEL.MASK_FORMER.TEST.SEMANTIC_ON", "True"],
    )
    return load_model(cfg, weights)[0].eval()


def sample(masks):
    image = torch.randint(0, 256, (3, *SIZE), generator=torch.Generator().manual_seed(0))
    return {"image": image.byte(), "height": SIZE[0], "width": SIZE[1], "true_masks": masks}


def quarters():
    masks = torch.zeros(4, *SIZE, dtype=torch.bool)
    for i, mask in enumerate(masks):
        top, left = 20 * (i // 2), 32 * (i % 2)
        mask[top : top + 20, left : left + 32] = True
    return masks


def test_right_names_of_true_masks_are_the_truth(model, monkeypatch):
    masks, classes = quarters(), [3, 50, 7, 3]

    def name_them(logits_BMHW, features):
        scores = torch.full((1, 4, len(model.vocabulary) + 1), -30.0)
        scores[0, range(4), classes] = 0.0
        return scores

    monkeypatch.setattr(model, "classify_proposals", name_them)
    [result] = model([sample(masks)])
    labels, segments = result["panoptic_seg"]
    category = {segment["id"]: segment["category_id"] for segment in segments}
    truth = torch.tensor(classes)[masks.int().argmax(0)]
    found = torch.tensor([category[i] for i in labels.flatten().tolist()]).view(SIZE)
    assert torch.equal(found, truth)
    assert torch.equal(result["sem_seg"].argmax(0), truth)
    best = result["instances"]
    sure = best.scores > 0.9
    wanted = {(c, int(m.sum())) for c, m in zip(classes, masks, strict=True) if model.thing_C[c]}
    found = zip(best.pred_classes[sure].tolist(), best.pred_masks[sure], strict=True)
    assert {(c, int(m.sum())) for c, m in found} == wanted


@pytest.mark.slow
def test_an_image_without_segments_has_no_result(model):
    nothing, something = sample(torch.zeros(0, *SIZE, dtype=torch.bool)), sample(quarters())
    [empty, full] = model([nothing, something])
    labels, segments = empty["panoptic_seg"]
    assert (labels == 0).all()
    assert segments == []
    assert len(empty["instances"]) == 0
    assert empty["sem_seg"].shape[1:] == SIZE
    assert full["panoptic_seg"][1]


def test_a_sample_without_annotations_is_an_error_with_the_key(model):
    one = sample(quarters())
    del one["true_masks"]
    with pytest.raises(ValueError, match=r"TEST\.ORACLE_MASKS is on, but the sample has no"):
        model([one])


@pytest.fixture
def record(tmp_path):
    """A record of each kind: two segments, 1 and 2, of which the right one is a crowd."""
    ids = np.ones(SIZE, dtype=np.uint8)
    ids[:, 40:] = 2
    panoptic = np.zeros((*SIZE, 3), dtype=np.uint8)
    panoptic[..., 0] = ids
    Image.fromarray(panoptic).save(tmp_path / "panoptic.png")
    Image.fromarray(np.where(ids == 1, 9, 255).astype(np.uint8)).save(tmp_path / "semantic.png")
    box = [[0, 0, 40, 0, 40, 40, 0, 40]]
    kinds = {
        "panoptic": {
            "pan_seg_file_name": str(tmp_path / "panoptic.png"),
            "segments_info": [
                {"id": 1, "category_id": 9, "iscrowd": 0},
                {"id": 2, "category_id": 5, "iscrowd": 1},
            ],
        },
        "semantic": {"sem_seg_file_name": str(tmp_path / "semantic.png")},
        "instance": {"annotations": [{"segmentation": box, "category_id": 9, "iscrowd": 0}]},
    }
    return lambda kind: {"file_name": str(tmp_path / "image.png"), **kinds.get(kind, {})}


@pytest.mark.parametrize("kind", ["panoptic", "semantic", "instance"])
def test_masks_of_every_kind_of_test_set(record, kind):
    classes, masks = AnyTargets(255)(record(kind), SIZE, TransformList([]), 64)
    assert classes.tolist() == [9]
    assert masks.shape == (1, 64, 64)
    assert masks[0, : SIZE[0], :40].all()
    assert masks.sum() == SIZE[0] * 40


def test_a_set_without_annotations_is_an_error_with_the_file(record):
    with pytest.raises(ValueError, match=r"image\.png: its dataset has no annotations"):
        AnyTargets(255)(record("none"), SIZE, TransformList([]), 64)
