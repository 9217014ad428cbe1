"""Weights files of other programs, rewritten as .safetensors without running what is in them."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from frozenseg.checkpoints.reading import read_state_dict
from frozenseg.files import write_atomically

# What a pickle of numpy arrays is made of; looking up anything else in it is refused.
_ALLOWED = {
    ("collections", "OrderedDict"),
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    *((f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")),
    *((f"numpy.{core}.multiarray", "scalar") for core in ("core", "_core")),
    *((f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")),
}


class _ArrayUnpickler(pickle.Unpickler):
    """Reads containers, numbers, texts and numpy arrays; raises UnpicklingError for the rest."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it names {module}.{name}, which is not an array")
        if module.startswith("numpy.core"):  # before numpy 2
            module = module.replace("numpy.core", "numpy._core") if hasattr(np, "_core") else module
        return super().find_class(module, name)


def convert_weights(source: Path, target: Path) -> list[str]:
    """Writes the named tensors of a weights file as .safetensors; their names.

    Raises: FileNotFoundError; ValueError for another ending of `target`, or a file that is damaged,
        is not one of named tensors, or holds Python objects.
    """
    if target.suffix.lower() != ".safetensors":
        raise ValueError(f"{target}: the name of the result must end in .safetensors")
    state = _read_arrays(source) if source.suffix.lower() == ".pkl" else read_state_dict(source)
    # Tensors that share memory would be refused by the format.
    content = {name: tensor.clone().contiguous() for name, tensor in state.items()}
    write_atomically(target, lambda part: save_file(content, str(part)))
    return list(content)


def _read_arrays(path: Path) -> dict[str, Tensor]:
    """The arrays of a detectron2 .pkl: {"model": {name: array}, ...} or {name: array}."""
    if not path.is_file():
        raise FileNotFoundError(f"weights file not found: {path}")
    try:
        with path.open("rb") as file:
            content = _ArrayUnpickler(file, encoding="latin1").load()
    except Exception as error:  # a damaged pickle raises errors of many kinds
        raise ValueError(f"{path} is not a pickle of arrays ({error}): nothing was run") from error
    if isinstance(content, Mapping) and isinstance(content.get("model"), Mapping):
        content = content["model"]
    if not isinstance(content, Mapping) or not content:
        raise ValueError(f"{path}: expected named arrays, found a {type(content).__name__}")
    wrong = [name for name, value in content.items() if not isinstance(value, (np.ndarray, Tensor))]
    if wrong:
        raise ValueError(f"{path}: entry {wrong[0]!r} is not an array")
    return {str(name): torch.as_tensor(np.array(value)) for name, value in content.items()}
