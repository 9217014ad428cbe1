"""Which device a program runs on, in which precision, and what happens when its memory runs out.

torch is imported where it is used, so that command lines can name the choices without it.
"""

from __future__ import annotations

import contextlib
import gc
import importlib.util
import logging
import os
import shutil
import subprocess
import sys
import sysconfig
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import nn

logger = logging.getLogger(__name__)

PRECISIONS = ("float32", "bfloat16", "float16", "auto")  # of inference
TOWER_PRECISIONS = ("float32", "bfloat16", "auto")  # of frozen encoders
_CPU_INFO = Path("/proc/cpuinfo")
_BFLOAT16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}  # x86, and Arm's


def pick_device(name: str | torch.device) -> str:
    """The device for a name; "auto": an Nvidia or Apple GPU if there is one that can be used.

    Raises: ValueError for a device that cannot be used.
    """
    import torch

    name = str(name)
    if name != "auto":
        return check_device(name, key="device", remedy="take cpu or auto")
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() and _mps_suffices() else "cpu"


def _mps_suffices() -> bool:
    """Whether Apple's backend has the operators that it got last; one line of the log if not."""
    import torch
    import torch.nn.functional as F

    ones = torch.ones(1, 1, 2, 2, device="mps")
    index = torch.zeros(1, 1, 2, 2, dtype=torch.int64, device="mps")
    try:
        F.grid_sample(ones, ones[..., :2], align_corners=False)
        torch.searchsorted(ones.flatten(), ones.flatten())
        ones.scatter_reduce(-1, index, ones, reduce="amax", include_self=False)
        ones.nan_to_num().flatten().topk(2)
    except (NotImplementedError, RuntimeError) as error:
        logger.warning("device: cpu instead of mps, which cannot compute everything: %s", error)
        return False
    return True


def cpu_multiplies_bfloat16() -> bool:
    """Whether this processor has instructions for bfloat16 products; False where unknown."""
    try:
        with _CPU_INFO.open() as lines:  # the flags of the first core are enough
            first = next((line for line in lines if line.lower().startswith(("flags", "feat"))), "")
    except OSError:
        return False
    return not _BFLOAT16_FLAGS.isdisjoint(first.partition(":")[2].split())


def precision_name(precision: str | torch.dtype) -> str:
    """One of `PRECISIONS`, also for torch.bfloat16 and the like. Raises: ValueError for another."""
    name = str(precision).removeprefix("torch.")
    if name not in PRECISIONS:
        raise ValueError(f"precision {str(precision)!r}: use one of {', '.join(PRECISIONS)}")
    return name


def check_compiler(device_type: str) -> None:
    """Raises: FileNotFoundError if torch.compile has nothing to compile with for this device."""
    if lacking := lacking_compiler(device_type):
        raise FileNotFoundError(f"compile needs {lacking}; or leave compile out")


def lacking_compiler(device_type: str) -> str:
    """What PyTorch lacks to compile for this device, with the remedy; "" where it can.

    The C++ compiler is tried on a program with Python's headers, which what PyTorch writes has.
    """
    if device_type == "cuda":
        there = importlib.util.find_spec("triton") is not None
        return "" if there else "the package triton, which is not here: pip install triton"
    usual = {"darwin": "clang++", "win32": "cl"}.get(sys.platform, "g++")
    name = os.environ.get("CXX") or usual
    compiler, problem = shutil.which(name), "which is not here"
    if compiler and sys.platform != "win32":
        headers = f"-I{sysconfig.get_path('include')}"
        done = subprocess.run(
            [compiler, "-x", "c++", "-c", headers, "-o", os.devnull, "-"],
            input="#include <Python.h>\n",
            capture_output=True,
            text=True,
            check=False,
        )
        problem = done.stderr.partition("\n")[0] or f"exit code {done.returncode}"
        compiler = compiler if done.returncode == 0 else None
    if compiler:
        return ""
    remedy = "install one (Debian: apt install g++ python3-dev), or set CXX to its path"
    return f"a C++ compiler that works ({name}: {problem}): {remedy}"


