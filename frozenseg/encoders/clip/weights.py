"""Builds an open_clip model and fills it with weights: a tag, a local file, or random numbers."""

from __future__ import annotations

import copy
import logging
import os
from pathlib import Path
from typing import Any

import open_clip
import torch
from open_clip.model import convert_to_custom_text_state_dict
from torch import Tensor, nn

from frozenseg.checkpoints.download import check_hub_file, hub_access
from frozenseg.checkpoints.loading import take_weights
from frozenseg.checkpoints.reading import BATCH_COUNTER, differences, read_state_dict
from frozenseg.checkpoints.skip_init import SkipInitialisers, do_weights_follow, wants_meta
from frozenseg.checkpoints.table import HUB_REVISIONS
from frozenseg.encoders.clip.config import ClipConfig, read_clip_config

logger = logging.getLogger(__name__)

_OPENAI_PREFIX = "openai:"
# What `load_clip` takes as weights and that brings none: nothing, and OpenAI's activation alone.
NO_WEIGHTS = ("", _OPENAI_PREFIX)
_FILE = (
    "give the path of a file with them (CLIP_PRETRAINED_WEIGHTS; of a Fusioner VISUAL_WEIGHTS or "
    "LANGUAGE_WEIGHTS)"
)
_WEIGHT_SUFFIXES = (".pt", ".pth", ".bin", ".safetensors")
# What OpenAI's archives carry beside the parameters; nobody else's files have all three.
_OPENAI_CONSTANTS = ("input_resolution", "context_length", "vocab_size")


def no_weights(key: str) -> str:
    """Why a file must hold an encoder for which the config key `key` names no weights."""
    return (
        "the config gives none: this encoder would be random. Set "
        f"{key} to the name (it is then downloaded) or the file of the weights that it was trained "
        "with, or take a checkpoint that holds them"
    )


def load_clip(
    model_name: str, weights: str = "", device: torch.device | str = "cpu"
) -> open_clip.CLIP:
    """A CLIP model of open_clip, in eval mode, on `device`.

    Args:
        model_name: a name of open_clip, or the path of a JSON config (see `read_clip_config`).
        weights: one of
            "" - random numbers, with one warning;
            a tag of open_clip for this model ("openai", "laion2b_s29b_b131k_ft_soup", ...), which
            is checked against open_clip's list before anything is downloaded;
            the path of a local file (.pt, .pth, .bin, .safetensors; only tensors are read, never
            pickled code; OpenAI's TorchScript archives such as RN50.pt work);
            "openai:" + path - a local file with OpenAI's weights in another format;
            "openai:" - OpenAI's activation without weights (a checkpoint will bring them).
        device: "meta" builds names and shapes only; no file is then read or downloaded.

    The activation of both towers is QuickGELU where the config says `quick_gelu`, where the tag
    was trained with it by open_clip's list ("openai" always), and for OpenAI's files: archives
    are recognised, others are marked by "openai:". Parameter names do not tell the two apart.

    Raises:
        FileNotFoundError: the config or the weights file is missing.
        ValueError: unknown model, unknown tag, unreadable file, or weights of another model.
        ConnectionError: the tag's weights could not be downloaded.
    """
    config = read_clip_config(model_name)
    is_openai = weights.startswith(_OPENAI_PREFIX)
    name = weights.removeprefix(_OPENAI_PREFIX)
    tag: dict[str, Any] = {}  # what open_clip knows of these weights
    path = None
    if name and config.is_builtin and not is_openai:
        tag = open_clip.get_pretrained_cfg(config.name, name)
    if name and not tag:
        path = _local_file(config, name, is_openai)
    quick_gelu = is_openai or config.quick_gelu or bool(tag.get("quick_gelu"))
    is_meta = wants_meta(device)
    if is_meta or (not name and do_weights_follow()):
        model = _build_unset(config, quick_gelu=quick_gelu).eval()
        return model.to("meta" if is_meta else device)
    if not name:
        logger.warning(
            "CLIP %s has random weights: words and masks mean nothing to it until weights are "
            "loaded (CLIP_PRETRAINED_WEIGHTS, VISUAL_WEIGHTS or LANGUAGE_WEIGHTS in the config, or "
            "a checkpoint that contains them)",
            model_name,
        )
        return _build(config, quick_gelu=quick_gelu).eval().to(device)
    state = read_state_dict(path or _download(tag, f"tag {name!r} of CLIP {config.name}"))
    if all(constant in state for constant in _OPENAI_CONSTANTS):
        quick_gelu = True
        state = {key: tensor for key, tensor in state.items() if key not in _OPENAI_CONSTANTS}
    model = _build_unset(config, quick_gelu=quick_gelu)
    _load_strictly(model, state, model_name=model_name, source=str(path or f"tag {name!r}"))
    return model.eval().to(device)


def _local_file(config: ClipConfig, weights: str, is_openai: bool) -> Path:
    path = Path(weights).expanduser()
    if path.is_file():
        return path
    if is_openai or path.suffix.lower() in _WEIGHT_SUFFIXES or len(path.parts) > 1:
        raise FileNotFoundError(
            f"CLIP weights file not found: {path}; {_FILE}, or an open_clip tag to download them, "
            "or take a checkpoint that holds them (--weights)"
        )
    tags = ", ".join(open_clip.list_pretrained_tags_by_model(config.name)) or "none"
    raise ValueError(
        f"unknown weights {weights!r} for CLIP {config.name}: its tags are {tags}; or give the "
        f"path of a {'/'.join(_WEIGHT_SUFFIXES)} file, or '' for random weights"
    )


def _download(tag: dict[str, Any], label: str) -> Path:
    repository, file = os.path.split(tag.get("hf_hub", ""))
    with hub_access(label, _FILE):
        if repository:
            revision = HUB_REVISIONS.get(repository)
            path = open_clip.pretrained.download_pretrained_from_hf(repository, file, revision)
        else:
            path = open_clip.download_pretrained(tag)
    return check_hub_file(Path(path))


def _build(config: ClipConfig, *, quick_gelu: bool) -> nn.Module:
    arguments = copy.deepcopy(config.arguments) | {"quick_gelu": quick_gelu}
    model_class = open_clip.CustomTextCLIP if config.custom_text else open_clip.CLIP
    try:
        return model_class(**arguments)
    except (TypeError, AssertionError, KeyError, RuntimeError) as error:
        reason = str(error) or type(error).__name__
        raise ValueError(f"CLIP config {config.name}: cannot build the model: {reason}") from error


def _build_unset(config: ClipConfig, *, quick_gelu: bool) -> Any:
    """A model to be filled: no initial values, which take seconds to compute for large models.

    Convolutions have the layout that `FrozenCLIP` gives them, which would otherwise be a copy.
    """
    with SkipInitialisers():
        model: Any = _build(config, quick_gelu=quick_gelu)
    for parameter in model.visual.parameters():
        if parameter.dim() == 4:
            parameter.data = torch.empty_like(parameter, memory_format=torch.channels_last)
    return model


def _load_strictly(
    model: nn.Module, state: dict[str, Tensor], *, model_name: str, source: str
) -> None:
    """Fills `model`; every parameter must be in `state` with its shape, and nothing else."""
    if hasattr(model, "text"):
        state = convert_to_custom_text_state_dict(state)
    problems = differences(state, model.state_dict(), optional=BATCH_COUNTER)
    if problems:
        raise ValueError(
            f"CLIP weights {source} do not fit model {model_name}: parameters {problems}"
            ". Were these weights made for this model (CLIP_MODEL_NAME)?"
        )
    take_weights(model, state)
