"""Every config key of this project, its default and its meaning; reading YAML configs.

A config is detectron2's default config (release 0.6) with the table `KEYS` on top, which may change
detectron2's defaults. Keys without an effect are those of `frozenseg.config.legacy`. Anything
else in a file or on the command line is an error that names the nearest known key.
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frozenseg.config.keys import DETECTRON2_KEYS, KEYS, RELATIONS
from frozenseg.config.legacy import LEGACY, MAIN_ONLY, Legacy, legacy_row, list_by_reason
from frozenseg.config.ranges import Accepted, allowed
from frozenseg.config.released import in_our_keys
from frozenseg.config.sources import (
    Source,
    beside,
    coerce,
    decode,
    read_files,
    read_opts,
    shorten,
    wrong_value,
)
from frozenseg.errors import nearest
from frozenseg.files import PACKAGED_WEIGHTS, flatten

if TYPE_CHECKING:
    from detectron2.config import CfgNode

logger = logging.getLogger(__name__)


# Files beside a YAML file may be named relative to it (never relative to the working directory);
# the package's own weights by their file name, wherever the YAML file lies.
FILE_KEYS = (
    "DATASETS.FILES",
    "DATASETS.WORDS",
    "MODEL.MASK_FORMER.CLASS_WEIGHTS",
    *(
        f"MODEL.{section}.{key}"
        for section in ("FC_CLIP", "FROZEN_SEG")
        for key in ("CLIP_MODEL_NAME", "CLIP_PRETRAINED_WEIGHTS", "TEMPLATES")
    ),
    "MODEL.SAM_NAME",
    "MODEL.SAM_PRETRAINED_WEIGHTS",
    *(
        f"MODEL.FUSIONER.{key}"
        for key in ("VISUAL", "VISUAL_WEIGHTS", "LANGUAGE", "LANGUAGE_WEIGHTS", "TEMPLATES")
    ),
)
# What belongs to a machine or a run of it, not to a model.
PLACE_KEYS = (
    *("OUTPUT_DIR", "MODEL.WEIGHTS", "MODEL.TEXT_CACHE_DIR", "MODEL.DEVICE"),
    *("TEST.SAM_MASKS_DIR", "MODEL.INIT_FROM", "WANDB_PROJECT", "MODEL.FUSIONER.FEATURE_CACHE_DIR"),
    *("TEST.SAVE_PREDICTIONS", "TEST.SAVE_PER_IMAGE", "TEST.DIAGNOSE"),
)


def get_config() -> CfgNode:
    """detectron2's default config with every key of `KEYS` added."""
    from detectron2.config import CfgNode, get_cfg

    cfg = get_cfg()
    for key in KEYS:
        *sections, name = key.name.split(".")
        node = cfg
        for section in sections:
            node = node.setdefault(section, CfgNode())
        node[name] = list(key.default) if isinstance(key.default, list) else key.default
    return cfg


def load_config(
    path: str | Path, opts: Sequence[str] = (), *, recipe: str | Path | None = None
) -> CfgNode:
    """The config of a YAML file (with its `_BASE_` files), then a recipe and `opts` on top.

    Args:
        path: a YAML file (one of your own, a released one, a full dump) or a packaged one by its
            name: see `find_config`.
        opts: command-line pairs KEY VALUE, flat: `["MODEL.WEIGHTS", "model.pth", ...]`.
        recipe: another YAML file with keys, see configs/recipes/.

    Raises:
        FileNotFoundError: no such file. ValueError: YAML syntax, unknown key, wrong type, a value
            that is not accepted or contradicts another, an odd number of opts. Each names the
            source and the key.
    """
    recipes = read_files(Path(recipe)) if recipe else ()
    return _merged([*read_files(Path(path)), *recipes, read_opts(opts)], str(path))


def config_of(
    values: Mapping[str, Any], folder: Path, name: str, opts: Sequence[str] = ()
) -> CfgNode:
    """The config of dotted keys and their values, then `opts` on top, checked as `load_config`.

    Args: folder: where files that the values name lie. name: where they come from, for messages.
    Raises: ValueError as `load_config`.
    """
    return _merged([Source(name, folder, list(values.items())), read_opts(opts)], name)


