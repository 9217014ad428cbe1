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

from frozenseg.config.keys import KEYS
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


_FROZEN = "the CLIP backbone is frozen and never in the optimizer"
MAIN_ONLY = "a key of detectron2's main branch that its release 0.6 lacks"
_DEEPLAB = "a key of detectron2's DeepLab project"
_RESNET = "CLIP's ResNets come from open_clip: choose one by MODEL.FC_CLIP.CLIP_MODEL_NAME"
_MAPPER = "the coco_panoptic_lsj mapper has INPUT.IMAGE_SIZE, MIN_SCALE and MAX_SCALE instead"
_AUGMENTATION = "there is no test-time augmentation"
_BATCH_NORM = "no batch norm is trained"
_LOADER = "batches follow the seed alone: every image once per epoch, in random order"

# The keys of detectron2 0.6 that are read; all others of its own are accepted with a warning.
READ = frozenset(
    {
        *("DATALOADER.NUM_WORKERS", "DATASETS.TEST", "DATASETS.TRAIN", "OUTPUT_DIR", "SEED"),
        *("INPUT.MAX_SIZE_TEST", "INPUT.MIN_SIZE_TEST", "TEST.DETECTIONS_PER_IMAGE"),
        *("MODEL.BACKBONE.NAME", "MODEL.DEVICE", "MODEL.META_ARCHITECTURE", "MODEL.PIXEL_MEAN"),
        *("MODEL.PIXEL_STD", "MODEL.SEM_SEG_HEAD.CONVS_DIM", "MODEL.SEM_SEG_HEAD.IN_FEATURES"),
        *("MODEL.SEM_SEG_HEAD.NAME", "MODEL.SEM_SEG_HEAD.NORM", "MODEL.SEM_SEG_HEAD.NUM_CLASSES"),
        *("MODEL.WEIGHTS", "SOLVER.AMP.ENABLED", "SOLVER.BASE_LR", "SOLVER.CHECKPOINT_PERIOD"),
        *("SOLVER.CLIP_GRADIENTS.CLIP_TYPE", "SOLVER.CLIP_GRADIENTS.CLIP_VALUE"),
        *("SOLVER.CLIP_GRADIENTS.ENABLED", "SOLVER.CLIP_GRADIENTS.NORM_TYPE", "SOLVER.GAMMA"),
        *("SOLVER.IMS_PER_BATCH", "SOLVER.LR_SCHEDULER_NAME", "SOLVER.MAX_ITER"),
        *("SOLVER.MOMENTUM", "SOLVER.NESTEROV", "SOLVER.REFERENCE_WORLD_SIZE", "SOLVER.STEPS"),
        *("SOLVER.WARMUP_FACTOR", "SOLVER.WARMUP_ITERS", "SOLVER.WARMUP_METHOD"),
        *("SOLVER.WEIGHT_DECAY", "SOLVER.WEIGHT_DECAY_BIAS", "SOLVER.WEIGHT_DECAY_NORM"),
        "TEST.EVAL_PERIOD",
    }
)
_NOT_READ = "nothing here reads this key of detectron2 (no boxes, proposals or keypoints)"

