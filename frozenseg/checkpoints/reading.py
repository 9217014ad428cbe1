"""Reads named tensors from weight files; no pickled Python code is ever run."""

from __future__ import annotations

import pickle
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

# What OpenAI's archives of CLIP carry beside the parameters; nobody else's files have all three.
_OPENAI_CONSTANTS = ("input_resolution", "context_length", "vocab_size")
_WRAPPERS = ("state_dict", "model")
# The batch counter of a batch norm: older files leave it out, and eval mode never reads it.
BATCH_COUNTER = "num_batches_tracked"


def read_state_dict(path: Path) -> tuple[dict[str, Tensor], bool]:
    """The named tensors of a weight file, and whether it is OpenAI's archive of a CLIP model.

    Formats: .safetensors; what `torch.save` wrote (read with `weights_only=True`; the tensors may
    lie under "state_dict" or "model", names may begin with "module."); TorchScript archives (read
    by PyTorch's own reader, which does not unpickle Python objects).
    Raises: FileNotFoundError; ValueError for a file that is none of these, or holds other objects.
    """
    content = read_file(path)
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


def read_file(path: Path) -> Any:
    """All that a file of one of the formats of `read_state_dict` holds; tensors on the CPU.

    Raises: FileNotFoundError; ValueError, in one line, for a file that is damaged, of another
        format, or needs Python objects to be unpickled.
    """
    if not path.is_file():
        raise FileNotFoundError(f"weights file not found: {path}")
    try:
        if path.suffix.lower() == ".safetensors":
            return load_file(str(path))
        if _is_torchscript(path):
            return _read_torchscript(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the readers' errors (zip, pickle, JSON, ...) share no base
        raise ValueError(f"weights file {path} {_refusal(path, error)}") from error


def differences(
    state: Mapping[str, Tensor], expected: Mapping[str, Tensor], *, optional: str = ""
) -> str:
    """What keeps `state` from filling a model whose own is `expected`; "" if nothing does.

    For instance "2 missing, first norm.weight; 1 unexpected, first head.bias". Names that end in
    `optional`, if given, may be missing.
    """
    reshaped = [
        f"{name} ({list(state[name].shape)} in the file, {list(tensor.shape)} in the model)"
        for name, tensor in expected.items()
        if name in state and state[name].shape != tensor.shape
    ]
    missing = [name for name in expected if name not in state]
    if optional:
        missing = [name for name in missing if not name.endswith(optional)]
    groups = (
        ("of another shape", reshaped),
        ("missing", missing),
        ("unexpected", [name for name in state if name not in expected]),
    )
    return "; ".join(f"{len(names)} {what}, first {names[0]}" for what, names in groups if names)


def _refusal(path: Path, error: Exception) -> str:
    """What is wrong with a file, in place of PyTorch's advice to unpickle it all the same."""
    if isinstance(error, pickle.UnpicklingError) and _is_pickle(path):
        return (
            "holds pickled Python objects, which are never unpickled here (or it is damaged): save "
            "its tensors alone, for instance as .safetensors"
        )
    kind = "safetensors" if path.suffix.lower() == ".safetensors" else "PyTorch"
    return f"is damaged or no {kind} file: get it again"


def _is_pickle(path: Path) -> bool:
    """Whether a file is a whole archive of `torch.save`, or begins like a pickle."""
    if zipfile.is_zipfile(path):
        return True
    with path.open("rb") as file:
        return file.read(1) == b"\x80"


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _read_torchscript(path: Path) -> dict[str, Tensor]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer PyTorch announces TorchScript's end
        module = torch.jit.load(str(path), map_location="cpu")
    return dict(module.state_dict())


def _describe(value: Any) -> str:
    return f"a {type(value).__name__}" if value else f"an empty {type(value).__name__}"


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """The contents of a weights file; {"model": ...} is always there. Nothing is unpickled.

    Raises: FileNotFoundError; ValueError for another format, a damaged file or pickled objects.
    """
    path = Path(path)
    require_weights(path)
    if path.suffix.lower() not in (".pth", ".pt", ".bin", ".safetensors"):
        raise ValueError(
            f"weights file {path} ends in {path.suffix!r}; .pth, .pt, .bin and .safetensors are "
            "read, pickles (.pkl) never are"
        )
    return _with_model(read_file(path), path)


def require_weights(path: str | Path, key: str = "MODEL.WEIGHTS") -> None:
    """Raises FileNotFoundError, with the config key to check, if there is no file at `path`."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"weights file {path} does not exist: check {key}")


def _with_model(content: Any, path: Path) -> dict[str, Any]:
    if not isinstance(content, Mapping):
        raise ValueError(f"weights file {path} holds a {type(content).__name__}, not a state dict")
    content = dict(content) if "model" in content else {"model": content}
    weights = content["model"]
    if not isinstance(weights, Mapping) or not all(isinstance(v, Tensor) for v in weights.values()):
        raise ValueError(f"weights file {path} holds something else than named tensors")
    prefix = "module."  # of a DistributedDataParallel model
    content["model"] = {name.removeprefix(prefix): value for name, value in weights.items()}
    return content
