"""Building models without the seconds that random starting values cost."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

import torch
from torch import nn
from torch.overrides import TorchFunctionMode


def wants_meta(device: torch.device | str) -> bool:
    """Whether `device`, or torch's default device, is "meta": only names and shapes are wanted."""
    # A new tensor tells: torch.get_default_device of 2.6 overlooks `with torch.device("meta")`.
    return "meta" in (torch.device(device).type, torch.empty(0).device.type)


_FOLLOW: ContextVar[bool] = ContextVar("weights follow", default=False)


@contextmanager
def weights_follow() -> Iterator[None]:
    """Within it models are built that `load_weights` fills at once.

    Encoders without weights of their own then need no starting values and no warning.
    """
    token = _FOLLOW.set(True)
    try:
        yield
    finally:
        _FOLLOW.reset(token)


def do_weights_follow() -> bool:
    """Whether `weights_follow` is on."""
    return _FOLLOW.get()


class SkipInitialisers(TorchFunctionMode):
    """Leaves new parameters unset where an initialiser would compute their starting values.

    For models whose every parameter is overwritten by weights, or which only lend their names.
    Building on the meta device instead would lose buffers that no file carries, and open_clip
    cannot be built there. (transformers does the same itself: see `build_bert`.)
    """

    _NAMES = frozenset(
        {"uniform_", "normal_", "trunc_normal_", "kaiming_uniform_", "erfinv_"}
        | {"mul_", "add_", "clamp_"}  # how timm shapes its truncated normal
    )

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if getattr(func, "__name__", "") in self._NAMES:
            target = args[0] if args else kwargs.get("tensor")
            if isinstance(target, nn.Parameter):
                return target
        return func(*args, **kwargs)
