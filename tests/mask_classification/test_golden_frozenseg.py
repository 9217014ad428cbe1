"""What only FrozenSeg has, against the golden values: SAM's maps and the branch's other read."""

from __future__ import annotations

import pytest
import torch

from tests.mask_classification.conftest import build_golden_model
from tests.mask_classification.test_golden import close

pytestmark = pytest.mark.golden


@pytest.fixture(scope="module")
def golden_folder(golden_dir):
    return golden_dir / "frozenseg_tiny_convnext"


@pytest.mark.parametrize(("call", "index"), [("img0", 0), ("img1", 1)])
def test_maps_of_sam(golden_model, golden_inputs, golden_eval, call, index):
    with torch.no_grad():
        _, features = golden_model.encode([golden_inputs[index]])
        pixels = golden_model.sem_seg_head.pixel_decoder(features)
    close(pixels.sam.neck_BDhw, golden_eval[call]["sam_embedding"], atol=1e-4)
    close(pixels.sam.encoded_BDhw, golden_eval[call]["sam_fpn"][0])


def test_read_of_the_first_level_only(golden_folder, golden_inputs, golden_eval, tmp_path):
    """The same weights, read soundly: other numbers than the released read's, and recorded too."""
    model = build_golden_model(golden_folder, tmp_path, "MODEL.SAM_BRANCH", "first_level")
    expected = golden_eval["img0_msda_level0"]
    with torch.no_grad():
        _, features = model.encode([golden_inputs[0]])
        final = model._decode(features, model.vocabulary, False).final
        close(final.class_logits_BQC1, expected["pred_logits"])
        close(final.mask_logits_BQHW, expected["pred_masks"])
        close(model.classify(final, features).shared, expected["mask_cls_after_ensemble"])
    released = golden_eval["img0"]["pred_logits"]
    assert (final.class_logits_BQC1 - released).abs().max() > 0.1


def test_a_batch_changes_scores_only_with_the_released_read(golden_folder, golden_inputs, tmp_path):
    samples = [{**golden_inputs[0]}, {**golden_inputs[0]}]
    for mode, changes in (("released", True), ("first_level", False)):
        model = build_golden_model(golden_folder, tmp_path, "MODEL.SAM_BRANCH", mode)
        assert model.batch_independent != changes
        with torch.no_grad():
            alone, both = (
                model.sem_seg_head.pixel_decoder(model.encode(s)[1]).sam.encoded_BDhw
                for s in (samples[:1], samples)
            )
        close(both[0], alone[0], atol=1e-5)  # the first image reads its own buffers
        # the second image reads the second third of the first one's, which a single image does not
        assert ((both[1] - alone[0]).abs().max() > 1e-3) == changes
