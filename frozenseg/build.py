"""Models from configs: registered in detectron2, built, filled with weights.

The one file that imports both families. (It is not called `models`: that is the public function
`frozenseg.models`, which a module of the name would hide.)
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from types import MappingProxyType
from typing import Any, Protocol

import detectron2.modeling
from detectron2.config import CfgNode

from frozenseg.checkpoints.loading import LoadReport, load_weights
from frozenseg.checkpoints.lookup import encoder_keys, resolve
from frozenseg.checkpoints.skip_init import weights_follow
from frozenseg.data.catalog.register import REGISTRATION, register_datasets
from frozenseg.encoders.clip.backbone import CONFIG_SECTIONS
from frozenseg.files import flatten
from frozenseg.fusioner import from_config as fusioner
from frozenseg.fusioner import model as fusioner_model
from frozenseg.mask_classification import from_config as mask_classification
from frozenseg.mask_classification import model as mask_classification_model

__all__ = [
    "FAMILIES",
    "Family",
    "build_model",
    "family",
    "fusioner_model",
    "load_model",
    "mask_classification_model",
]

logger = logging.getLogger(__name__)


class Family(Protocol):
    """What runs need of a family beyond detectron2's interface: its `from_config` module."""

    def output_tasks(self, cfg: CfgNode) -> list[str]:
        """What the model outputs: of "panoptic", "instance", "semantic", "regions", "episodes"."""

    def encoders_without_weights(self, cfg: CfgNode) -> dict[str, str]:
        """The encoders that only a checkpoint can fill: name prefix -> the reason and the remedy.

        Their weights exist in the model and in its checkpoints, nowhere else.
        """

    def protocol(self, cfg: CfgNode) -> dict[str, Any]:
        """What scores depend on besides the checkpoint and the data."""


FAMILIES: Mapping[str, Family] = MappingProxyType(
    {**dict.fromkeys(CONFIG_SECTIONS, mask_classification), "Fusioner": fusioner}
)


def family(cfg: CfgNode) -> Family:
    """The family of MODEL.META_ARCHITECTURE; FC-CLIP's for a registered one without its own."""
    return FAMILIES.get(cfg.MODEL.META_ARCHITECTURE, mask_classification)


def build_model(cfg: CfgNode) -> Any:
    """The model of a config, with random trained weights, on MODEL.DEVICE.

    Returns: a module with `set_vocabulary`, and otherwise detectron2's interface.
    Raises: ValueError for a MODEL.META_ARCHITECTURE that is not registered.
    """
    registry = detectron2.modeling.META_ARCH_REGISTRY
    name = cfg.MODEL.META_ARCHITECTURE
    if name not in registry:
        raise ValueError(
            f"MODEL.META_ARCHITECTURE {name!r} is not registered; this project has "
            f"{', '.join(FAMILIES)}"
        )
    model = detectron2.modeling.build_model(cfg)
    counts = [(p.numel(), p.requires_grad) for p in model.parameters()]
    total, trained = sum(n for n, _ in counts), sum(n for n, grad in counts if grad)
    logger.info("%s: %.1f M parameters, %.1f M trained", name, total / 1e6, trained / 1e6)
    return model


def load_model(cfg: CfgNode, weights: str | Path = "") -> tuple[Any, LoadReport | None]:
    """The model of a config with its weights.

    Args: weights: a file, or a name of the table of weights; "" takes MODEL.WEIGHTS, and if that is
        empty too, the trained part is random.
    Returns: the model, and what was loaded (None: nothing).
    Raises: ValueError or FileNotFoundError of the config, the datasets' words and the weights.
    """
    path = resolve(str(weights)) or cfg.MODEL.WEIGHTS
    bare = weights_follow() if path else nullcontext()
    with REGISTRATION, bare:  # registering again takes the datasets away for a moment
        register_datasets(cfg)
        model = build_model(cfg)
    if not path:
        return model, None
    encoders = family(cfg).encoders_without_weights(cfg)
    report = load_weights(model, path, encoders_without_weights=encoders, fresh=True)
    logger.info("%s: %s", path, report)
    logger.info("weights: %s", _origins(cfg, str(path), report))
    return model, report


def _origins(cfg: CfgNode, path: str, report: LoadReport) -> str:
    """Where each part of a model came from, as in "decoder and backbone.* from model.pth"."""
    values, keys = dict(flatten(cfg)), encoder_keys(cfg)
    held = [f"{part}*" for part in keys if any(each.startswith(part) for each in report.frozen)]
    others = [
        f"{part}* from {key} {values[key]}"
        for part, key in keys.items()
        if f"{part}*" not in held and any(each.startswith(part) for each in report.skipped)
    ]
    return "; ".join([f"{' and '.join(['decoder', *held])} from {path}", *others])
