"""Stands for Apple's GPU where there is none: its tensors lie on the CPU and say "mps".

It refuses what the real backend refuses: float64, and operations on tensors of two devices. What
was called is noted, to be compared with PyTorch's own table of the operators that it has.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torchgen
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_iter, tree_map

ATEN = torch.ops.aten
# They take tensors of the CPU besides: copies, and indices.
MIXED = {ATEN._to_copy, ATEN.copy_, ATEN.index, ATEN.index_put, ATEN.index_put_}


class OnMps(torch.Tensor):
    """A tensor that says it is on the device "mps"."""

    @staticmethod
    def __new__(cls, elem):
        assert elem.dtype not in (torch.float64, torch.complex128), "MPS has no float64"
        return torch.Tensor._make_wrapper_subclass(
            cls,
            elem.shape,
            strides=elem.stride(),
            storage_offset=elem.storage_offset(),
            dtype=elem.dtype,
            device="mps",
        )

    def __init__(self, elem):
        self.elem = elem

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        return _run(func, args, kwargs or {})


_DTYPES = {
    torch.Tensor.float: torch.float32,
    torch.Tensor.double: torch.float64,
    torch.Tensor.half: torch.float16,
    torch.Tensor.bfloat16: torch.bfloat16,
    torch.Tensor.long: torch.int64,
    torch.Tensor.int: torch.int32,
    torch.Tensor.bool: torch.bool,
}
_TO_THE_CPU = (
    *(torch.Tensor.cpu, torch.Tensor.item, torch.Tensor.tolist, torch.Tensor.__bool__),
    *(torch.Tensor.__int__, torch.Tensor.__float__, torch.Tensor.__index__),
)


class _Calls(TorchFunctionMode):
    """Keeps PyTorch, which is built without MPS, from looking for the device."""

    def __init__(self, mode):
        super().__init__()
        self.mode = mode

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = dict(kwargs or {})
        if args and isinstance(args[0], OnMps):
            found = _without_looking(func, args, kwargs)
            if found is not NotImplemented:
                return found
        is_to = func is torch.Tensor.to
        wanted = kwargs.get("device", args[1] if is_to and len(args) > 1 else None)
        if not isinstance(wanted, (str, torch.device)) or torch.device(wanted).type != "mps":
            try:
                return func(*args, **kwargs)
            except RuntimeError as error:
                if not any(text in str(error) for text in ("not linked", "device type was")):
                    raise
            self.mode.notes_all = True  # what the device is looked for before it is dispatched
            result = func(*tree_map(_elem, args), **tree_map(_elem, kwargs))
            self.mode.notes_all = False
            return tree_map(_wrapped, result)
        if is_to:
            types = [each for each in (*args[2:], *kwargs.values()) if type(each) is torch.dtype]
            dtype = types[0] if types else args[0].dtype
            if isinstance(args[0], OnMps) and args[0].dtype == dtype:
                return args[0]
            return ATEN._to_copy(args[0], dtype=dtype, device=torch.device("mps"))
        return tree_map(_wrapped, func(*args, **{**kwargs, "device": "cpu"}))


def _without_looking(func, args, kwargs):
    """What PyTorch would look for the device for; NotImplemented for all other functions."""
    here = args[0]
    if func is torch.Tensor.contiguous:
        return _contiguous(here, kwargs.get("memory_format", torch.contiguous_format))
    if func in _DTYPES:
        same = here.dtype == _DTYPES[func]
        return here if same else ATEN._to_copy(here, dtype=_DTYPES[func])
    if func in (torch.Tensor.__getitem__, torch.Tensor.__setitem__):
        return tree_map(_wrapped, func(*tree_map(_elem, args)))
    if func in _TO_THE_CPU:
        return func(here.elem, *args[1:], **kwargs)
    return NotImplemented


def _contiguous(here, layout):
    done = here.elem.is_contiguous(memory_format=layout)
    return here if done else ATEN.clone(here, memory_format=layout)


class MpsStandIn(TorchDispatchMode):
    """Within it there is a device "mps". Attributes: called: the operators that ran on it."""

    def __init__(self):
        super().__init__()
        self.called = set()
        self.notes_all = False
        self._calls = _Calls(self)

    def __enter__(self):
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        self._calls.__enter__()
        return super().__enter__()

    def __exit__(self, *error):
        super().__exit__(*error)
        self._calls.__exit__(*error)
        torch.__future__.set_overwrite_module_params_on_conversion(False)

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = _run(func, args, kwargs or {})
        if self.notes_all or any(isinstance(each, OnMps) for each in tree_iter((result, args))):
            self.called.add(func)
        return result


def _run(func, args, kwargs):
    given = [each for each in tree_iter((args, kwargs)) if isinstance(each, torch.Tensor)]
    there = [each for each in given if isinstance(each, OnMps)]
    device = torch.device(kwargs["device"]) if kwargs.get("device") is not None else None
    if there and func.overloadpacket not in MIXED:
        others = [each for each in given if not isinstance(each, OnMps) and each.dim()]
        assert not others, f"{func}: tensors on mps and on cpu"
    inner_args, inner = tree_map(_elem, (args, dict(kwargs)))
    if device is not None:
        inner["device"] = torch.device("cpu")
    result = func(*inner_args, **inner)
    goes = device.type == "mps" if device is not None else bool(there)
    if func.overloadpacket is ATEN.copy_:
        goes = isinstance(args[0], OnMps)
    if goes:
        result = tree_map(_wrapped, result)
        result = return_and_correct_aliasing(func, args, kwargs, result)
    elif there and func.overloadpacket is ATEN.copy_:
        return args[0]
    return result


def _wrapped(value):
    return OnMps(value) if type(value) is torch.Tensor else value


def _elem(value):
    return value.elem if isinstance(value, OnMps) else value


def lacking(called):
    """Those of the operators that PyTorch's own table has no MPS kernel for, by name."""
    from torchgen.gen import parse_native_yaml
    from torchgen.model import DispatchKey

    folder = Path(torchgen.__file__).parent / "packaged" / "ATen" / "native"
    table = parse_native_yaml(str(folder / "native_functions.yaml"), str(folder / "tags.yaml"))
    known = {str(each.func.name): each for each in table.native_functions}
    kernels = table.backend_indices[DispatchKey.MPS]
    names = []
    for func in called:
        name = func._schema.name.removeprefix("aten::")
        name += f".{func._schema.overload_name}" if func._schema.overload_name else ""
        entry = known.get(name)
        delegate = entry and entry.structured_delegate and known[str(entry.structured_delegate)]
        if entry is None or not (
            kernels.has_kernel(delegate or entry)
            or entry.has_composite_kernel
            or (delegate and delegate.has_composite_kernel)
        ):
            names.append(name)
    return sorted(names)
