"""The miniature SAM: segment_anything's own modules at small sizes."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import torch
from safetensors.torch import load_file
from segment_anything.modeling import (
    ImageEncoderViT,
    MaskDecoder,
    PromptEncoder,
    Sam,
    TwoWayTransformer,
)
from torch import nn

SAM_CONFIG = Path(__file__).resolve().parents[2] / "configs" / "miniature" / "miniature_sam.json"


def build_sam(config_file: Path = SAM_CONFIG) -> Sam:
    """A SAM with the sizes of the JSON file and random weights; works with SamPredictor."""
    config = json.loads(config_file.read_text(encoding="utf-8"))
    size, patch, width = config["image_size"], config["patch_size"], config["decoder_width"]
    encoder = ImageEncoderViT(
        img_size=size,
        patch_size=patch,
        embed_dim=config["width"],
        depth=config["depth"],
        num_heads=config["heads"],
        mlp_ratio=4,
        out_chans=width,
        norm_layer=partial(nn.LayerNorm, eps=1e-6),
        use_rel_pos=True,
        global_attn_indexes=tuple(range(config["depth"])),
    )
    prompts = PromptEncoder(
        embed_dim=width,
        image_embedding_size=(size // patch, size // patch),
        input_image_size=(size, size),
        mask_in_chans=16,
    )
    transformer = TwoWayTransformer(
        depth=2,
        embedding_dim=width,
        mlp_dim=config["decoder_mlp"],
        num_heads=config["decoder_heads"],
    )
    decoder = MaskDecoder(
        transformer=transformer,
        transformer_dim=width,
        iou_head_depth=3,
        iou_head_hidden_dim=width,
    )
    return Sam(encoder, prompts, decoder).eval()


def load_sam(weights: Path, config_file: Path = SAM_CONFIG) -> Sam:
    """The SAM of the JSON file with the weights of a safetensors file (any float type).

    Raises: FileNotFoundError, or ValueError where names or shapes do not fit.
    """
    if not weights.is_file():
        raise FileNotFoundError(f"{weights} does not exist; run tools/pretrain_miniature.py sam")
    sam = build_sam(config_file)
    state = {name: tensor.to(torch.float32) for name, tensor in load_file(weights).items()}
    try:
        sam.load_state_dict(state)
    except RuntimeError as error:
        raise ValueError(f"{weights} does not fit {config_file}: {error}") from error
    return sam
