"""How far the golden models deviate with their frozen encoders in bfloat16: recorded values."""

from __future__ import annotations

import pytest
import torch

from tests.mask_classification.conftest import build_golden_model

pytestmark = pytest.mark.golden

# |difference| / |float32 value|, Frobenius norms: the worst encoder map, class and mask logits. The
# decoders compute in float32, but a cell that a mask takes or leaves changes what they attend to.
# Twice what was measured on a CPU without bfloat16 units: (0.0052, 0.028, 0.012) of FC-CLIP,
# (0.0066, 0.076, 0.058) of FrozenSeg.
LIMITS = {
    "fcclip_tiny_convnext": (0.011, 0.057, 0.025),
    "frozenseg_tiny_convnext": (0.014, 0.16, 0.12),
}


def norm_ratio(rough, exact):
    return float((rough - exact).norm() / exact.norm())


def test_deviation(golden_folder, golden_inputs, tmp_path):
    model = build_golden_model(golden_folder, tmp_path)
    found = {}
    for precision in ("float32", "bfloat16"):
        for tower in filter(None, (model.backbone, model.sam)):
            tower.precision = precision
        with torch.no_grad():
            _, features = model.encode([golden_inputs[0]])
            final = model._decode(features, model.vocabulary, False).final
        assert {each.dtype for each in features.values()} == {torch.float32}
        found[precision] = (features, final.class_logits_BQC1, final.mask_logits_BQHW)
    (exact, *exact_logits), (rough, *rough_logits) = found["float32"], found["bfloat16"]
    deviations = [
        max(norm_ratio(rough[name], exact[name]) for name in exact),
        *map(norm_ratio, rough_logits, exact_logits),
    ]
    assert deviations[0] > 0
    assert all(map(float.__le__, deviations, LIMITS[golden_folder.name])), deviations
