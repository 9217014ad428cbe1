"""The model of a config, with an error that helps where its name is wrong."""

from __future__ import annotations

from typing import Any

import detectron2.modeling
from detectron2.config import CfgNode

from frozenseg.encoders.clip import CONFIG_SECTIONS


def build_model(cfg: CfgNode) -> Any:
    """detectron2's `build_model` for this project's architectures.

    Returns: a module with `set_vocabulary`, and otherwise detectron2's contract.
    Raises: ValueError for a MODEL.META_ARCHITECTURE that this project does not have.
    """
    name = cfg.MODEL.META_ARCHITECTURE
    known = [n for n in CONFIG_SECTIONS if n in detectron2.modeling.META_ARCH_REGISTRY]
    if name not in known:
        raise ValueError(f"MODEL.META_ARCHITECTURE is {name!r}; it must be {' or '.join(known)}")
    return detectron2.modeling.build_model(cfg)
