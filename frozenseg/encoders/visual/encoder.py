"""Frozen visual encoders: normalised images in, a map of patch features out.

Legend: B images, H and W pixels, h and w patches, C channels.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from torch import Tensor, nn

from frozenseg.checkpoints.download import check_hub_file, hub_access
from frozenseg.checkpoints.skip_init import SkipInitialisers, do_weights_follow
from frozenseg.checkpoints.table import HUB_REVISIONS
from frozenseg.encoders.clip.weights import load_clip
from frozenseg.encoders.frozen import FrozenEncoder
from frozenseg.encoders.visual.conv_stem import build_vit
from frozenseg.encoders.visual.patch_towers import PatchTower, build_patch_tower
from frozenseg.encoders.visual.timm_weights import load_timm_weights
from frozenseg.errors import did_you_mean
from frozenseg.files import read_json

logger = logging.getLogger(__name__)

_FORMAT = 1  # part of the digest: raise it when the computation changes
_VIT_SECTION = "timm_vit"
_TIMM = "timm"  # as weights: those that timm publishes


@dataclass(frozen=True)
class VisualEncoderSpec:
    """One row of `VISUAL_ENCODERS`; either `clip` or `timm` is set.

    Attributes:
        clip: open_clip's name of the model.
        timm: timm's name of the architecture.
        timm_tag: the name under which timm publishes these weights, "" if it does not.
        source: where the authors publish the weights.
    """

    clip: str = ""
    timm: str = ""
    timm_tag: str = ""
    source: str = ""


VISUAL_ENCODERS: dict[str, VisualEncoderSpec] = {
    "clip-vit-b-16": VisualEncoderSpec(clip="ViT-B-16"),
    "clip-vit-l-14": VisualEncoderSpec(clip="ViT-L-14"),
    "clip-rn101": VisualEncoderSpec(clip="RN101"),
    "resnet-101": VisualEncoderSpec(
        timm="resnet101",
        timm_tag="resnet101.tv_in1k",
        source="https://download.pytorch.org/models/resnet101-63fe2227.pth",
    ),
    "dino-vit-b-16": VisualEncoderSpec(
        timm="vit_base_patch16_224",
        timm_tag="vit_base_patch16_224.dino",
        source="https://dl.fbaipublicfiles.com/dino/dino_vitbase16_pretrain/"
        "dino_vitbase16_pretrain.pth",
    ),
    "moco-v3-vit-b-16": VisualEncoderSpec(
        timm="vit_base_patch16_224",
        source="https://dl.fbaipublicfiles.com/moco-v3/vit-b-300ep/vit-b-300ep.pth.tar",
    ),
}


class FrozenVisualEncoder(FrozenEncoder):
    """A visual encoder that never changes: no gradients, always in eval mode.

    Attributes:
        channels: C.
        stride: side of a patch in pixels.
    """

    def __init__(self, tower: PatchTower):
        super().__init__()
        self.tower = tower.requires_grad_(False)
        self.channels = tower.channels
        self.stride = tower.stride
        self.train(False)

    @torch.no_grad()
    def forward(self, images_B3HW: Tensor) -> Tensor:
        """Patch features (B, C, h, w), float32, not normalised; h = H // stride, w = W // stride.

        Pixels to the right of the last whole patch, or below it, are not looked at.
        Raises: ValueError for images smaller than a patch.
        """
        h, w = (side // self.stride for side in images_B3HW.shape[-2:])
        if h == 0 or w == 0:
            raise ValueError(
                f"images of {images_B3HW.shape[-2]} x {images_B3HW.shape[-1]} pixels are smaller "
                f"than a patch of the visual encoder ({self.stride} x {self.stride}): pad them"
            )
        return self.tower(images_B3HW[..., : h * self.stride, : w * self.stride]).float()

    def _weights(self) -> Mapping[str, Tensor]:
        return self.tower.state_dict()

    def _describe(self) -> dict[str, Any]:
        return {"format": _FORMAT, **self.tower.describe()}


def load_visual_encoder(
    name: str, weights: str = "", device: torch.device | str = "cpu"
) -> FrozenVisualEncoder:
    """A frozen visual encoder on `device`.

    Args:
        name: a row of `VISUAL_ENCODERS`, or the path of a `.json` file: a CLIP configuration (see
            `read_clip_config`; the image tower may be a vision transformer, a ConvNeXt or a
            ResNet), or `{"timm_vit": {...}}` with arguments of timm's VisionTransformer, and
            "stem_channels" (see `conv_stem`); other keys beside "timm_vit" are the author's notes.
        weights: "" - random numbers, with one warning; for a CLIP as in `load_clip`; for the others
            "timm" - the weights that timm publishes, from its hub - or the path of a local file
            (.pth, .pt, .bin, .tar, .safetensors; see `load_timm_weights`).
        device: "meta" builds names and shapes only; no weights are then read or downloaded.

    Raises:
        FileNotFoundError: the JSON or weights file is missing.
        ValueError: unknown name, unreadable file, or weights of another model.
        ConnectionError: weights could not be downloaded.
    """
    if name.lower().endswith(".json"):
        vit = _read_vit_section(Path(name).expanduser())
        spec = VisualEncoderSpec(clip=name)
    elif name in VISUAL_ENCODERS:
        vit, spec = None, VISUAL_ENCODERS[name]
    else:
        hint = did_you_mean(name, VISUAL_ENCODERS)
        raise ValueError(
            f"unknown visual encoder {name!r}: {hint}Give one of {', '.join(VISUAL_ENCODERS)}, or "
            "the path of a .json file"
        )
    if vit is not None:
        visual = _load_timm(
            lambda: _build_vit(vit, name), name, VisualEncoderSpec(), weights, device
        )
    elif spec.clip:
        visual = load_clip(spec.clip, weights, device).visual
    else:
        visual = _load_timm(lambda: _build_timm(spec.timm), name, spec, weights, device)
    return FrozenVisualEncoder(build_patch_tower(visual)).to(device)


def _load_timm(
    build: Callable[[], nn.Module],
    name: str,
    spec: VisualEncoderSpec,
    weights: str,
    device: torch.device | str,
) -> nn.Module:
    if torch.device(device).type == "meta":
        with torch.device("meta"):
            return build()
    path: Path | None
    if weights == _TIMM:
        path = _download(name, spec)
    else:
        path = Path(weights).expanduser() if weights else None
    if path is not None and not path.is_file():
        hint = f". Get it from {spec.source}" if spec.source else ""
        raise FileNotFoundError(
            f"weights file of the visual encoder {name} not found: {path}{hint}"
        )
    # Initial values take seconds to compute for large models, and the weights overwrite them.
    with SkipInitialisers() if path or do_weights_follow() else contextlib.nullcontext():
        model = build()
    if path:
        load_timm_weights(model, path, label=name)
    elif not do_weights_follow():
        logger.warning(
            "visual encoder %s has random weights: its features mean nothing until weights are "
            "loaded%s",
            name,
            f" ({spec.source})" if spec.source else "",
        )
    return model


def _download(name: str, spec: VisualEncoderSpec) -> Path:
    if not spec.timm_tag:
        source = f"get them from {spec.source} and " if spec.source else ""
        raise ValueError(
            f"weights {_TIMM!r}: timm publishes none for the visual encoder {name}; {source}give "
            "the path of the file"
        )
    repository = f"timm/{spec.timm_tag}"
    with hub_access(f"weights of the visual encoder {name}", f"give the path of {spec.source}"):
        from huggingface_hub import hf_hub_download

        revision = HUB_REVISIONS.get(repository)
        path = Path(hf_hub_download(repository, "model.safetensors", revision=revision))
    return check_hub_file(path)


def _build_timm(architecture: str) -> nn.Module:
    options = {"dynamic_img_size": True} if architecture.startswith("vit_") else {}
    return timm.create_model(architecture, num_classes=0, global_pool="", **options)


def _build_vit(arguments: dict[str, Any], source: str) -> nn.Module:
    # No head, whatever the file says: pooling would also move the last norm behind it.
    settings = arguments | {"global_pool": "", "num_classes": 0, "dynamic_img_size": True}
    try:
        return build_vit(settings)
    except (TypeError, AssertionError, ValueError, RuntimeError, ZeroDivisionError) as error:
        reason = str(error) or type(error).__name__
        raise ValueError(f"{source}: {_VIT_SECTION}: cannot build the model: {reason}") from error


def _read_vit_section(path: Path) -> dict[str, Any] | None:
    """The arguments under "timm_vit" of a JSON file; None for a file without, a CLIP's."""
    content = read_json(path, "give the path of a visual encoder's configuration")
    if not isinstance(content, dict) or _VIT_SECTION not in content:
        return None
    section = content[_VIT_SECTION]
    if not isinstance(section, dict):
        raise ValueError(f"{path}: {_VIT_SECTION} is {section!r}; give a JSON object")
    return section
