"""Every model of configs/fusioner builds, on the meta device: names, shapes, what is trained."""

from __future__ import annotations

from pathlib import Path

import pytest

from frozenseg.build import build_model
from frozenseg.config import load_config
from frozenseg.data.catalog.register import register_splits

pytestmark = pytest.mark.slow

CONFIGS = Path(__file__).parents[2] / "configs" / "fusioner"
PAIRINGS = sorted(path.stem for path in CONFIGS.glob("*.yaml"))
# Channels of patches and of words.
VISUAL = {"clip_b": 512, "clip_l": 768, "dino_b": 768, "moco_b": 768}
LANGUAGE = {"clip_b": 512, "clip_l": 768, "bert_b": 768, "bert_l": 1024}


def test_the_twelve_pairings_are_there_early_and_late():
    pairings = {
        f"{visual}_{language}"
        for visual in VISUAL
        for language in LANGUAGE
        if language.startswith("bert") or language == (visual if visual in LANGUAGE else "clip_b")
    }
    assert len(pairings) == 12
    pairings |= {"clip_rn101", "resnet_101"}
    late = {f"late_{pairing}" for pairing in pairings}
    assert set(PAIRINGS) == pairings | late | {"spnet", "zs3net"}


@pytest.mark.parametrize("name", PAIRINGS)
def test_it_builds(name):
    register_splits()
    cfg = load_config(CONFIGS / f"{name}.yaml", ["MODEL.DEVICE", "meta"])
    model = build_model(cfg)
    trained = {n: tuple(p.shape) for n, p in model.named_parameters() if p.requires_grad}
    assert all(parameter.startswith("method.") for parameter in trained)
    pairing = name.removeprefix("late_")
    if pairing[:6] not in VISUAL:
        return
    assert trained["method.fusion.visual_proj.0.weight"] == (VISUAL[pairing[:6]],)
    last = trained["method.fusion.blocks.11.mlp.fc2.weight"]
    assert last == (512, 2048)
    text = "text_proj.weight" if name.startswith("late_") else "text_proj.1.weight"
    assert trained[f"method.fusion.{text}"] == (512, LANGUAGE[pairing[7:]])
    assert trained["method.decoder.conv_4.weight"] == (512, 512, 1, 1)
    assert model.crop == 224
    assert model.visual.stride in (14, 16)
