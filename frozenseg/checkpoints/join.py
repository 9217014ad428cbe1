"""Joins the weights of a Mask-Adapter and of a model into one file."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from frozenseg.checkpoints.loading import TEACHER_PREFIXES
from frozenseg.checkpoints.reading import read_state_dict
from frozenseg.files import write_atomically

logger = logging.getLogger(__name__)

ADAPTER, TEXT, IMAGE_TOWER = "mask_adapter.", "cdt.", "backbone.clip_model.visual."
# What the adapter reads, and what tells the model's width: (K,) is their second axis.
_FUSE, _VOID = "mask_adapter.fuse.weight", "void_embedding.weight"


def join_adapter(adapter: Path, model: Path, target: Path) -> dict[str, int]:
    """Writes `mask_adapter.*` of one file and everything else of another as .safetensors.

    The embedding of "no object" is the model's: its decoder was trained with it. Teachers and the
    class weights of the loss are left out.

    Returns: how many tensors came from each file, by its name.
    Raises: FileNotFoundError; ValueError where one of the parts is missing or they do not fit.
    """
    if target.suffix.lower() != ".safetensors":
        raise ValueError(f"{target}: the name of the result must end in .safetensors")
    first, second = read_state_dict(adapter), read_state_dict(model)
    own = {name: value for name, value in first.items() if name.startswith(ADAPTER)}
    left_out = (ADAPTER, "criterion.", *TEACHER_PREFIXES)
    rest = {name: value for name, value in second.items() if not name.startswith(left_out)}
    for path, name, part in ((adapter, _FUSE, own), (model, _VOID, rest)):
        if name not in part:
            raise ValueError(f"{path} holds no {name}: give the adapter's file, then the model's")
    if not any(name.startswith("sem_seg_head.") for name in rest):
        raise ValueError(f"{model} holds no decoder (sem_seg_head.*): name a whole model")
    _check_fit(adapter, first, model, second)
    content = {name: value.clone().contiguous() for name, value in {**rest, **own}.items()}
    write_atomically(target, lambda part: save_file(content, str(part)))
    return {str(adapter): len(own), str(model): len(rest)}


def _check_fit(
    adapter: Path, first: Mapping[str, Tensor], model: Path, second: Mapping[str, Tensor]
) -> None:
    for path, name, value, rank in ((adapter, _FUSE, first, 4), (model, _VOID, second, 2)):
        if value[name].ndim != rank:
            shape = tuple(value[name].shape)
            raise ValueError(f"{path}: {name} has shape {shape}, which this weight never has")
    width, needed = first[_FUSE].shape[1], second[_VOID].shape[1]
    if width != needed:
        raise ValueError(
            f"{adapter} is for a CLIP of {width} channels, but the one of {model} has {needed}"
        )
    with_text = [any(name.startswith(TEXT) for name in state) for state in (first, second)]
    if with_text[0] != with_text[1]:
        raise ValueError(
            f"{(adapter, model)[with_text[1]]} belongs to MAFT+ and the other file does not: an "
            "adapter fits the CLIP that it was trained with alone"
        )
    shared = [name for name in first.keys() & second.keys() if name.startswith(IMAGE_TOWER)]
    differing = [name for name in shared if not torch.equal(first[name], second[name])]
    if differing:
        logger.warning(
            "%s and %s hold different CLIPs (%d of %d tensors of the image tower): the adapter was "
            "not trained with this one, and whether it fits is not known",
            *(adapter, model, len(differing), len(shared)),
        )
