"""Reads SAM's published weight files, and says what is wrong with other files."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import torch
from torch import Tensor

from frozenseg.checkpoints.reading import differences, read_state_dict
from frozenseg.checkpoints.table import WEIGHTS
from frozenseg.encoders.sam.config import SAM_CONFIGS, SamConfig

KEY = "MODEL.SAM_PRETRAINED_WEIGHTS"
_BLOCK = 2**22  # bytes read at a time


def read_sam_weights(
    config: SamConfig, weights: str, expected: dict[str, Tensor]
) -> dict[str, Tensor]:
    """The tensors of a .pth or .safetensors file for a SAM; floating-point ones as float32.

    Args:
        config: the architecture the file must fit.
        weights: path of the file. Where it has a name under which the authors publish weights,
            the digits in that name must begin its MD5.
        expected: the model's state; names and shapes must be equal to the file's.

    Raises:
        FileNotFoundError: the file is missing; says where to get it.
        ValueError: it is damaged, or made for another model.
    """
    path = Path(weights).expanduser()
    if not path.is_file():
        raise FileNotFoundError(
            f"{KEY}: SAM weights file not found: {path}. {where_to_get(config)}"
        )
    check_digits(path)
    state = read_state_dict(path)
    state = {name: t for name, t in state.items() if not name.startswith(config.unused)}
    problems = differences(state, expected)
    if problems:
        raise ValueError(
            f"{KEY}: {path} does not fit SAM {config.name}: {problems}. Is MODEL.SAM_NAME the "
            "model these weights were made for?"
        )
    return {
        name: tensor.to(torch.float32) if tensor.is_floating_point() else tensor
        for name, tensor in state.items()
    }


def where_to_get(config: SamConfig) -> str:
    """One sentence for whoever has no weights."""
    if not config.official_file:
        return f"Set {KEY} to the file with the weights of {config.name}, or to '' for random ones"
    name = next((row.name for row in WEIGHTS.values() if row.file == config.official_file), "")
    return (
        f"Set {KEY} to {name!r}, which downloads it; or get {config.official_file} from "
        f"{config.source}, and set {KEY} to its path; or take a FrozenSeg checkpoint that brings "
        f"SAM's weights (then {KEY} may be '')"
    )


def check_digits(path: Path) -> None:
    """ValueError where a file with a published name has another checksum than its name says."""
    config = next((c for c in SAM_CONFIGS.values() if c.official_file == path.name), None)
    digits = re.search(r"_([0-9a-f]{6,})\.", path.name)
    if config is None or digits is None:
        return
    checksum = hashlib.md5(usedforsecurity=False)  # what the names were made with
    with path.open("rb") as file:
        while block := file.read(_BLOCK):
            checksum.update(block)
    if not checksum.hexdigest().startswith(digits[1]):
        raise ValueError(
            f"{KEY}: {path} is damaged or not the published file: its MD5 begins with "
            f"{checksum.hexdigest()[: len(digits[1])]}, not with {digits[1]} as its name says. "
            f"Get it again from {config.source}, or rename weights of your own"
        )
