"""Weights files of other programs, rewritten as .safetensors without running what is in them."""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from frozenseg.checkpoints.reading import (
    as_tensor,
    is_torchscript,
    read_state_dict,
    require_weights,
    unwrap,
)
from frozenseg.errors import was_interrupted
from frozenseg.files import write_atomically

# What arrays and tensors are made of in a pickle; any other name in it stands for nothing.
_ALLOWED = {
    ("collections", "OrderedDict"),
    ("_codecs", "encode"),
    ("numpy", "dtype"),
    ("numpy", "ndarray"),
    *((f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")),
    *((f"numpy.{core}.multiarray", "scalar") for core in ("core", "_core")),
    *((f"numpy.{core}.numeric", "_frombuffer") for core in ("core", "_core")),
    ("torch", "Size"),
    ("torch", "device"),
    ("torch._utils", "_rebuild_tensor"),
    ("torch._utils", "_rebuild_tensor_v2"),
    ("torch._utils", "_rebuild_parameter"),
}


class _Nothing:
    """Stands for an object of any other class: takes whatever a pickle does to it, does nothing."""

    def __init__(self, *_: object, **__: object) -> None: ...
    def __setstate__(self, _: object) -> None: ...
    def __setitem__(self, *_: object) -> None: ...
    def append(self, _: object) -> None: ...
    def extend(self, _: object) -> None: ...
    def add(self, _: object) -> None: ...


class _InertUnpickler(pickle.Unpickler):
    """Reads containers, numbers, texts, arrays and tensors; `_Nothing` in place of the rest."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("torch.storage", "_load_from_bytes"):
            return _load_from_bytes
        is_dtype = module == "torch" and isinstance(vars(torch).get(name), torch.dtype)
        if (module, name) not in _ALLOWED and not is_dtype:
            return type(name, (_Nothing,), {"__module__": module})
        if module.startswith("numpy.core") and hasattr(np, "_core"):  # before numpy 2
            module = module.replace("numpy.core", "numpy._core")
        return super().find_class(module, name)


def convert_weights(source: Path, target: Path) -> tuple[list[str], list[str]]:
    """Writes the named tensors of a weights file as .safetensors.

    Returns: their names, and the names of entries among them that were left out.
    Raises: FileNotFoundError; ValueError for another ending of `target`, or a file that is damaged
        or has no named tensors.
    """
    if target.suffix.lower() != ".safetensors":
        raise ValueError(f"{target}: the name of the result must end in .safetensors")
    require_weights(source, "the path")
    if source.suffix.lower() == ".safetensors" or is_torchscript(source):
        named: Mapping[Any, Any] = read_state_dict(source)
    else:
        named = _read_inert(source)
    tensors = {str(name): as_tensor(value) for name, value in named.items()}
    # Tensors that share memory would be refused by the format.
    content = {
        name: value.detach().clone().contiguous()
        for name, value in tensors.items()
        if isinstance(value, Tensor)
    }
    if not content:
        raise ValueError(
            f"{source}: there are no named tensors in it: where it was made, save the model's "
            "state_dict() instead of the model"
        )
    write_atomically(target, lambda part: save_file(content, str(part)))
    return list(content), [name for name in tensors if name not in content]


def _read_inert(path: Path) -> Mapping[Any, Any]:
    """The named entries of a file of `torch.save` or a pickle."""
    reader = SimpleNamespace(Unpickler=_InertUnpickler, load=_load, __name__="inert pickle")
    try:
        if path.suffix.lower() == ".pkl":
            with path.open("rb") as file:
                content = _load(file, encoding="latin1")
        else:
            content = torch.load(path, "cpu", pickle_module=reader, weights_only=False)
    except Exception as error:  # a damaged pickle raises errors of many kinds
        if was_interrupted(error):
            raise KeyboardInterrupt from error
        raise ValueError(f"{path}: damaged, or no file of weights: nothing was run") from error
    _, named = unwrap(content)
    return named if isinstance(named, Mapping) else {}


def _load(file: Any, **options: Any) -> Any:
    return _InertUnpickler(file, **options).load()


def _load_from_bytes(data: bytes) -> Any:
    """A storage in a plain pickle (`torch.storage._load_from_bytes` would unpickle anything)."""
    return torch.load(io.BytesIO(data), weights_only=True)
