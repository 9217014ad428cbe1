"""The CLIP and SAM models of the golden data."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from frozenseg.encoders.clip.backbone import FrozenCLIP
from frozenseg.encoders.clip.weights import load_clip

PREFIX = "backbone."


def write_clip_config(golden_folder: Path, tmp_path: Path) -> Path:
    """An open_clip config file with the trunk's sizes, as `load_clip` reads it."""
    config = json.loads((golden_folder / "open_clip.json").read_text())
    extra = json.loads((golden_folder / "extra_config.json").read_text())
    config["timm_convnext"] = extra["timm_convnext"]
    path = tmp_path / f"{golden_folder.name}.json"
    path.write_text(json.dumps(config))
    return path


def write_sam_config(golden_folder: Path, tmp_path: Path) -> Path:
    """SAM's sizes as `load_sam` reads them; no file is written where the model has none."""
    extra = json.loads((golden_folder / "extra_config.json").read_text())
    path = tmp_path / f"{golden_folder.name}_sam.json"
    if extra["sam"]:
        encoder, decoder = extra["sam"], extra["sam_decoder"]
        sizes = {
            "image_size": encoder["img_size"],
            "patch_size": encoder["patch_size"],
            "width": encoder["embed_dim"],
            "depth": encoder["depth"],
            "heads": encoder["num_heads"],
            "window_size": encoder["window_size"],
            "global_attn_indexes": encoder["global_attn_indexes"],
            "decoder_width": encoder["out_chans"],
            "decoder_heads": decoder["num_heads"],
            "decoder_mlp": decoder["mlp_dim"],
        }
        path.write_text(json.dumps(sizes))
    return path


def load_golden_clip(golden_folder: Path, tmp_path: Path) -> FrozenCLIP:
    """The backbone of a golden model, its weights loaded strictly."""
    backbone = FrozenCLIP(load_clip(str(write_clip_config(golden_folder, tmp_path))))
    state = torch.load(golden_folder / "state_dict.pt", weights_only=True)
    own = {name[len(PREFIX) :]: value for name, value in state.items() if name.startswith(PREFIX)}
    backbone.load_state_dict(own, strict=True)
    return backbone


def network_input(golden_folder: Path, image: torch.Tensor) -> torch.Tensor:
    """One raw image normalised and padded bottom and right to a multiple of 32: (1, 3, H, W)."""
    extra = json.loads((golden_folder / "extra_config.json").read_text())
    mean = torch.tensor(extra["pixel_mean"])[:, None, None]
    std = torch.tensor(extra["pixel_std"])[:, None, None]
    height, width = image.shape[-2:]
    padding = (0, -width % 32, 0, -height % 32)
    return torch.nn.functional.pad((image.float() - mean) / std, padding)[None]