def _merged(sources: Sequence[Source], path: str) -> CfgNode:
    """The default config with the values of the sources, later ones winning."""
    cfg = get_config()
    ignored: dict[str, Legacy] = {}
    origin: dict[str, str] = {}
    for source in in_our_keys(sources):
        for key, value in source.leaves:
            if source.folder is not None and key in FILE_KEYS:
                value = beside(source.folder, value)
                if key.endswith("_WEIGHTS"):
                    value = beside(PACKAGED_WEIGHTS, value)
            row = _set(cfg, key, value, source.name)
            origin[key] = source.name
            if row is not None:
                ignored[key] = row
    _check_relations(cfg, origin, path)
    if ignored:
        reasons = list_by_reason(ignored)
        logger.warning("%s: %d keys have no effect here: %s", path, len(ignored), reasons)
    return cfg


def config_hash(cfg: CfgNode) -> str:
    """sha256 (hex) of what a config computes: without output folder, device and file locations."""
    return hashlib.sha256(json.dumps(computed_values(cfg), sort_keys=True).encode()).hexdigest()


def computed_values(cfg: CfgNode) -> dict[str, Any]:
    """Dotted key -> value of what a config computes; of files only their names."""
    values = {key: value for key, value in flatten(cfg) if key not in PLACE_KEYS}
    values.update({key: Path(str(values[key])).name for key in FILE_KEYS})
    return values


def _set(cfg: CfgNode, key: str, value: Any, source: str) -> Legacy | None:
    """Sets one key; returns its legacy row if the value given has no effect."""
    *sections, name = key.split(".")
    node: Any = cfg
    for section in sections:
        node = node.get(section) if isinstance(node, dict) else None
    row = legacy_row(key)
    if not isinstance(node, dict) or name not in node:
        if row is None:
            known = _nearest(cfg, key)
            raise ValueError(f"{source}: unknown key {key}; the nearest known key is {known}")
        _check_accepted(key, decode(value), row.accepted, row.reason, source)
        return row
    default = node[name]
    if isinstance(default, dict):
        raise ValueError(f"{source}: {key} is a section of keys, got {shorten(value)}")
    own = next((own for own in (*KEYS, *DETECTRON2_KEYS) if own.name == key), None)
    accepted = () if own is None else own.accepted
    expected = "" if isinstance(accepted, tuple) else str(accepted)
    node[name] = coerce(value, default, key, source, expected)
    if own is not None and node[name] is not None:
        _check_accepted(key, node[name], accepted, own.meaning, source)
    if row is None or row.reason == MAIN_ONLY:
        return None
    _check_accepted(key, node[name], row.accepted, row.reason, source)
    return row if node[name] != default else None


def _check_accepted(key: str, value: Any, accepted: Accepted, reason: str, source: str) -> None:
    if allowed(value, accepted):
        return
    if isinstance(accepted, tuple):
        choices = " or ".join(map(repr, accepted))
        raise ValueError(
            f"{source}: {key} = {shorten(value)} is not supported, only {choices} is: {reason}"
        )
    raise wrong_value(source, key, value, str(accepted), reason)


def _check_relations(cfg: CfgNode, origin: Mapping[str, str], path: str) -> None:
    values = dict(flatten(cfg))
    for keys, holds, rule, needed in RELATIONS:
        given = [values[key] for key in keys]
        if holds(*given):
            continue
        sources = " and ".join(dict.fromkeys(origin[key] for key in keys if key in origin))
        pairs = ", ".join(f"{key} = {shorten(values[key])}" for key in keys)
        message = f"{sources or path}: {pairs}: {rule}"
        if needed:
            raise ValueError(message)
        logger.warning("%s", message)


def _nearest(cfg: CfgNode, key: str) -> str:
    """The known key most like `key`; one of the same last name, if there is any."""
    known = [name for name, _ in flatten(cfg)]
    known += [row.name for row in LEGACY if not row.name.endswith(".*")]
    last_name = key.rpartition(".")[2]
    same_name = [name for name in known if name.rpartition(".")[2] == last_name]
    return nearest(key, same_name or known)[0]
