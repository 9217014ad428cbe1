"""A very small Fusioner, built without a config."""

from __future__ import annotations

import json

import pytest
import torch

from frozenseg.encoders.text.classifier import TextClassifierBuilder
from frozenseg.encoders.text.language import load_language_encoder
from frozenseg.encoders.visual.encoder import load_visual_encoder
from frozenseg.fusioner.fusion import EarlyFusion, LateFusion
from frozenseg.fusioner.method import FusionSegmenter
from frozenseg.fusioner.model import Fusioner
from frozenseg.fusioner.spnet import SPNet
from frozenseg.fusioner.zs3net import ZS3Net
from frozenseg.vocab import Vocabulary

VIT = {
    "img_size": 32,
    "patch_size": 8,
    "embed_dim": 12,
    "depth": 1,
    "num_heads": 2,
    "num_classes": 0,
}
CLIP = {
    "embed_dim": 8,
    "vision_cfg": {"image_size": 32, "layers": 1, "width": 16, "head_width": 8, "patch_size": 8},
    "text_cfg": {"context_length": 24, "vocab_size": 49408, "width": 8, "heads": 2, "layers": 1},
}
WORDS = Vocabulary.parse("cat, kitten; dog; tree:stuff")


@pytest.fixture(scope="session")
def encoder_files(tmp_path_factory):
    """Paths of the JSON files of a visual and of a language encoder."""
    folder = tmp_path_factory.mktemp("fusioner")
    (folder / "vit.json").write_text(json.dumps({"timm_vit": VIT}))
    (folder / "clip.json").write_text(json.dumps(CLIP))
    return folder / "vit.json", folder / "clip.json"


@pytest.fixture
def build(encoder_files):
    """build("early", **changes) -> Fusioner in eval mode; the same weights every time."""

    def make(method: str = "early", **changes):
        torch.manual_seed(0)
        visual = load_visual_encoder(str(encoder_files[0]))
        language = load_language_encoder(str(encoder_files[1]))
        channels = {"visual_channels": visual.channels, "text_channels": language.embed_dim}
        sizes = {**channels, "width": 16}
        layers = {"layers": 1, "heads": 2, "feedforward": 24}
        if method in ("spnet", "zs3net"):
            own = {"spnet": SPNet, "zs3net": ZS3Net}[method](**sizes)
        else:
            fusion = {"early": EarlyFusion, "late": LateFusion}[method](**sizes, **layers)
            own = FusionSegmenter(fusion, width=16, temperature=0.07)
        arguments = {
            "visual": visual,
            "language": language,
            "method": own,
            "text_classifier": TextClassifierBuilder(language, templates=["a {}."]),
            "pixel_mean": [120.0, 115.0, 100.0],
            "pixel_std": [60.0, 61.0, 62.0],
            "train_vocabulary": WORDS,
            "test_vocabulary": WORDS,
            "crop": 32,
            "stride": 24,
            "windows_at_once": 3,
        }
        return Fusioner(**{**arguments, **changes}).eval()

    return make
