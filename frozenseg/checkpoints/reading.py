"""Reads named tensors from weight files; no pickled Python code is ever run."""

from __future__ import annotations

import _codecs
import inspect
import pickle
import sys
import warnings
import zipfile
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file
from torch import Tensor

from frozenseg.errors import was_interrupted

_WRAPPERS = ("model", "state_dict", "model_state_dict")
# The batch counter of a batch norm: older files leave it out, and eval mode never reads it.
BATCH_COUNTER = "num_batches_tracked"
# Buffers that a mask of attention fills with minus infinity.
_ATTENTION_MASK = "attn_mask"
_NAMED = 3  # tensors that an error names


def read_state_dict(path: str | Path) -> dict[str, Tensor]:
    """The named tensors of a weights file, on the CPU. Raises: what `read_checkpoint` raises."""
    state: dict[str, Tensor] = read_checkpoint(path)["model"]
    return state


def read_checkpoint(path: str | Path) -> dict[str, Any]:
    """The contents of a weights file, its named tensors under "model".

    In the file the tensors may also lie under "state_dict", "model_state_dict" or at the top, as
    numpy's arrays too, and their names may begin with "module." (of a DistributedDataParallel
    model). Formats: those of `read_file`.
    Raises: FileNotFoundError; ValueError, in one line, for another format, a damaged file, pickled
        objects, contents other than named tensors, or tensors that no weights can be (NaN,
        infinite, complex, integer).
    """
    path = Path(path)
    require_weights(path)
    if path.suffix.lower() == ".pkl":
        raise ValueError(
            f"weights file {path} ends in {path.suffix!r}; .pth, .pt, .bin, .ckpt and .safetensors "
            f"are read, pickles (.pkl) never are: {convert_command(path)}"
        )
    content = read_file(path)
    wrapper, state = unwrap(content)
    if wrapper:
        del content[wrapper]
    if not isinstance(state, Mapping) or not state:
        raise ValueError(f"weights file {path} holds {_describe(state)}, not named tensors")
    if not all(isinstance(name, str) for name in state):
        raise ValueError(f"weights file {path} numbers its tensors (0, 1, ...): they need names")
    state = {name: as_tensor(value) for name, value in state.items()}
    wrong = next((name for name, value in state.items() if not isinstance(value, Tensor)), None)
    if wrong is not None:
        raise ValueError(
            f"weights file {path} holds values that are not tensors: {wrong!r} is "
            f"{_describe(state[wrong])}"
        )
    if all(name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): tensor for name, tensor in state.items()}
    _require_usable(path, state)
    return {**(content if wrapper else {}), "model": dict(state)}


def unwrap(content: Any) -> tuple[str, Any]:
    """The key under which a file keeps its named tensors ("": at the top), and these."""
    wrapper = next((key for key in _WRAPPERS if _is_wrapped(content, key)), "")
    return wrapper, content[wrapper] if wrapper else content


def as_tensor(value: Any) -> Any:
    """A tensor of a numpy array or scalar of numbers; anything else as it is."""
    is_numbers = isinstance(value, (np.ndarray, np.generic)) and value.dtype.kind in "biufc"
    return torch.as_tensor(np.array(value)) if is_numbers else value


def convert_command(path: Path) -> str:
    """The advice for a file that needs more than tensors to be read."""
    target = path.with_suffix(".safetensors")
    return f"`frozenseg weights convert {path} {target}` takes its tensors and runs nothing"


def tensor_names(path: Path) -> tuple[str, ...]:
    """The names of a file's tensors, whose values are not read where the format allows it.

    () for a file that cannot be read: loading it says why.
    """
    try:
        if path.suffix.lower() == ".safetensors":
            with safe_open(path, framework="pt") as file:
                names: Iterable[Any] = list(file.keys())
        else:
            _, names = unwrap(read_file(path, in_place=True))
    except (ValueError, OSError, SafetensorError):
        return ()
    found = names if isinstance(names, (list, Mapping)) else ()
    return tuple(str(name).removeprefix("module.") for name in found)


def require_weights(path: str | Path, key: str = "MODEL.WEIGHTS") -> None:
    """Raises FileNotFoundError, with the config key to check, if there is no file at `path`."""
    if not Path(path).is_file():
        raise FileNotFoundError(f"weights file {path} does not exist: check {key}")


def read_file(path: Path, *, in_place: bool = False) -> Any:
    """All that a file holds, its tensors on the CPU.

    Formats: .safetensors; what `torch.save` wrote (read with `weights_only=True`, numpy's arrays
    and scalars allowed); TorchScript archives (read by PyTorch's own reader, which does not
    unpickle Python objects).
    Args: in_place: values are read when they are needed, where the format allows it.
    Raises: FileNotFoundError; ValueError, in one line, for a file that is damaged, of another
        format, or needs Python objects to be unpickled.
    """
    if not path.is_file():
        raise FileNotFoundError(f"weights file not found: {path}")
    try:
        if path.suffix.lower() == ".safetensors":
            return _read_safetensors(path)
        if is_torchscript(path):
            return _read_torchscript(path)
        _allow_numpy()
        mmap = in_place and zipfile.is_zipfile(path)
        return torch.load(path, map_location="cpu", weights_only=True, mmap=mmap)
    except Exception as error:  # the readers' errors (zip, pickle, JSON, ...) share no base
        if was_interrupted(error):
            raise KeyboardInterrupt from error
        raise ValueError(f"weights file {path} {_refusal(path, error)}") from error


