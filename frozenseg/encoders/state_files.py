"""Reads named tensors from weight files; no pickled Python code is ever run."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

# What OpenAI's archives of CLIP carry beside the parameters; nobody else's files have all three.
_OPENAI_CONSTANTS = ("input_resolution", "context_length", "vocab_size")
_WRAPPERS = ("state_dict", "model")


def read_state_dict(path: Path) -> tuple[dict[str, Tensor], bool]:
    """The named tensors of a weight file, and whether it is OpenAI's archive of a CLIP model.

    Formats: .safetensors; what `torch.save` wrote (read with `weights_only=True`; the tensors may
    lie under "state_dict" or "model", names may begin with "module."); TorchScript archives (read
    by PyTorch's own reader, which does not unpickle Python objects).
    Raises: FileNotFoundError; ValueError for a file that is none of these, or holds other objects.
    """
    if not path.is_file():
        raise FileNotFoundError(f"weights file not found: {path}")
    if path.suffix.lower() == ".safetensors":
        content: Any = _read_safetensors(path)
    elif _is_torchscript(path):
        content = _read_torchscript(path)
    else:
        content = _read_torch(path)
    for key in _WRAPPERS:
        if isinstance(content, dict) and isinstance(content.get(key), dict):
            content = content[key]
            break
    if not isinstance(content, dict) or not content:
        raise ValueError(f"weights file {path}: expected named tensors, found {_describe(content)}")
    is_openai = all(name in content for name in _OPENAI_CONSTANTS)
    state = {name: tensor for name, tensor in content.items() if name not in _OPENAI_CONSTANTS}
    wrong = next((name for name, tensor in state.items() if not isinstance(tensor, Tensor)), None)
    if wrong is not None:
        raise ValueError(
            f"weights file {path}: entry {wrong!r} is {_describe(state[wrong])}, not a tensor"
        )
    if all(name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    return state, is_openai


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    try:
        return load_file(str(path))
    except (SafetensorError, OSError) as error:
        raise ValueError(f"weights file {path} is not a readable safetensors file: {error}") from (
            error
        )


def _read_torch(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise ValueError(
            f"weights file {path} is not a PyTorch weight file or holds Python objects, which are "
            "never unpickled here; save its tensors alone, for instance as .safetensors"
        ) from error
    except (RuntimeError, EOFError, OSError, KeyError, ValueError) as error:
        reason = str(error).split("\n")[0]
        raise ValueError(f"weights file {path} cannot be read: {reason}") from error


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _read_torchscript(path: Path) -> dict[str, Tensor]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # newer PyTorch announces TorchScript's end
            module = torch.jit.load(str(path), map_location="cpu")
    except RuntimeError as error:
        reason = str(error).split("\n")[0]
        raise ValueError(f"weights file {path} is a damaged TorchScript archive: {reason}") from (
            error
        )
    return dict(module.state_dict())


def _describe(value: Any) -> str:
    return f"a {type(value).__name__}" if value else f"an empty {type(value).__name__}"
