"""Building a model by its name, and what runs know of each family."""

from __future__ import annotations

import pytest

from frozenseg.build import build_model, family
from frozenseg.config import get_config, load_config
from frozenseg.encoders.clip.weights import no_weights


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
    assert family(cfg).encoders_without_weights(cfg) == (
        {"backbone.": no_weights(key)} if random else {}
    )


@pytest.mark.parametrize(("name", "needed"), [("FCCLIP", False), ("FrozenSeg", True)])
def test_a_sam_without_weights_is_random_where_there_is_one(name, needed):
    cfg = get_config()
    cfg.MODEL.META_ARCHITECTURE = name
    expected = {"sam.": no_weights("MODEL.SAM_PRETRAINED_WEIGHTS")} if needed else {}
    assert family(cfg).encoders_without_weights(cfg) == expected


@pytest.mark.parametrize(
    ("visual", "language", "random"),
    [("openai", "openai", ()), ("", "hub", ("visual",)), ("a.pth", "", ("language",))],
)
def test_fusioners_encoders_have_weights_of_their_own(visual, language, random):
    cfg = get_config()
    cfg.MODEL.META_ARCHITECTURE = "Fusioner"
    cfg.MODEL.FUSIONER.VISUAL_WEIGHTS, cfg.MODEL.FUSIONER.LANGUAGE_WEIGHTS = visual, language
    assert family(cfg).encoders_without_weights(cfg) == {
        f"{part}.": no_weights(f"MODEL.FUSIONER.{part.upper()}_WEIGHTS") for part in random
    }
    assert family(cfg).output_tasks(cfg) == ["semantic", "episodes"]


def test_an_unknown_architecture_is_named_with_the_known_ones():
    cfg = get_config()
    cfg.MODEL.META_ARCHITECTURE = "FCCLP"
    with pytest.raises(ValueError, match=r"META_ARCHITECTURE 'FCCLP' .* FCCLIP"):
        build_model(cfg)


@pytest.mark.parametrize(
    "key", ["BACKBONE.NAME", "SEM_SEG_HEAD.NAME", "MASK_FORMER.TRANSFORMER_DECODER_NAME"]
)
def test_a_part_that_is_not_registered_is_named_with_its_key(key):
    cfg = load_config("configs/miniature/fcclip.yaml", [f"MODEL.{key}", "nothing"])
    with pytest.raises(ValueError, match=rf"MODEL\.{key} is 'nothing', which is not registered"):
        build_model(cfg)