def of_another_kind(state: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> list[str]:
    """Names of integer or bool tensors of `state` where a model whose own is `expected` has reals.

    Copied into the model, such values would be taken for weights without a word.
    """
    return [
        f"{name} ({_kind(state[name])})"
        for name, tensor in expected.items()
        if name in state and tensor.is_floating_point() and not state[name].is_floating_point()
    ]


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
        ("not of floating point", of_another_kind(state, expected)),
        ("missing", missing),
        ("unexpected", [name for name in state if name not in expected]),
    )
    return "; ".join(f"{len(names)} {what}, first {names[0]}" for what, names in groups if names)


def _require_usable(path: Path, state: Mapping[str, Tensor]) -> None:
    faults = {name: fault for name, tensor in state.items() if (fault := _fault(name, tensor))}
    if faults:
        named = [f"{name} {fault}" for name, fault in list(faults.items())[:_NAMED]]
        more = f" and {len(faults) - _NAMED} more" if len(faults) > _NAMED else ""
        raise ValueError(
            f"weights file {path}: {len(faults)} of {len(state)} tensors cannot be weights: "
            f"{', '.join(named)}{more}. The file is damaged, or of a training that diverged: take "
            "an earlier checkpoint, or get it again"
        )


def _fault(name: str, tensor: Tensor) -> str:
    """Why a tensor cannot be a weight, after its name; "" if it can."""
    if tensor.layout != torch.strided or tensor.is_quantized or tensor.is_complex():
        return f"is {_kind(tensor)}"
    if not tensor.is_floating_point():  # counters, positions and indices are integers rightly
        return f"is {_kind(tensor)}" if name.endswith(("weight", "bias")) else ""
    if not tensor.numel():
        return ""
    # As models take them: a float64 may be beyond float32, and float8 cannot be compared.
    values = tensor if tensor.element_size() in (2, 4) else tensor.float()
    low, high = values.aminmax()  # NaN if any value is
    if low.isfinite() and high.isfinite():
        return ""
    if name.endswith(_ATTENTION_MASK) and not high.isnan() and high < float("inf"):
        return ""
    return f"has {int((~values.isfinite()).sum())} NaN or infinite of {values.numel()} values"


def _kind(tensor: Tensor) -> str:
    layout = f" {tensor.layout}" if tensor.layout != torch.strided else ""
    return f"{tensor.dtype}{layout}".replace("torch.", "")


def _refusal(path: Path, error: Exception) -> str:
    """What is wrong with a file, in place of PyTorch's advice to unpickle it all the same."""
    if isinstance(error, pickle.UnpicklingError) and _is_pickle(path):
        return (
            "holds pickled Python objects, which are never unpickled here (or it is damaged): "
            f"{convert_command(path)}"
        )
    kind = "safetensors" if path.suffix.lower() == ".safetensors" else "PyTorch"
    return f"is damaged or not a {kind} file: get it again"


@cache
def _allow_numpy() -> None:
    """Lets `torch.load` make numpy arrays and scalars: what trainings keep beside their weights."""
    core = np.array(0).__reduce__()[0].__module__.rpartition(".")[0]  # "numpy._core" of numpy 2
    multiarray = sys.modules[f"{core}.multiarray"]
    kinds = {type(np.dtype(code)) for code in np.typecodes["All"]}  # np.dtypes came with 1.25
    allowed: list[Any] = [np.ndarray, np.dtype, _codecs.encode]
    allowed += kinds - {type(np.dtype(object))}
    for name in ("_reconstruct", "scalar"):
        function = getattr(multiarray, name)
        allowed += [(function, f"numpy.{each}.multiarray.{name}") for each in ("core", "_core")]
    torch.serialization.add_safe_globals(allowed)


def _is_pickle(path: Path) -> bool:
    """Whether a file is a whole archive of `torch.save`, or begins like a pickle."""
    if zipfile.is_zipfile(path):
        return True
    with path.open("rb") as file:
        return file.read(1) == b"\x80"


def is_torchscript(path: Path) -> bool:
    """Whether a file is an archive of TorchScript."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(name.endswith("/constants.pkl") for name in archive.namelist())


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    """Tensors in memory of their own: one that is mapped would change, or end, with its file."""
    if "backend" in inspect.signature(load_file).parameters:  # safetensors 0.8: without mapping
        return load_file(path, backend="pread")
    return {name: tensor.clone() for name, tensor in load_file(path).items()}


def _read_torchscript(path: Path) -> dict[str, Tensor]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # newer PyTorch announces TorchScript's end
        module = torch.jit.load(str(path), map_location="cpu")
    return dict(module.state_dict())


def _is_wrapped(content: Any, key: str) -> bool:
    return isinstance(content, Mapping) and isinstance(content.get(key), Mapping)


def _describe(value: Any) -> str:
    return f"a {type(value).__name__}" if value else f"an empty {type(value).__name__}"
