"""Config keys that have no effect here, and why: the second table of `frozenseg.config`.

The released FC-CLIP and FrozenSeg files, full dumps of detectron2's main branch and of its DeepLab
project set them. `load_config` accepts them with one warning line; a row with `accepted` values
takes only those, because any other value asks for something that this code does not do.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import NamedTuple


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
_BOXES = "there are no boxes, anchors, proposals or keypoints here"
MAIN_ONLY = "a key of detectron2's main branch that its release 0.6 lacks"
_DEEPLAB = "a key of detectron2's DeepLab project"
_RESNET = "CLIP's ResNets come from open_clip: choose one by MODEL.FC_CLIP.CLIP_MODEL_NAME"
_MAPPER = "the coco_panoptic_lsj mapper has INPUT.IMAGE_SIZE, MIN_SCALE and MAX_SCALE instead"
_AUGMENTATION = "there is no test-time augmentation"
_BATCH_NORM = "no batch norm is trained"
_LOADER = "batches follow the seed alone: every image once per epoch, in random order"

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
    Legacy("DATALOADER.REPEAT_THRESHOLD", _LOADER),
    Legacy("TEST.AUG.*", _AUGMENTATION),
    Legacy("TEST.AUG.ENABLED", _AUGMENTATION, (False,)),
    Legacy("TEST.PRECISE_BN.*", _BATCH_NORM),
    Legacy("TEST.PRECISE_BN.ENABLED", _BATCH_NORM, (False,)),
    Legacy("TEST.EXPECTED_RESULTS", "results are written to OUTPUT_DIR/results.json, not compared"),
    Legacy("VIS_PERIOD", "training draws no pictures"),
    Legacy("CUDNN_BENCHMARK", "torch.backends.cudnn.benchmark stays as torch sets it"),
    Legacy("GLOBAL.*", "a place for experiments of detectron2's users"),
    # detectron2's detectors
    Legacy("MODEL.MASK_ON", "use MODEL.MASK_FORMER.TEST.INSTANCE_ON"),
    Legacy("MODEL.KEYPOINT_ON", _BOXES),
    Legacy("MODEL.LOAD_PROPOSALS", _BOXES, (False,)),
    Legacy("MODEL.PROPOSAL_GENERATOR.*", _BOXES),
    Legacy("MODEL.ANCHOR_GENERATOR.*", _BOXES),
    Legacy("MODEL.RPN.*", _BOXES),
    Legacy("MODEL.ROI_HEADS.*", _BOXES),
    Legacy("MODEL.ROI_BOX_HEAD.*", _BOXES),
    Legacy("MODEL.ROI_BOX_CASCADE_HEAD.*", _BOXES),
    Legacy("MODEL.ROI_MASK_HEAD.*", _BOXES),
    Legacy("MODEL.ROI_KEYPOINT_HEAD.*", _BOXES),
    Legacy("MODEL.RETINANET.*", _BOXES),
    Legacy("DATASETS.PROPOSAL_FILES_TRAIN", _BOXES),
    Legacy("DATASETS.PROPOSAL_FILES_TEST", _BOXES),
    Legacy("DATASETS.PRECOMPUTED_PROPOSAL_TOPK_TRAIN", _BOXES),
    Legacy("DATASETS.PRECOMPUTED_PROPOSAL_TOPK_TEST", _BOXES),
    Legacy("TEST.KEYPOINT_OKS_SIGMAS", _BOXES),
    Legacy("MODEL.FPN.*", "the pixel decoder has the keys MODEL.SEM_SEG_HEAD.*"),
    Legacy("MODEL.PANOPTIC_FPN.*", "panoptic segmentation has the keys MODEL.MASK_FORMER.TEST.*"),
    # detectron2's main branch and DeepLab project
    Legacy("FLOAT32_PRECISION", MAIN_ONLY, ("",)),
    Legacy("DATALOADER.REPEAT_SQRT", MAIN_ONLY),
    Legacy("SOLVER.NUM_DECAYS", MAIN_ONLY),
    Legacy("SOLVER.RESCALE_INTERVAL", MAIN_ONLY),
    Legacy("MODEL.SEM_SEG_HEAD.ASPP_CHANNELS", _DEEPLAB),
    Legacy("MODEL.SEM_SEG_HEAD.ASPP_DILATIONS", _DEEPLAB),
    Legacy("MODEL.SEM_SEG_HEAD.ASPP_DROPOUT", _DEEPLAB),
    Legacy("MODEL.SEM_SEG_HEAD.LOSS_TYPE", _DEEPLAB),
    Legacy("MODEL.SEM_SEG_HEAD.PROJECT_CHANNELS", _DEEPLAB),
    Legacy("MODEL.SEM_SEG_HEAD.PROJECT_FEATURES", _DEEPLAB),
    Legacy("MODEL.SEM_SEG_HEAD.USE_DEPTHWISE_SEPARABLE_CONV", _DEEPLAB),
    Legacy("SOLVER.POLY_LR_CONSTANT_ENDING", _DEEPLAB),
    Legacy("SOLVER.POLY_LR_POWER", _DEEPLAB),
)


def legacy_row(key: str) -> Legacy | None:
    """The row of a key: its own, else that of its section, else None."""
    sections = (row for row in LEGACY if row.name.endswith(".*"))
    own = (row for row in LEGACY if row.name == key)
    covering = (row for row in sections if key.startswith(row.name[:-1]))
    return next(own, None) or next(covering, None)


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
