"""Where the config ends: keyword arguments of the Fusioner model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from detectron2.config import CfgNode
from torch import nn

from frozenseg.encoders.clip.weights import NO_WEIGHTS, no_weights
from frozenseg.encoders.open_vocabulary import shared_arguments
from frozenseg.encoders.text.language import (
    LanguageEncoder,
    brings_weights,
    load_language_encoder,
)
from frozenseg.encoders.visual.encoder import FrozenVisualEncoder, load_visual_encoder
from frozenseg.encoders.visual.feature_cache import CachedVisualEncoder
from frozenseg.fusioner.fusion import EarlyFusion, LateFusion
from frozenseg.fusioner.method import FusionSegmenter
from frozenseg.fusioner.spnet import SPNet
from frozenseg.fusioner.zs3net import ZS3Net


def model_arguments(cfg: CfgNode) -> dict[str, Any]:
    """Builds the parts of the model that the config describes.

    Raises: ValueError and FileNotFoundError that name the key.
    """
    settings: Any = cfg.MODEL.FUSIONER
    device = "meta" if cfg.MODEL.DEVICE == "meta" else "cpu"
    visual = load_visual_encoder(settings.VISUAL, settings.VISUAL_WEIGHTS, device)
    check_sides(cfg, visual.stride)
    language = load_language_encoder(settings.LANGUAGE, settings.LANGUAGE_WEIGHTS, device)
    return {
        **shared_arguments(cfg, language, settings.TEMPLATES),
        "visual": visual,
        "language": language,
        "method": build_method(settings, visual, language),
        "features": feature_cache(visual, settings.FEATURE_CACHE_DIR, cfg.INPUT.EPISODES.AUGMENT),
        "threshold": settings.THRESHOLD,
        "crop": settings.CROP,
        "stride": settings.STRIDE,
        "windows_at_once": settings.WINDOWS_AT_ONCE,
    }


def check_sides(cfg: CfgNode, patch: int) -> None:
    """Raises: ValueError for windows or training squares that are not made of whole patches.

    What lies beyond the last whole patch is not looked at, yet the logits are stretched over it.
    """
    for key, side in (
        ("MODEL.FUSIONER.CROP", cfg.MODEL.FUSIONER.CROP),
        ("INPUT.IMAGE_SIZE", cfg.INPUT.IMAGE_SIZE),
    ):
        if side % patch:
            raise ValueError(
                f"{key} is {side}: it must be a multiple of {patch}, the side of a patch of "
                f"{cfg.MODEL.FUSIONER.VISUAL}, such as {max(1, round(side / patch)) * patch}"
            )


METHODS: dict[str, type[nn.Module]] = {
    "early": EarlyFusion,
    "late": LateFusion,
    "spnet": SPNet,
    "zs3net": ZS3Net,
}


def build_method(
    settings: Any, visual: FrozenVisualEncoder, language: LanguageEncoder
) -> nn.Module:
    """What MODEL.FUSIONER.METHOD names, for these encoders.

    Raises: ValueError for an unknown name.
    """
    if settings.METHOD not in METHODS:
        raise ValueError(
            f"MODEL.FUSIONER.METHOD is {settings.METHOD!r}: use one of {', '.join(METHODS)}"
        )
    kind = METHODS[settings.METHOD]
    sizes = {
        "visual_channels": visual.channels,
        "text_channels": language.embed_dim,
        "width": settings.WIDTH,
    }
    if kind in (SPNet, ZS3Net):
        return kind(**sizes)
    fusion = kind(
        **sizes, layers=settings.LAYERS, heads=settings.HEADS, feedforward=settings.FEEDFORWARD
    )
    return FusionSegmenter(fusion, width=settings.WIDTH, temperature=settings.TEMPERATURE)


def feature_cache(
    visual: FrozenVisualEncoder, folder: str, augment: bool
) -> CachedVisualEncoder | None:
    """Patches kept on disk below MODEL.FUSIONER.FEATURE_CACHE_DIR; None without one.

    Raises: ValueError with random crops, whose features would fill the disk and never be found.
    """
    if folder and augment:
        raise ValueError(
            "MODEL.FUSIONER.FEATURE_CACHE_DIR is set, but no crop of a training with augmentation "
            "comes twice: set INPUT.EPISODES.AUGMENT False, or leave the folder out"
        )
    return CachedVisualEncoder(visual, Path(folder)) if folder else None


def output_tasks(cfg: CfgNode) -> list[str]:
    """See `frozenseg.build.Family`."""
    return ["semantic", "episodes"]


def encoders_without_weights(cfg: CfgNode) -> dict[str, str]:
    """See `frozenseg.build.Family`."""
    settings: Any = cfg.MODEL.FUSIONER
    brought = {
        "visual": settings.VISUAL_WEIGHTS not in NO_WEIGHTS,
        "language": brings_weights(settings.LANGUAGE, settings.LANGUAGE_WEIGHTS),
    }
    return {
        f"{part}.": no_weights(f"MODEL.FUSIONER.{part.upper()}_WEIGHTS")
        for part, has_weights in brought.items()
        if not has_weights
    }


def protocol(cfg: CfgNode) -> dict[str, Any]:
    """See `frozenseg.build.Family`."""
    settings: Any = cfg.MODEL.FUSIONER
    model = {
        "architecture": cfg.MODEL.META_ARCHITECTURE,
        "method": settings.METHOD,
        "visual": Path(settings.VISUAL).name,
        "language": Path(settings.LANGUAGE).name,
        "threshold": settings.THRESHOLD,
        "window": {"crop": settings.CROP, "stride": settings.STRIDE},
    }
    return {"model": model, "templates": settings.TEMPLATES}
