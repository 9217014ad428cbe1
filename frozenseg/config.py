"""Every config key of this project, its default and its meaning; reading YAML configs.

A config is detectron2's default config (release 0.6) with the table `KEYS` on top, which may change
detectron2's defaults. Keys without an effect stand in `frozenseg.config_legacy.LEGACY`. Anything
else in a file or on the command line is an error that names the nearest known key.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import logging
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from frozenseg.config_files import beside, coerce, decode, leaves, read_files, read_opts, shorten
from frozenseg.config_legacy import LEGACY, MAIN_ONLY, Legacy, legacy_row, list_by_reason

if TYPE_CHECKING:
    from detectron2.config import CfgNode

logger = logging.getLogger(__name__)


class Key(NamedTuple):
    """One config key.

    Attributes:
        name: dotted.
        default: it also fixes the type.
        meaning: one line; for `accepted` values it says why there are no others.
        accepted: the only values that may be given; empty: any.
    """

    name: str
    default: object
    meaning: str
    accepted: tuple[object, ...] = ()


def _clip_keys(section: str) -> tuple[Key, ...]:
    """The frozen CLIP of one meta-architecture."""
    return (
        Key(
            f"{section}.CLIP_MODEL_NAME",
            "convnext_large_d_320",
            "open_clip model name, or the path of a JSON file with an open_clip config",
        ),
        Key(
            f"{section}.CLIP_PRETRAINED_WEIGHTS",
            "laion2b_s29b_b131k_ft_soup",
            'open_clip tag, local file, "openai:FILE" (QuickGELU), or "": random',
        ),
        Key(f"{section}.EMBED_DIM", 768, "width of CLIP's embeddings, checked against the model"),
        Key(f"{section}.CLASS_ENSEMBLE", True, "join the decoder's class scores with CLIP's own"),
        Key(f"{section}.GEOMETRIC_ENSEMBLE_ALPHA", 0.4, "CLIP's exponent for seen classes"),
        Key(f"{section}.GEOMETRIC_ENSEMBLE_BETA", 0.8, "CLIP's exponent for unseen classes"),
        Key(
            f"{section}.ENSEMBLE_ON_VALID_MASK",
            False,
            "leave CLIP out for masks that are empty at its resolution (ResNet CLIPs)",
        ),
        Key(
            f"{section}.TEMPLATES", "vild_14", "prompts of class names: vild_14, simple, or a .txt"
        ),
    )


KEYS: tuple[Key, ...] = (
    *_clip_keys("MODEL.FC_CLIP"),
    *_clip_keys("MODEL.FROZEN_SEG"),
    Key("MODEL.TEXT_CACHE_DIR", "", 'text embeddings on disk; "": $FROZENSEG_CACHE or ~/.cache'),
    # pixel decoder (CONVS_DIM, NORM, IN_FEATURES, NUM_CLASSES and NAME are detectron2's keys)
    Key("MODEL.SEM_SEG_HEAD.PIXEL_DECODER_NAME", "MSDeformAttnPixelDecoder", "pixel decoder"),
    Key("MODEL.SEM_SEG_HEAD.MASK_DIM", 256, "width of the per-pixel embedding"),
    Key("MODEL.SEM_SEG_HEAD.TRANSFORMER_ENC_LAYERS", 6, "deformable encoder layers"),
    Key(
        "MODEL.SEM_SEG_HEAD.DEFORMABLE_TRANSFORMER_ENCODER_IN_FEATURES",
        ["res3", "res4", "res5"],
        "backbone maps that the deformable encoder reads, high to low resolution",
    ),
    Key("MODEL.SEM_SEG_HEAD.DEFORMABLE_TRANSFORMER_ENCODER_N_HEADS", 8, "its attention heads"),
    Key("MODEL.SEM_SEG_HEAD.DEFORMABLE_TRANSFORMER_ENCODER_N_POINTS", 4, "its points per level"),
    # transformer decoder
    Key(
        "MODEL.MASK_FORMER.TRANSFORMER_DECODER_NAME",
        "MultiScaleMaskedTransformerDecoder",
        "transformer decoder",
    ),
    Key("MODEL.MASK_FORMER.NUM_OBJECT_QUERIES", 250, "queries, that is masks per image"),
    Key("MODEL.MASK_FORMER.HIDDEN_DIM", 256, "width of the queries"),
    Key("MODEL.MASK_FORMER.NHEADS", 8, "attention heads of the decoder"),
    Key("MODEL.MASK_FORMER.DIM_FEEDFORWARD", 2048, "width of the decoder's feed-forward layers"),
    Key(
        "MODEL.MASK_FORMER.DEC_LAYERS",
        10,
        "predictions: one before the first layer, one after each",
    ),
    Key("MODEL.MASK_FORMER.SIZE_DIVISIBILITY", 32, "images are padded to a multiple of this"),
    # training losses
    Key("MODEL.MASK_FORMER.DEEP_SUPERVISION", True, "losses on every layer's prediction"),
    Key("MODEL.MASK_FORMER.NO_OBJECT_WEIGHT", 0.1, "weight of void in the classification loss"),
    Key("MODEL.MASK_FORMER.CLASS_WEIGHT", 2.0, "weight of the classification loss and cost"),
    Key("MODEL.MASK_FORMER.MASK_WEIGHT", 5.0, "weight of the mask cross-entropy loss and cost"),
    Key("MODEL.MASK_FORMER.DICE_WEIGHT", 5.0, "weight of the dice loss and cost"),
    Key("MODEL.MASK_FORMER.TRAIN_NUM_POINTS", 12544, "points per mask in the losses and costs"),
    Key("MODEL.MASK_FORMER.OVERSAMPLE_RATIO", 3.0, "candidates per point of the mask losses"),
    Key("MODEL.MASK_FORMER.IMPORTANCE_SAMPLE_RATIO", 0.75, "share of points at uncertain places"),
    # inference
    Key("MODEL.MASK_FORMER.TEST.SEMANTIC_ON", True, "semantic segmentation at test time"),
    Key("MODEL.MASK_FORMER.TEST.PANOPTIC_ON", False, "panoptic segmentation at test time"),
    Key("MODEL.MASK_FORMER.TEST.INSTANCE_ON", False, "instance segmentation at test time"),
    Key(
        "MODEL.MASK_FORMER.TEST.RECALL_ON",
        False,
        "output all queries' masks; evaluate their recall and class accuracy",
    ),
    Key(
        "MODEL.MASK_FORMER.TEST.OBJECT_MASK_THRESHOLD",
        0.0,
        "panoptic: queries with a lower score are dropped",
    ),
    Key(
        "MODEL.MASK_FORMER.TEST.OVERLAP_THRESHOLD",
        0.8,
        "panoptic: share of its own mask that a segment must win",
    ),
    Key(
        "MODEL.MASK_FORMER.TEST.SEM_SEG_POSTPROCESSING_BEFORE_INFERENCE",
        False,
        "semantic only: resize the masks to the output before the sum over queries",
    ),
    # data and optimizer (sizes at test time, batch, schedule and clipping are detectron2's keys)
    Key("INPUT.FORMAT", "RGB", "images are RGB, as PIXEL_MEAN and PIXEL_STD of CLIP", ("RGB",)),
    Key("INPUT.RANDOM_FLIP", "horizontal", "flips in training", ("horizontal", "none")),
    Key("INPUT.DATASET_MAPPER_NAME", "coco_panoptic_lsj", "training mapper"),
    Key("INPUT.IMAGE_SIZE", 1024, "side of the square training crop"),
    Key("INPUT.MIN_SCALE", 0.1, "smallest factor of the random resize"),
    Key("INPUT.MAX_SCALE", 2.0, "largest factor of the random resize"),
    Key("SOLVER.OPTIMIZER", "ADAMW", "optimizer: ADAMW or SGD"),
    Key("SOLVER.WEIGHT_DECAY_EMBED", 0.0, "weight decay of embedding modules"),
)

# Files beside a YAML file may be named relative to it (never relative to the working directory).
_FILE_KEYS = tuple(
    f"MODEL.{section}.{key}"
    for section in ("FC_CLIP", "FROZEN_SEG")
    for key in ("CLIP_MODEL_NAME", "CLIP_PRETRAINED_WEIGHTS", "TEMPLATES")
)
_NOT_HASHED = ("OUTPUT_DIR", "MODEL.WEIGHTS", "MODEL.TEXT_CACHE_DIR", "MODEL.DEVICE")


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


def load_config(path: str | Path, opts: Sequence[str] = ()) -> CfgNode:
    """The config of a YAML file (with its `_BASE_` files), then `opts` on top.

    Args:
        path: a YAML file: one of `configs/`, a released one, or a full dump.
        opts: command-line pairs KEY VALUE, flat: `["MODEL.WEIGHTS", "model.pth", ...]`.
    Raises:
        FileNotFoundError: no such file. ValueError: YAML syntax, unknown key, wrong type, a value
            that is not supported, an odd number of opts. Each names the source and the key.
    """
    cfg = get_config()
    ignored: dict[str, Legacy] = {}
    for source in (*read_files(Path(path)), read_opts(opts)):
        for key, value in source.leaves:
            if source.folder is not None and key in _FILE_KEYS:
                value = beside(source.folder, value)
            row = _set(cfg, key, value, source.name)
            if row is not None:
                ignored[key] = row
    if ignored:
        reasons = list_by_reason(ignored)
        logger.warning("%s: %d keys have no effect here: %s", path, len(ignored), reasons)
    return cfg


def config_hash(cfg: CfgNode) -> str:
    """sha256 (hex) of what a config computes: without output folder, device and file locations."""
    values = {key: value for key, value in leaves(cfg) if key not in _NOT_HASHED}
    values.update({key: Path(str(values[key])).name for key in _FILE_KEYS})
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def _set(cfg: CfgNode, key: str, value: Any, source: str) -> Legacy | None:
    """Sets one key; returns its legacy row if the value given has no effect."""
    *sections, name = key.split(".")
    node: Any = cfg
    for section in sections:
        node = node.get(section) if isinstance(node, dict) else None
    row = legacy_row(key)
    if not isinstance(node, dict) or name not in node:
        if row is None:
            nearest = _nearest(cfg, key)
            raise ValueError(f"{source}: unknown key {key}; the nearest known key is {nearest}")
        _check_accepted(key, decode(value), row.accepted, row.reason, source)
        return row
    default = node[name]
    if isinstance(default, dict):
        raise ValueError(f"{source}: {key} is a section of keys, got {shorten(value)}")
    node[name] = coerce(value, default, key, source)
    for own in (own for own in KEYS if own.name == key):
        _check_accepted(key, node[name], own.accepted, own.meaning, source)
    if row is None or row.reason == MAIN_ONLY:
        return None
    _check_accepted(key, node[name], row.accepted, row.reason, source)
    return row if node[name] != default else None


def _check_accepted(
    key: str, value: Any, accepted: tuple[object, ...], reason: str, source: str
) -> None:
    if accepted and value not in accepted:
        choices = " or ".join(map(repr, accepted))
        raise ValueError(
            f"{source}: {key} = {shorten(value)} is not supported, only {choices} is: {reason}"
        )


def _nearest(cfg: CfgNode, key: str) -> str:
    """The known key most like `key`; one of the same last name, if there is any."""
    known = [name for name, _ in leaves(cfg)]
    known += [row.name for row in LEGACY if not row.name.endswith(".*")]
    last_name = key.rpartition(".")[2]
    same_name = [name for name in known if name.rpartition(".")[2] == last_name]
    return difflib.get_close_matches(key, same_name or known, n=1, cutoff=0.0)[0]
