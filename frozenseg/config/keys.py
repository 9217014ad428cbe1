"""The table of config keys: name, default, meaning. `frozenseg.config` reads YAML with it."""

from __future__ import annotations

from typing import NamedTuple


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
    """The frozen CLIP of one meta-architecture.

    FC-CLIP and FrozenSeg have a section each, as in their released files. One section with two
    names would be shorter, but a dump holds both: read again, the defaults of the later one win.
    """
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


# No file of configs/ sets MODEL.FUSIONER.WINDOWS_AT_ONCE (memory) and WANDB_PROJECT: the user does.
# MODEL.TEXT_CACHE_DIR is for machines whose home folder is not writable, and for tests;
# INPUT.EPISODES.ROTATION goes with COLOR_JITTER, TEST.SAM_QUERY_MAX_IOU is part of the protocol.
KEYS: tuple[Key, ...] = (
    *_clip_keys("MODEL.FC_CLIP"),
    *_clip_keys("MODEL.FROZEN_SEG"),
    # the frozen SAM (FrozenSeg only)
    Key("MODEL.SAM_NAME", "vit_b", "vit_b, vit_l, vit_h, vit_t, or the path of a JSON with sizes"),
    Key("MODEL.SAM_PRETRAINED_WEIGHTS", "", 'file with SAM\'s weights; "": random'),
    Key(
        "MODEL.SAM_PRECISION",
        "float32",
        "of SAM's image encoder: float32, or bfloat16 (faster, its deviation: docs/frozenseg.md)",
    ),
    Key(
        "MODEL.SAM_BRANCH",
        "single_level",
        "SAM's part of the pixel decoder: single_level (sound, for new training); released (three "
        "levels' parameters and the read that trained the released weights); first_level",
    ),
    # Fusioner: any frozen visual encoder with any frozen language encoder
    Key("MODEL.FUSIONER.METHOD", "early", "early, late (no joint layers), spnet or zs3net"),
    Key(
        "MODEL.FUSIONER.VISUAL",
        "clip-vit-l-14",
        "visual encoder: clip-vit-b-16, clip-vit-l-14, clip-rn101, resnet-101, dino-vit-b-16, "
        "moco-v3-vit-b-16, or the path of a JSON file",
    ),
    Key(
        "MODEL.FUSIONER.VISUAL_WEIGHTS",
        "openai",
        'open_clip tag, "timm" (its hub), local file, or "": random',
    ),
    Key(
        "MODEL.FUSIONER.LANGUAGE",
        "clip-vit-l-14",
        "language encoder: clip-vit-b-16, clip-vit-l-14, clip-rn101, bert-base, bert-large, a "
        "folder with a BERT, or the path of a JSON file",
    ),
    Key(
        "MODEL.FUSIONER.LANGUAGE_WEIGHTS",
        "openai",
        'open_clip tag, "hub" (transformers\'), local file, or "": random',
    ),
    Key("MODEL.FUSIONER.TEMPLATES", "fusioner_32", "prompts of class names: a set, or a .txt"),
    Key("MODEL.FUSIONER.WIDTH", 512, "channels of the fusion and of the upsampling decoder"),
    Key("MODEL.FUSIONER.LAYERS", 12, "transformer layers of the fusion"),
    Key("MODEL.FUSIONER.HEADS", 8, "its attention heads"),
    Key("MODEL.FUSIONER.FEEDFORWARD", 2048, "width of its feed-forward layers"),
    Key("MODEL.FUSIONER.TEMPERATURE", 0.07, "cosines are divided by it"),
    Key("MODEL.FUSIONER.THRESHOLD", 0.5, "probability above which a pixel belongs to a word"),
    Key("MODEL.FUSIONER.CROP", 224, "side of the test windows, in pixels"),
    Key("MODEL.FUSIONER.STRIDE", 149, "step from window to window, in pixels"),
    Key("MODEL.FUSIONER.WINDOWS_AT_ONCE", 8, "windows that are computed together"),
    Key(
        "MODEL.FUSIONER.FEATURE_CACHE_DIR",
        "",
        'frozen visual features on disk, for INPUT.EPISODES.AUGMENT False; "": none',
    ),
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
    Key(
        "MODEL.MASK_FORMER.SAM_FEATURE_FUSE_LAYER",
        0,
        "layers i with i mod 3 equal to it see CLIP features joined with SAM's; -1: none",
    ),
    Key(
        "MODEL.MASK_FORMER.SAM_QUERY_FUSE_LAYER",
        2,
        "after layers i with i mod 3 equal to it the queries gain SAM's features; -1: none",
    ),
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
    Key("TEST.USE_SAM_MASKS", False, "the mask ensemble: SAM's proposals join the queries"),
    Key(
        "TEST.SAM_MASK_PRED_ALPHA",
        0.2,
        "the proposals' weight in semantic scores of unseen classes",
    ),
    Key(
        "TEST.SAM_MASKS_DIR",
        "",
        'proposals of tools/export_sam_masks.py; "": the model makes them at every image (slow)',
    ),
    Key(
        "TEST.SAM_MASKS_AS_QUERIES",
        False,
        "proposals also enter panoptic and instance segmentation, as additional queries",
    ),
    Key("TEST.SAM_QUERY_WEIGHT", 0.4, "factor of the class probabilities of such a proposal"),
    Key(
        "TEST.SAM_QUERY_MAX_IOU",
        0.5,
        "a proposal with a larger IoU with some query's mask is left out of these two tasks",
    ),
    *(
        Key(f"TEST.SAM_MASK_GENERATION.{name}", default, meaning)
        for name, default, meaning in (
            ("POINTS_PER_SIDE", 32, "clicks of SAM's automatic masks, along each side of an image"),
            ("PRED_IOU_THRESH", 0.8, "masks that SAM itself scores lower are dropped"),
            (
                "STABILITY_SCORE_THRESH",
                0.7,
                "masks that change more with the threshold are dropped",
            ),
            ("STABILITY_SCORE_OFFSET", 1.0, "by how much that threshold is moved"),
            ("BOX_NMS_THRESH", 0.7, "IoU of boxes above which the lower scored mask is dropped"),
            ("MIN_MASK_REGION_AREA", 100, "smaller islands and holes are removed, in pixels"),
            ("MAX_MASKS", 50, "the largest masks that are kept of an image"),
        )
    ),
    Key("DATASETS.FILES", [], "YAML files of your own datasets (see datasets/README.md)"),
    Key(
        "DATASETS.WORDS",
        "own",
        "names of the classes: own (this project's tables), fcclip (the lists of the published "
        "scores; `frozenseg data words get fcclip`), or a file for the datasets evaluated",
    ),
    # data and optimizer (sizes at test time, batch, schedule and clipping are detectron2's keys)
    Key("INPUT.FORMAT", "RGB", "images are RGB, as PIXEL_MEAN and PIXEL_STD of CLIP", ("RGB",)),
    Key("INPUT.RANDOM_FLIP", "horizontal", "flips in training", ("horizontal", "none")),
    Key("INPUT.DATASET_MAPPER_NAME", "coco_panoptic_lsj", "training mapper"),
    Key("INPUT.IMAGE_SIZE", 1024, "side of the square training crop"),
    Key("INPUT.MIN_SCALE", 0.1, "smallest factor of the random resize"),
    Key("INPUT.MAX_SCALE", 2.0, "largest factor of the random resize"),
    Key("INPUT.EPISODES.AUGMENT", True, "mapper episodes: random crops, colours and shapes"),
    Key("INPUT.EPISODES.COLOR_JITTER", 0.5, "mapper episodes: strength of the colour jitter"),
    Key("INPUT.EPISODES.ROTATION", 20.0, "mapper episodes: largest rotation, in degrees"),
    Key("SOLVER.OPTIMIZER", "ADAMW", "optimizer: ADAMW or SGD"),
    Key(
        "SOLVER.EPOCHS",
        0.0,
        "length of the training in passes over DATASETS.TRAIN instead of SOLVER.MAX_ITER; 0: off",
    ),
    Key("SOLVER.WARMUP_EPOCHS", 0.0, "with SOLVER.EPOCHS: linear warm-up from 0, in passes"),
    Key(
        "SOLVER.BASE_LR_END",
        0.0,
        "SOLVER.LR_SCHEDULER_NAME CosineGroups: last learning rate of the falling groups",
    ),
    Key(
        "SOLVER.WEIGHT_DECAY_END",
        -1.0,
        "SOLVER.LR_SCHEDULER_NAME CosineGroups: weight decay rises to it along a cosine; -1: stays",
    ),
    Key(
        "SOLVER.CONSTANT_MODULES",
        [],
        "modules (dotted names) whose learning rate stays BASE_LR, without weight decay; "
        "SOLVER.LR_SCHEDULER_NAME CosineGroups",
    ),
    Key("SOLVER.WEIGHT_DECAY_EMBED", 0.0, "weight decay of embedding modules"),
    # training (batch, schedule, clipping, AMP and evaluation period are detectron2's keys)
    Key(
        "SOLVER.ACCUMULATION_STEPS",
        1,
        "parts that a process takes its images of a batch in, to save memory; IMS_PER_BATCH stays "
        "the whole batch",
    ),
    Key(
        "SOLVER.EMA_DECAY",
        0.0,
        "decay of a moving average of the trained weights, saved and evaluated; 0: none",
    ),
    Key(
        "MODEL.INIT_FROM",
        "",
        "weights to start a training from that need not have SAM's branch and injectors (FC-CLIP's "
        "for FrozenSeg) nor the same number of classes",
    ),
    Key("WANDB_PROJECT", "", 'project of Weights & Biases that gets the metrics; "": none'),
)
