"""Reads the weight files of self-supervised vision transformers and ResNets into timm's names."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from timm.layers import build_sincos2d_pos_embed
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from frozenseg.checkpoints.loading import take_weights
from frozenseg.checkpoints.reading import BATCH_COUNTER, differences, read_state_dict

# Where training code keeps the encoder among a teacher, a projector and a predictor.
_MOCO_PREFIX = "base_encoder."
_PREFIXES = (_MOCO_PREFIX, "backbone.")
# Layers behind the last map or the last norm: classifiers and projectors.
_HEADS = ("head.", "fc.")


def load_timm_weights(model: nn.Module, path: Path, *, label: str) -> None:
    """Fills a headless model of timm from a file; every parameter must be there, nothing else.

    Understood are timm's own names (torchvision's ResNets have the same), DINO's released
    backbones, and MoCo v3's released files, whose fixed sine positions are computed where a file
    leaves them out. Classifiers and projectors in the file are ignored.

    Args:
        label: names the model in messages.
    Raises: FileNotFoundError; ValueError for a damaged file or another model's weights.
    """
    state = read_state_dict(path)
    prefix = next((p for p in _PREFIXES if any(name.startswith(p) for name in state)), "")
    state = {
        name.removeprefix(prefix): tensor
        for name, tensor in state.items()
        if name.startswith(prefix) and not name.removeprefix(prefix).startswith(_HEADS)
    }
    if prefix == _MOCO_PREFIX and "pos_embed" not in state and isinstance(model, VisionTransformer):
        state["pos_embed"] = sine_positions(model)
    expected: Mapping[str, Tensor] = model.state_dict()
    problems = differences(state, expected, optional=BATCH_COUNTER)
    if problems:
        raise ValueError(
            f"weights {path} do not fit the visual encoder {label}: parameters {problems}. Were "
            "these weights made for this model?"
        )
    take_weights(model, state)


def sine_positions(model: VisionTransformer) -> Tensor:
    """MoCo v3's fixed positions (1, P, D): zeros for the class token, then the grid's.

    A quarter of the channels each: sine and cosine of the row, sine and cosine of the column, at
    frequencies 10000^(-4i / D). Source: MoCo v3, arXiv:2104.02057, section 5.
    """
    grid_ND = build_sincos2d_pos_embed(
        list(model.patch_embed.grid_size), dim=model.embed_dim, interleave_sin_cos=True
    )
    prefix = 0 if model.no_embed_class else model.num_prefix_tokens
    return torch.cat([grid_ND.new_zeros(prefix, grid_ND.shape[1]), grid_ND])[None]
