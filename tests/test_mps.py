"""Apple's GPU by a stand-in: where tensors go, and that PyTorch has every operator there."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

import frozenseg
from tests.mps_stand_in import MpsStandIn, lacking

# What scaled_dot_product_attention is on the CPU, where the stand-in computes.
OF_THE_STAND_IN = {"_scaled_dot_product_flash_attention_for_cpu"}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "tasks"),
    [("miniature-fcclip", ("panoptic", "semantic", "instance")),
     ("miniature-frozenseg", ("panoptic",)), ("miniature-fusioner", ("semantic",))],
)  # fmt: skip
def test_auto_takes_an_apple_gpu_with_the_same_results(monkeypatch, name, tasks):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    image = np.asarray(Image.open(frozenseg.sample_image()).convert("RGB").resize((96, 96)))
    segmenter = frozenseg.load(name, device="auto")
    assert segmenter.device.type == "cpu"
    expected = {task: segmenter(image, task=task).label_map for task in tasks}
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    with MpsStandIn() as mode:
        segmenter.to("auto")
        assert segmenter.device.type == "mps"
        found = {task: segmenter(image, task=task).label_map for task in tasks}
        segmenter.to("cpu")
    for task in tasks:
        np.testing.assert_array_equal(found[task], expected[task])
    assert len(mode.called) > 50
    assert set(lacking(mode.called)) <= OF_THE_STAND_IN


def test_an_operator_that_mps_lacks_is_found():
    cpu_alone = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default
    assert set(lacking({torch.ops.aten.topk.default, cpu_alone})) == OF_THE_STAND_IN