def usable_device(wanted: str, num_gpus: int) -> str:
    """MODEL.DEVICE, or "cpu" (with one log line) if --num-gpus is 0 or there is no GPU.

    Raises: ValueError if it is not a device, or cannot be used.
    """
    import torch

    if not wanted.startswith("cuda") or (num_gpus > 0 and torch.cuda.is_available()):
        return check_device(wanted, key="MODEL.DEVICE", remedy="set it to cuda or cpu")
    reason = "--num-gpus is 0" if num_gpus == 0 else "no GPU was found"
    logger.info("MODEL.DEVICE: cpu instead of %s, since %s", wanted, reason)
    return "cpu"


def check_device(name: str, *, key: str, remedy: str) -> str:
    """`name`. Raises: ValueError with `key` and `remedy` if tensors cannot be put there."""
    import torch

    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise ValueError(f"{key} {name!r} is not a device that PyTorch knows: {remedy}") from error
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).split("\n")[0].split(". ")[0]
        raise ValueError(f"{key} {name!r} cannot be used ({reason}): {remedy}") from error
    return name


@contextlib.contextmanager
def retry_out_of_memory(model: nn.Module, fallback: str = "cpu") -> Iterator[None]:
    """Within it, an image for which the device's memory does not suffice is computed again.

    First on the same device, after its caches were emptied; then, alone and with the model's
    weights, on the device `fallback`, whose results differ by rounding only. The model then
    returns to its device. Each such image is one line of the log.
    A model that is not torch's (an exported one) is left as it is.
    Raises: torch's error where the model already is on `fallback`, with the remedies.
    """
    if not hasattr(model, "forward"):
        yield
        return
    forward, before = model.forward, model.__dict__.get("forward")
    counts = {"again": 0, "fallback": 0}

    def careful(samples: Sequence[Any], *args: Any, **kwargs: Any) -> Any:
        outputs = _attempt(forward, samples, *args, **kwargs)
        if outputs is None:
            _free_memory()
            counts["again"] += 1
            logger.warning("Out of memory at %s: once more with empty caches", _names(samples))
            outputs = _attempt(forward, samples, *args, **kwargs)
        if outputs is None:
            counts["fallback"] += 1
            outputs = [_on(fallback, model, forward, sample) for sample in samples]
        return outputs

    model.forward = careful
    try:
        yield
    finally:
        del model.forward
        if before is not None:
            model.forward = before
        if counts["again"]:
            logger.warning(
                "%d images ran out of memory, %d of them were computed on %s",
                *(counts["again"], counts["fallback"], fallback),
            )


def _attempt(forward: Any, *args: Any, **kwargs: Any) -> Any:
    """The outputs; None if memory did not suffice (the error's frames, and their tensors, go)."""
    import torch

    try:
        return forward(*args, **kwargs)
    except torch.cuda.OutOfMemoryError:
        return None


def _on(fallback: str, model: nn.Module, forward: Any, sample: Any) -> Any:
    """The outputs of one sample, computed on the device `fallback`."""
    import torch

    home = next(model.parameters()).device
    if home.type == torch.device(fallback).type:
        raise torch.cuda.OutOfMemoryError(
            f"out of memory at {_names([sample])} on {home}, twice: lower INPUT.MAX_SIZE_TEST, or "
            "switch off tasks (MODEL.MASK_FORMER.TEST.*_ON)"
        )
    logger.warning("Out of memory again at %s: computed on %s", _names([sample]), fallback)
    _free_memory()
    model.to(fallback)
    try:
        return forward([sample])[0]
    finally:
        model.to(home)


def _free_memory() -> None:
    import torch

    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


def _names(samples: Sequence[Any]) -> str:
    """The samples' files and sizes, for the log."""
    return ", ".join(
        f"{sample.get('file_name', 'an image')} ({tuple(sample['image'].shape[-2:])} to "
        f"({sample.get('height', '?')}, {sample.get('width', '?')}))"
        for sample in samples
    )
