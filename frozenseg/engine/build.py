"""The model of a config, with an error that helps where its name is wrong."""

from __future__ import annotations

from typing import Any

import detectron2.modeling
from detectron2.config import CfgNode

from frozenseg.engine.architectures import ARCHITECTURES


def build_model(cfg: CfgNode) -> Any:
    """detectron2's `build_model`, with this project's architectures registered.

    Returns: a module with `set_vocabulary`, and otherwise detectron2's contract.
    Raises: ValueError for a MODEL.META_ARCHITECTURE that is not registered.
    """
    registry = detectron2.modeling.META_ARCH_REGISTRY
    name = cfg.MODEL.META_ARCHITECTURE
    if name not in registry:
        known = [n for n in ARCHITECTURES if n in registry]
        raise ValueError(
            f"MODEL.META_ARCHITECTURE {name!r} is not registered; this project has "
            f"{', '.join(known)}"
        )
    return detectron2.modeling.build_model(cfg)
