"""What the engine knows of each architecture."""

from __future__ import annotations

import pytest

from frozenseg.config import get_config
from frozenseg.engine.architectures import architecture, random_encoders


@pytest.mark.parametrize(
    ("weights", "random"),
    [("", True), ("openai:", True), ("openai", False), ("openai:RN50.pt", False)],
)
@pytest.mark.parametrize(("name", "section"), [("FCCLIP", "FC_CLIP"), ("FrozenSeg", "FROZEN_SEG")])
def test_which_encoders_get_no_weights_from_the_config(name, section, weights, random):
    cfg = get_config()
    cfg.MODEL.META_ARCHITECTURE = name
    cfg.MODEL[section].CLIP_PRETRAINED_WEIGHTS = weights
    cfg.MODEL.SAM_PRETRAINED_WEIGHTS = "sam_vit_b.pth"
    key = f"MODEL.{section}.CLIP_PRETRAINED_WEIGHTS"
    assert random_encoders(cfg) == ({"backbone.": key} if random else {})


@pytest.mark.parametrize(("name", "needed"), [("FCCLIP", False), ("FrozenSeg", True)])
def test_a_sam_without_weights_is_random_where_there_is_one(name, needed):
    cfg = get_config()
    cfg.MODEL.META_ARCHITECTURE = name
    expected = {"sam.": "MODEL.SAM_PRETRAINED_WEIGHTS"} if needed else {}
    assert random_encoders(cfg) == expected


@pytest.mark.parametrize(
    ("visual", "language", "random"),
    [("openai", "openai", ()), ("", "hub", ("visual",)), ("a.pth", "", ("language",))],
)
def test_fusioners_encoders_have_weights_of_their_own(visual, language, random):
    cfg = get_config()
    cfg.MODEL.META_ARCHITECTURE = "Fusioner"
    cfg.MODEL.FUSIONER.VISUAL_WEIGHTS, cfg.MODEL.FUSIONER.LANGUAGE_WEIGHTS = visual, language
    assert random_encoders(cfg) == {
        f"{part}.": f"MODEL.FUSIONER.{part.upper()}_WEIGHTS" for part in random
    }
    assert architecture(cfg).tasks(cfg) == ["semantic", "episodes"]