LEGACY: tuple[Legacy, ...] = (
    # Mask2Former's switches that FC-CLIP and FrozenSeg never use
    Legacy("MODEL.MASK_FORMER.DROPOUT", "the decoders have no dropout", (0.0,)),
    Legacy("MODEL.MASK_FORMER.PRE_NORM", "the decoders are post-norm", (False,)),
    Legacy(
        "MODEL.MASK_FORMER.ENC_LAYERS",
        "the encoder is MODEL.SEM_SEG_HEAD.TRANSFORMER_ENC_LAYERS",
        (0,),
    ),
    Legacy(
        "MODEL.MASK_FORMER.ENFORCE_INPUT_PROJ",
        "the pixel decoder's maps already have the decoder's width",
        (False,),
    ),
    Legacy(
        "MODEL.MASK_FORMER.TRANSFORMER_IN_FEATURE",
        "the decoder reads the pixel decoder's three maps",
        ("multi_scale_pixel_decoder",),
    ),
    Legacy(
        "MODEL.SEM_SEG_HEAD.LOSS_WEIGHT",
        "use MODEL.MASK_FORMER.CLASS_WEIGHT, MASK_WEIGHT and DICE_WEIGHT",
        (1.0,),
    ),
    Legacy(
        "MODEL.SEM_SEG_HEAD.COMMON_STRIDE",
        "the per-pixel embedding is at the stride of res2",
        (4,),
    ),
    Legacy(
        "MODEL.SEM_SEG_HEAD.IGNORE_VALUE",
        "the ignored label is the dataset's (its metadata)",
        (255,),
    ),
    Legacy("MODEL.SWIN.*", "there is no Swin backbone here"),
    # Frozen backbone, and the ResNet of detectron2
    Legacy("MODEL.BACKBONE.FREEZE_AT", _FROZEN),
    Legacy("SOLVER.BACKBONE_MULTIPLIER", _FROZEN),
    Legacy("MODEL.RESNETS.*", _RESNET),
    Legacy("SOLVER.BIAS_LR_FACTOR", "biases learn at SOLVER.BASE_LR", (1.0,)),
    # FrozenSeg
    Legacy("TEST.PKL_SAM_MODEL_NAME", "masks are never stored in pickles here"),
    # Input and tests that detectron2 offers and this project does otherwise or not at all
    Legacy("VERSION", "only detectron2's config version 2 is understood", (2,)),
    Legacy("INPUT.MIN_SIZE_TRAIN", _MAPPER),
    Legacy("INPUT.MAX_SIZE_TRAIN", _MAPPER),
    Legacy("INPUT.MIN_SIZE_TRAIN_SAMPLING", _MAPPER),
    Legacy("INPUT.MASK_FORMAT", "masks are bitmaps from the panoptic PNG files"),
    Legacy("INPUT.CROP.*", _MAPPER),
    Legacy("INPUT.CROP.ENABLED", _MAPPER, (False,)),
    Legacy("INPUT.COLOR_AUG_SSD", "there is no colour augmentation", (False,)),
    Legacy("INPUT.SIZE_DIVISIBILITY", "use MODEL.MASK_FORMER.SIZE_DIVISIBILITY", (-1,)),
    Legacy("DATALOADER.ASPECT_RATIO_GROUPING", _LOADER),
    Legacy("DATALOADER.FILTER_EMPTY_ANNOTATIONS", _LOADER),
    Legacy("DATALOADER.SAMPLER_TRAIN", _LOADER, ("TrainingSampler",)),
    Legacy("TEST.AUG.ENABLED", _AUGMENTATION, (False,)),
    Legacy("TEST.PRECISE_BN.ENABLED", _BATCH_NORM, (False,)),
    # detectron2's detectors; its main branch has more keys in these sections
    *(
        Legacy(f"MODEL.{section}.*", _NOT_READ)
        for section in (
            *("ANCHOR_GENERATOR", "FPN", "PANOPTIC_FPN", "PROPOSAL_GENERATOR", "RETINANET", "RPN"),
            *("ROI_HEADS", "ROI_BOX_HEAD", "ROI_BOX_CASCADE_HEAD", "ROI_MASK_HEAD"),
            "ROI_KEYPOINT_HEAD",
        )
    ),
    Legacy("MODEL.MASK_ON", "use MODEL.MASK_FORMER.TEST.INSTANCE_ON"),
    Legacy("MODEL.LOAD_PROPOSALS", "there are no boxes here", (False,)),
    # detectron2's main branch and DeepLab project
    Legacy("FLOAT32_PRECISION", MAIN_ONLY, ("",)),
    *(
        Legacy(name, MAIN_ONLY)
        for name in ("DATALOADER.REPEAT_SQRT", "SOLVER.NUM_DECAYS", "SOLVER.RESCALE_INTERVAL")
    ),
    *(
        Legacy(f"MODEL.SEM_SEG_HEAD.{name}", _DEEPLAB)
        for name in (
            "ASPP_CHANNELS",
            "ASPP_DILATIONS",
            "ASPP_DROPOUT",
            "LOSS_TYPE",
            "PROJECT_CHANNELS",
            "PROJECT_FEATURES",
            "USE_DEPTHWISE_SEPARABLE_CONV",
        )
    ),
    Legacy("SOLVER.POLY_LR_CONSTANT_ENDING", _DEEPLAB),
    Legacy("SOLVER.POLY_LR_POWER", _DEEPLAB),
)


def legacy_row(key: str) -> Legacy | None:
    """Why a key has no effect: its own row, else that of its section; None if it is read.

    None, too, for a key that nobody knows.
    """
    sections = (row for row in LEGACY if row.name.endswith(".*"))
    own = (row for row in LEGACY if row.name == key)
    covering = (row for row in sections if key.startswith(row.name[:-1]))
    row = next(own, None) or next(covering, None)
    if row is None and key in _detectron2_keys() - READ:
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
