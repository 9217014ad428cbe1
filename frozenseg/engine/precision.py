"""Mixed precision on any device: what SOLVER.AMP means on a GPU and on a CPU."""

from __future__ import annotations

import contextlib
import logging
from dataclasses import dataclass
from pathlib import Path

import torch

logger = logging.getLogger(__name__)

BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}  # x86, x86, ARM


@dataclass(frozen=True)
class Precision:
    """How the forward pass of training runs; `dtype` None is plain float32."""

    device_type: str
    dtype: torch.dtype | None = None

    def autocast(self) -> contextlib.AbstractContextManager[object]:
        """The context of the forward pass and the losses."""
        if self.dtype is None:
            return contextlib.nullcontext()
        return torch.autocast(self.device_type, dtype=self.dtype)

    @property
    def needs_scaler(self) -> bool:
        """float16 gradients underflow unless the loss is scaled; bfloat16 ones do not."""
        return self.dtype == torch.float16


def choose_precision(
    amp: bool, device: str | torch.device, cpu_bf16: bool | None = None
) -> Precision:
    """float16 on a GPU, bfloat16 on a CPU that computes it natively, else float32; logs a fallback.

    Args:
        amp: SOLVER.AMP.ENABLED.
        cpu_bf16: whether the CPU has bfloat16 instructions; None looks.
    """
    device_type = torch.device(device).type
    if not amp:
        return Precision(device_type)
    if device_type == "cuda":
        return Precision(device_type, torch.float16)
    if cpu_has_bf16() if cpu_bf16 is None else cpu_bf16:
        logger.info("SOLVER.AMP on the CPU: bfloat16 autocast instead of float16")
        return Precision(device_type, torch.bfloat16)
    logger.info("SOLVER.AMP is off: this CPU has no native bfloat16")
    return Precision(device_type)


def cpu_has_bf16(cpu_info: Path = Path("/proc/cpuinfo")) -> bool:
    """True if the processor lists bfloat16 instructions; False where it cannot be asked."""
    try:
        lines = cpu_info.read_text().splitlines()
    except OSError:
        return False
    flags = [
        line.partition(":")[2].split() for line in lines if line.startswith(("flags", "Features"))
    ]
    return any(BF16_FLAGS & set(each) for each in flags)
