"""Config keys that have no effect here, and why: the second table of `frozenseg.config`.

The released FC-CLIP and FrozenSeg files, full dumps of detectron2's main branch and of its DeepLab
project set them. `load_config` accepts them with one warning line; a row with `accepted` values
takes only those, because any other value asks for something that this code does not do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from functools import cache
from typing import NamedTuple

from frozenseg.config.keys import DETECTRON2_KEYS, KEYS
from frozenseg.files import flatten


class Legacy(NamedTuple):
    """A key without effect (or a whole section: `name` ends in ".*").

    Attributes:
        name: the key; if detectron2 itself has it, its default is accepted without a warning.
        reason: why it has no effect, or which key to use instead.
        accepted: the values that may be given; empty: any.
    """

    name: str
    reason: str
    accepted: tuple[object, ...] = ()


_MAPPER = "the coco_panoptic_lsj mapper has INPUT.IMAGE_SIZE, MIN_SCALE and MAX_SCALE instead"
_LOADER = "batches follow the seed alone, in random order"
_NOT_READ = "nothing here reads this key of detectron2 (no boxes, proposals or keypoints)"
MAIN_ONLY = "a key of detectron2's main branch that its release 0.6 lacks"

# Reason -> keys of which any value is accepted.
_ANY_VALUE = {
    "there is no Swin backbone here": ("MODEL.SWIN.*",),
    "MODEL.STUDENT says which part of CLIP trains, if any": ("MODEL.BACKBONE.FREEZE_AT",),
    "nothing reads it in the released code either": (
        *("MODEL.relu", "DATALOADER.DATASET_RATIO", "DATALOADER.USE_DIFF_BS_SIZE"),
        *("DATALOADER.DATASET_BS", "DATALOADER.USE_RFS", "DATALOADER.DATASET_ANN"),
        *("DATALOADER.MULTI_DATASET_GROUPING",),
    ),
    "name the weights to start from by MODEL.INIT_FROM": ("MODEL.OVRCOAT.SEM_SEG_WEIGHTS",),
    "CLIP's ResNets come from open_clip: choose one by MODEL.FC_CLIP.CLIP_MODEL_NAME": (
        "MODEL.RESNETS.*",
    ),
    "masks are never stored in pickles here": ("TEST.PKL_SAM_MODEL_NAME",),
    _MAPPER: (
        *("INPUT.MIN_SIZE_TRAIN", "INPUT.MAX_SIZE_TRAIN", "INPUT.MIN_SIZE_TRAIN_SAMPLING"),
        "INPUT.CROP.*",
    ),
    "masks are bitmaps from the panoptic PNG files": ("INPUT.MASK_FORMAT",),
    "there is no colour augmentation; the released LSJ mappers have none": ("INPUT.COLOR_AUG_SSD",),
    _LOADER: ("DATALOADER.ASPECT_RATIO_GROUPING",),
    "use MODEL.MASK_FORMER.TEST.INSTANCE_ON": ("MODEL.MASK_ON",),
    # detectron2's detectors; its main branch has more keys in these sections
    _NOT_READ: tuple(
        f"MODEL.{section}.*"
        for section in (
            *("ANCHOR_GENERATOR", "FPN", "PANOPTIC_FPN", "PROPOSAL_GENERATOR", "RETINANET", "RPN"),
            *("ROI_HEADS", "ROI_BOX_HEAD", "ROI_BOX_CASCADE_HEAD", "ROI_MASK_HEAD"),
            "ROI_KEYPOINT_HEAD",
        )
    ),
    MAIN_ONLY: ("SOLVER.NUM_DECAYS", "SOLVER.RESCALE_INTERVAL"),
    "a key of detectron2's DeepLab project": (
        "SOLVER.POLY_LR_CONSTANT_ENDING",
        *(
            f"MODEL.SEM_SEG_HEAD.{name}"
            for name in (
                *("ASPP_CHANNELS", "ASPP_DILATIONS", "ASPP_DROPOUT", "LOSS_TYPE"),
                *("PROJECT_CHANNELS", "PROJECT_FEATURES", "USE_DEPTHWISE_SEPARABLE_CONV"),
            )
        ),
    ),
}
# Key -> the only value that is accepted, and why.
_ONE_VALUE: dict[str, tuple[object, str]] = {
    # Mask2Former's switches that FC-CLIP and FrozenSeg never use
    "MODEL.MASK_FORMER.DROPOUT": (0.0, "the decoders have no dropout"),
    "MODEL.MASK_FORMER.PRE_NORM": (False, "the decoders are post-norm"),
    "MODEL.MASK_FORMER.ENC_LAYERS": (
        0,
        "the encoder is MODEL.SEM_SEG_HEAD.TRANSFORMER_ENC_LAYERS",
    ),
    "MODEL.MASK_FORMER.ENFORCE_INPUT_PROJ": (
        False,
        "the pixel decoder's maps already have the decoder's width",
    ),
    "MODEL.MASK_FORMER.TRANSFORMER_IN_FEATURE": (
        "multi_scale_pixel_decoder",
        "the decoder reads the pixel decoder's three maps",
    ),
    "MODEL.SEM_SEG_HEAD.LOSS_WEIGHT": (
        1.0,
        "use MODEL.MASK_FORMER.CLASS_WEIGHT, MASK_WEIGHT and DICE_WEIGHT",
    ),
    "MODEL.SEM_SEG_HEAD.COMMON_STRIDE": (4, "the per-pixel embedding is at the stride of res2"),
    "MODEL.SEM_SEG_HEAD.IGNORE_VALUE": (255, "the ignored label is the dataset's (its metadata)"),
    # Input, training and tests that detectron2 offers and this project does otherwise or not at all
    "VERSION": (2, "only detectron2's config version 2 is understood"),
    "SOLVER.BIAS_LR_FACTOR": (1.0, "biases learn at SOLVER.BASE_LR"),
    "INPUT.CROP.ENABLED": (False, _MAPPER),
    "INPUT.SIZE_DIVISIBILITY": (-1, "use MODEL.MASK_FORMER.SIZE_DIVISIBILITY"),
    "DATALOADER.REPEAT_SQRT": (True, "repeat factors are square roots"),
    "TEST.AUG.ENABLED": (False, "there is no test-time augmentation"),
    "TEST.PRECISE_BN.ENABLED": (False, "no batch norm is trained"),
    "MODEL.LOAD_PROPOSALS": (False, "there are no boxes here"),
    "TRAIN.USE_PRETRAINED_SEG_HEAD_WEIGHTS": (False, "use MODEL.INIT_FROM"),
    "TRAIN.LOSSES": (
        ["oov_ce", "masks", "labels"],
        "MODEL.STUDENT and MODEL.MASK_FORMER have the weights",
    ),
    "FLOAT32_PRECISION": ("", MAIN_ONLY),
}
LEGACY: tuple[Legacy, ...] = (
    *(Legacy(name, reason) for reason, names in _ANY_VALUE.items() for name in names),
    *(Legacy(name, reason, (value,)) for name, (value, reason) in _ONE_VALUE.items()),
)


def legacy_row(key: str) -> Legacy | None:
    """Why a key has no effect: its own row, else that of its section; None if it is read.

    None, too, for a key that nobody knows.
    """
    sections = (row for row in LEGACY if row.name.endswith(".*"))
    own = (row for row in LEGACY if row.name == key)
    covering = (row for row in sections if key.startswith(row.name[:-1]))
    row = next(own, None) or next(covering, None)
    if row is None and key in _detectron2_keys() - {key.name for key in DETECTRON2_KEYS}:
        return Legacy(key, _NOT_READ)
    return row


@cache
def _detectron2_keys() -> frozenset[str]:
    """Those of its default config that are not in our own table."""
    from detectron2.config import get_cfg

    return frozenset(key for key, _ in flatten(get_cfg())) - {key.name for key in KEYS}


def list_by_reason(ignored: Mapping[str, Legacy]) -> str:
    """One line for keys and their rows: "KEY, KEY: reason; SECTION.* (7 keys): reason"."""
    keys_of_row = Counter(row.name for row in ignored.values())
    names_of_reason: dict[str, list[str]] = {}
    for key, row in sorted(ignored.items()):
        count = keys_of_row[row.name]
        names = names_of_reason.setdefault(row.reason, [])
        names.append(f"{row.name} ({count} keys)" if count > 1 else key)
    return "; ".join(
        f"{', '.join(dict.fromkeys(names))}: {reason}" for reason, names in names_of_reason.items()
    )
