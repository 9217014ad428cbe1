"""Fusion, upsampler, head and loss against recorded values of the released implementation."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import torch

from frozenseg.fusioner.cosine_logits import binary_loss, cosine_logits
from frozenseg.fusioner.fusion import EarlyFusion
from frozenseg.fusioner.method import Upsampler
from frozenseg.inference.argmax import labels_of

SHARED = Path(os.environ.get("FROZENSEG_SHARED", Path(__file__).parents[3] / "shared"))
FILE = SHARED / "golden" / "fusioner_tiny" / "module.pt"
pytestmark = [
    pytest.mark.golden,
    pytest.mark.skipif(not FILE.is_file(), reason=f"{FILE} is not here"),
]


@pytest.fixture(scope="module")
def golden() -> dict[str, Any]:
    return torch.load(FILE, weights_only=True)


@pytest.fixture(scope="module")
def fusion(golden: dict[str, Any]) -> EarlyFusion:
    sizes = golden["config"]
    module = EarlyFusion(
        visual_channels=golden["visual"].shape[-1],
        text_channels=golden["text"].shape[-1],
        width=sizes["width"],
        layers=sizes["layers"],
        heads=sizes["heads"],
        feedforward=sizes["ff"],
    )
    module.load_state_dict(golden["fusion"], strict=True)
    return module.eval()


@pytest.fixture(scope="module")
def upsampler(golden: dict[str, Any]) -> Upsampler:
    module = Upsampler(golden["config"]["width"])
    module.load_state_dict(golden["decoder"], strict=True)
    return module.eval()


@torch.no_grad()
def test_fusion(golden: dict[str, Any], fusion: EarlyFusion) -> None:
    patches, classes = fusion(golden["visual"], golden["text"])
    torch.testing.assert_close(patches, golden["patches"], atol=1e-3, rtol=0)
    torch.testing.assert_close(classes, golden["classes"], atol=1e-3, rtol=0)


@torch.no_grad()
def test_upsampler(golden: dict[str, Any], upsampler: Upsampler) -> None:
    grid = golden["config"]["grid"]
    patches_BDhw = golden["patches"].transpose(1, 2).unflatten(2, (grid, grid))
    features = upsampler(patches_BDhw)
    torch.testing.assert_close(features, golden["pixel_features"], atol=1e-3, rtol=0)


@torch.no_grad()
def test_head_and_loss(golden: dict[str, Any]) -> None:
    side = golden["config"]["output"]
    logits = cosine_logits(
        golden["pixel_features"],
        golden["classes"],
        (side, side),
        temperature=golden["config"]["temperature"],
    )
    torch.testing.assert_close(logits, golden["logits"], atol=1e-3, rtol=0)
    found = torch.stack([labels_of(logits_THW) for logits_THW in logits])
    words = torch.arange(logits.shape[1])[None, :, None, None]
    preds = (found[:, None] == words).long()  # golden ones are one-hot, all 0 for background
    assert (preds == golden["preds"]).float().mean() >= 0.999
    loss = binary_loss(
        logits.flatten(0, 1),
        golden["target"].flatten(0, 1),
        ~golden["ignore"].flatten(0, 1),
    )
    torch.testing.assert_close(loss, golden["loss"], rtol=1e-3, atol=0)


@torch.no_grad()
def test_all_of_it(golden: dict[str, Any], fusion: EarlyFusion, upsampler: Upsampler) -> None:
    grid, side = golden["config"]["grid"], golden["config"]["output"]
    patches, classes = fusion(golden["visual"], golden["text"])
    features = upsampler(patches.transpose(1, 2).unflatten(2, (grid, grid)))
    logits = cosine_logits(features, classes, (side, side))
    torch.testing.assert_close(logits, golden["logits"], atol=1e-3, rtol=0)
