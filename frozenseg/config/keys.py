"""The tables of config keys: default, meaning, range or choices; and what keys ask of each other.

`frozenseg.config.load` reads YAML with `KEYS`, our own, and `DETECTRON2_KEYS`, those of detectron2
that this project reads, and checks every value and every one of `RELATIONS` before anything is
built.
"""

from __future__ import annotations

from itertools import pairwise

from frozenseg.config.family_keys import FAMILY_KEYS, FAMILY_RELATIONS, void_trust_keys
from frozenseg.config.ranges import (
    COUNT,
    COUNT_OR_NONE,
    FRACTION,
    LAYERS,
    NOT_NEGATIVE,
    PIXELS,
    POSITIVE,
    SCALE,
    SMALLEST,
    TEXT,
    TEXT_OR_NONE,
    WIDTH,
    Key,
    Range,
    Relation,
    WeightOrFile,
    whole,
)
from frozenseg.device import TOWER_PRECISIONS

__all__ = ["DETECTRON2_KEYS", "KEYS", "RELATIONS", "Key", "Relation"]


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
            TEXT,
        ),
        Key(
            f"{section}.CLIP_PRETRAINED_WEIGHTS",
            "laion2b_s29b_b131k_ft_soup",
            'open_clip tag, local file, "openai:FILE" (QuickGELU), or "": random',
            TEXT_OR_NONE,
        ),
        Key(
            f"{section}.EMBED_DIM",
            768,
            "width of CLIP's embeddings, checked against the model",
            WIDTH,
        ),
        Key(
            f"{section}.CLIP_PRECISION",
            "float32",
            "of CLIP's frozen towers: float32, bfloat16, or auto (bfloat16 on a GPU and on "
            "processors with instructions for it)",
            TOWER_PRECISIONS,
        ),
        Key(f"{section}.CLASS_ENSEMBLE", True, "join the decoder's class scores with CLIP's own"),
        Key(
            f"{section}.GEOMETRIC_ENSEMBLE_ALPHA", 0.4, "CLIP's exponent for seen classes", FRACTION
        ),
        Key(
            f"{section}.GEOMETRIC_ENSEMBLE_BETA",
            0.8,
            "CLIP's exponent for unseen classes",
            FRACTION,
        ),
        Key(
            f"{section}.ENSEMBLE_ON_VALID_MASK",
            False,
            "leave CLIP out for masks that are empty at its resolution (ResNet CLIPs)",
        ),
        Key(
            f"{section}.TEMPLATES",
            "vild_14",
            "prompts of class names: vild_14, simple, or a .txt",
            TEXT,
        ),
        *void_trust_keys(section),
    )


# No file of configs/ sets MODEL.FUSIONER.WINDOWS_AT_ONCE (memory), WANDB_PROJECT and
# TEST.SAVE_PREDICTIONS and TEST.SAVE_PER_IMAGE (disk): the user does.
# MODEL.TEXT_CACHE_DIR is for machines whose home folder is not writable, and for tests;
# INPUT.EPISODES.ROTATION goes with COLOR_JITTER, TEST.SAM_QUERY_MAX_IOU is part of the protocol.
KEYS: tuple[Key, ...] = (
    *_clip_keys("MODEL.FC_CLIP"),
    *_clip_keys("MODEL.FROZEN_SEG"),
    *FAMILY_KEYS,
    # the frozen SAM (FrozenSeg only)
    Key(
        "MODEL.SAM_NAME",
        "vit_b",
        "vit_b, vit_l, vit_h, vit_t, or the path of a JSON with sizes",
        TEXT,
    ),
    Key("MODEL.SAM_PRETRAINED_WEIGHTS", "", 'file with SAM\'s weights; "": random', TEXT_OR_NONE),
    Key(
        "MODEL.SAM_PRECISION",
        "float32",
        "of SAM's image encoder: float32, bfloat16 (faster, its deviation: docs/frozenseg.md) or "
        "auto (as CLIP_PRECISION)",
        TOWER_PRECISIONS,
    ),
    Key(
        "MODEL.SAM_BRANCH",
        "single_level",
        "SAM's part of the pixel decoder: single_level (sound, for new training); released (three "
        "levels' parameters and the read that trained the released weights); first_level; "
        "pixel_decoder (own): SAM's map joins CLIP's there, instead of the feature injector",
        ("single_level", "released", "first_level", "pixel_decoder"),
    ),
    # Fusioner: any frozen visual encoder with any frozen language encoder
    Key(
        "MODEL.FUSIONER.METHOD",
        "early",
        "early, late (no joint layers), spnet or zs3net",
        ("early", "late", "spnet", "zs3net"),
    ),
    Key(
        "MODEL.FUSIONER.VISUAL",
        "clip-vit-l-14",
        "visual encoder: clip-vit-b-16, clip-vit-l-14, clip-rn101, resnet-101, dino-vit-b-16, "
        "moco-v3-vit-b-16, or the path of a JSON file",
        TEXT,
    ),
    Key(
        "MODEL.FUSIONER.VISUAL_WEIGHTS",
        "openai",
        'open_clip tag, "timm" (its hub), local file, or "": random',
        TEXT_OR_NONE,
    ),
    Key(
        "MODEL.FUSIONER.LANGUAGE",
        "clip-vit-l-14",
        "language encoder: clip-vit-b-16, clip-vit-l-14, clip-rn101, bert-base, bert-large, a "
        "folder with a BERT, or the path of a JSON file",
        TEXT,
    ),
    Key(
        "MODEL.FUSIONER.LANGUAGE_WEIGHTS",
        "openai",
        'open_clip tag, "hub" (transformers\'), local file, or "": random',
        TEXT_OR_NONE,
    ),
    Key(
        "MODEL.FUSIONER.TEMPLATES", "fusioner_32", "prompts of class names: a set, or a .txt", TEXT
    ),
    Key("MODEL.FUSIONER.WIDTH", 512, "channels of the fusion and of the upsampling decoder", WIDTH),
    Key("MODEL.FUSIONER.LAYERS", 12, "transformer layers of the fusion", LAYERS),
    Key("MODEL.FUSIONER.HEADS", 8, "its attention heads", WIDTH),
    Key("MODEL.FUSIONER.FEEDFORWARD", 2048, "width of its feed-forward layers", WIDTH),
    Key("MODEL.FUSIONER.TEMPERATURE", 0.07, "cosines are divided by it", POSITIVE),
    Key(
        "MODEL.FUSIONER.THRESHOLD",
        0.5,
        "probability above which a pixel belongs to a word",
        FRACTION,
    ),
    Key("MODEL.FUSIONER.CROP", 224, "side of the test windows, in pixels", PIXELS),
    Key("MODEL.FUSIONER.STRIDE", 149, "step from window to window, in pixels", PIXELS),
    Key("MODEL.FUSIONER.WINDOWS_AT_ONCE", 8, "windows that are computed together", WIDTH),
    Key(
        "MODEL.FUSIONER.FEATURE_CACHE_DIR",
        "",
        'frozen visual features on disk, for INPUT.EPISODES.AUGMENT False; "": none',
        TEXT_OR_NONE,
    ),
    Key(
        "MODEL.TEXT_CACHE_DIR",
        "",
        'text embeddings on disk; "": $FROZENSEG_CACHE or ~/.cache',
        TEXT_OR_NONE,
    ),
    # pixel decoder (CONVS_DIM, NORM, IN_FEATURES and NAME are detectron2's keys)
    Key(
        "MODEL.SEM_SEG_HEAD.NUM_CLASSES",
        0,
        "classes of DATASETS.TRAIN; 0: as many as it has",
        COUNT_OR_NONE,
    ),
    Key("MODEL.SEM_SEG_HEAD.PIXEL_DECODER_NAME", "MSDeformAttnPixelDecoder", "pixel decoder", TEXT),
    Key("MODEL.SEM_SEG_HEAD.MASK_DIM", 256, "width of the per-pixel embedding", WIDTH),
    Key("MODEL.SEM_SEG_HEAD.TRANSFORMER_ENC_LAYERS", 6, "deformable encoder layers", LAYERS),
    Key(
        "MODEL.SEM_SEG_HEAD.DEFORMABLE_TRANSFORMER_ENCODER_IN_FEATURES",
        ["res3", "res4", "res5"],
        "backbone maps that the deformable encoder reads, high to low resolution",
        TEXT,
    ),
    Key(
        "MODEL.SEM_SEG_HEAD.DEFORMABLE_TRANSFORMER_ENCODER_N_HEADS", 8, "its attention heads", WIDTH
    ),
    Key(
        "MODEL.SEM_SEG_HEAD.DEFORMABLE_TRANSFORMER_ENCODER_N_POINTS",
        4,
        "its points per level",
        WIDTH,
    ),
    # transformer decoder
    Key(
        "MODEL.MASK_FORMER.TRANSFORMER_DECODER_NAME",
        "MultiScaleMaskedTransformerDecoder",
        "transformer decoder",
        TEXT,
    ),
    Key("MODEL.MASK_FORMER.NUM_OBJECT_QUERIES", 250, "queries, that is masks per image", WIDTH),
    Key("MODEL.MASK_FORMER.HIDDEN_DIM", 256, "width of the queries", WIDTH),
    Key("MODEL.MASK_FORMER.NHEADS", 8, "attention heads of the decoder", WIDTH),
    Key(
        "MODEL.MASK_FORMER.DIM_FEEDFORWARD",
        2048,
        "width of the decoder's feed-forward layers",
        WIDTH,
    ),
    Key(
        "MODEL.MASK_FORMER.DEC_LAYERS",
        10,
        "predictions: one before the first layer, one after each",
        LAYERS,
    ),
    Key(
        "MODEL.MASK_FORMER.SIZE_DIVISIBILITY",
        32,
        "images are padded to a multiple of this",
        whole(-1, 4096),
    ),
    Key(
        "MODEL.MASK_FORMER.SAM_FEATURE_FUSE_LAYER",
        0,
        "layers i with i mod 3 equal to it see CLIP features joined with SAM's; -1: none",
        whole(-1, 2),
    ),
    Key(
        "MODEL.MASK_FORMER.SAM_QUERY_FUSE_LAYER",
        2,
        "after layers i with i mod 3 equal to it the queries gain SAM's features; -1: none",
        whole(-1, 2),
    ),
    Key(
        "MODEL.MASK_FORMER.SAM_KEEP_POSITIONS",
        False,
        "keys of joined features have their position codes, as others do (False: as published)",
    ),
    # training losses
    Key("MODEL.MASK_FORMER.DEEP_SUPERVISION", True, "losses on every layer's prediction"),
    Key(
        "MODEL.MASK_FORMER.NO_OBJECT_WEIGHT",
        0.1,
        "weight of void in the classification loss",
        NOT_NEGATIVE,
    ),
    Key(
        "MODEL.MASK_FORMER.CLASS_WEIGHT",
        2.0,
        "weight of the classification loss and cost",
        NOT_NEGATIVE,
    ),
    Key(
        "MODEL.MASK_FORMER.MASK_WEIGHT",
        5.0,
        "weight of the mask cross-entropy loss and cost",
        NOT_NEGATIVE,
    ),
    Key("MODEL.MASK_FORMER.DICE_WEIGHT", 5.0, "weight of the dice loss and cost", NOT_NEGATIVE),
    Key(
        "MODEL.MASK_FORMER.TRAIN_NUM_POINTS",
        12544,
        "points per mask in the losses and costs",
        whole(1, 10**6),
    ),
    Key(
        "MODEL.MASK_FORMER.OVERSAMPLE_RATIO",
        3.0,
        "candidates per point of the mask losses",
        Range(1, 100),
    ),
    Key(
        "MODEL.MASK_FORMER.IMPORTANCE_SAMPLE_RATIO",
        0.75,
        "share of points at uncertain places",
        FRACTION,
    ),
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
        FRACTION,
    ),
    Key(
        "MODEL.MASK_FORMER.TEST.OVERLAP_THRESHOLD",
        0.8,
        "panoptic: share of its own mask that a segment must win",
        FRACTION,
    ),
    Key(
        "MODEL.MASK_FORMER.TEST.PANOPTIC_MAX_IOU",
        1.0,
        "panoptic (own): of two queries whose masks have a larger IoU the worse goes; 1: none",
        FRACTION,
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
        FRACTION,
    ),
    Key(
        "TEST.SAM_MASKS_DIR",
        "",
        'proposals of tools/export_sam_masks.py; "": the model makes them at every image (slow)',
        TEXT_OR_NONE,
    ),
    Key(
        "TEST.SAM_MASKS_AS_QUERIES",
        False,
        "proposals also enter panoptic and instance segmentation, as additional queries",
    ),
    Key(
        "TEST.SAM_QUERY_WEIGHT",
        0.4,
        "factor of the class probabilities of such a proposal",
        FRACTION,
    ),
    Key(
        "TEST.SAM_QUERY_MAX_IOU",
        0.5,
        "a proposal with a larger IoU with some query's mask is left out of these two tasks",
        FRACTION,
    ),
    *(
        Key(f"TEST.SAM_MASK_GENERATION.{name}", default, meaning, accepted)
        for name, default, meaning, accepted in (
            (
                "POINTS_PER_SIDE",
                32,
                "clicks of SAM's automatic masks, along each side of an image",
                whole(1, 1024),
            ),
            # SAM's own score is no probability: random weights give any number.
            (
                "PRED_IOU_THRESH",
                0.8,
                "masks that SAM itself scores lower are dropped",
                Range(-100, 1),
            ),
            (
                "STABILITY_SCORE_THRESH",
                0.7,
                "masks that change more with the threshold are dropped",
                FRACTION,
            ),
            ("STABILITY_SCORE_OFFSET", 1.0, "by how much that threshold is moved", Range(0, 100)),
            (
                "BOX_NMS_THRESH",
                0.7,
                "IoU of boxes above which the lower scored mask is dropped",
                Range(0, 1, without=(0,)),
            ),
            (
                "MIN_MASK_REGION_AREA",
                100,
                "smaller islands and holes are removed, in pixels",
                COUNT_OR_NONE,
            ),
            ("MAX_MASKS", 50, "the largest masks that are kept of an image", WIDTH),
        )
    ),
    Key("DATASETS.FILES", [], "YAML files of your own datasets (see datasets/README.md)", TEXT),
    Key(
        "DATASETS.WORDS",
        "own",
        "names of the classes: own (this project's tables), fcclip (the lists of the published "
        "scores; `frozenseg data words get fcclip`), or a file for the datasets evaluated",
        TEXT,
    ),
    # data and optimizer (sizes at test time, batch, schedule and clipping are detectron2's keys)
    Key("INPUT.FORMAT", "RGB", "images are RGB, as PIXEL_MEAN and PIXEL_STD of CLIP", ("RGB",)),
    Key("INPUT.RANDOM_FLIP", "horizontal", "flips in training", ("horizontal", "none")),
    Key(
        "INPUT.DATASET_MAPPER_NAME",
        "",
        'training mapper; "": the one for the annotations of DATASETS.TRAIN',
        TEXT_OR_NONE,
    ),
    Key("INPUT.IMAGE_SIZE", 1024, "side of the square training crop", PIXELS),
    Key("INPUT.MIN_SCALE", 0.1, "smallest factor of the random resize", SCALE),
    Key("INPUT.MAX_SCALE", 2.0, "largest factor of the random resize", SCALE),
    Key("INPUT.EPISODES.AUGMENT", True, "mapper episodes: random crops, colours and shapes"),
    Key(
        "INPUT.EPISODES.COLOR_JITTER",
        0.5,
        "mapper episodes: strength of the colour jitter",
        FRACTION,
    ),
    Key(
        "INPUT.EPISODES.ROTATION",
        20.0,
        "mapper episodes: largest rotation, in degrees",
        Range(0, 180),
    ),
    Key("SOLVER.OPTIMIZER", "ADAMW", "optimizer: ADAMW or SGD", ("ADAMW", "SGD")),
    Key(
        "SOLVER.EPOCHS",
        0.0,
        "length of the training in passes over DATASETS.TRAIN instead of SOLVER.MAX_ITER; 0: off",
        NOT_NEGATIVE,
    ),
    Key(
        "SOLVER.WARMUP_EPOCHS",
        0.0,
        "with SOLVER.EPOCHS: linear warm-up from 0, in passes",
        NOT_NEGATIVE,
    ),
    Key(
        "SOLVER.BASE_LR_END",
        0.0,
        "SOLVER.LR_SCHEDULER_NAME CosineGroups: last learning rate of the falling groups",
        NOT_NEGATIVE,
    ),
    Key(
        "SOLVER.WEIGHT_DECAY_END",
        -1.0,
        "SOLVER.LR_SCHEDULER_NAME CosineGroups: weight decay rises to it along a cosine; -1: stays",
        Range(-1, 10**6),
    ),
    Key(
        "SOLVER.CONSTANT_MODULES",
        [],
        "modules (dotted names) whose learning rate stays BASE_LR, without weight decay; "
        "SOLVER.LR_SCHEDULER_NAME CosineGroups",
        TEXT,
    ),
    Key("SOLVER.WEIGHT_DECAY_EMBED", 0.0, "weight decay of embedding modules", NOT_NEGATIVE),
    # training (batch, schedule, clipping, AMP and evaluation period are detectron2's keys)
    Key(
        "SOLVER.ACCUMULATION_STEPS",
        1,
        "parts that a process takes its images of a batch in, to save memory; IMS_PER_BATCH stays "
        "the whole batch",
        WIDTH,
    ),
    Key(
        "SOLVER.EMA_DECAY",
        0.0,
        "decay of a moving average of the trained weights, saved and evaluated; 0: none",
        Range(0, 1, without=(1,)),
    ),
    Key(
        "MODEL.INIT_FROM",
        "",
        "weights to start a training from that need not have SAM's branch and injectors (FC-CLIP's "
        "for FrozenSeg) nor the same number of classes",
        TEXT_OR_NONE,
    ),
    Key(
        "WANDB_PROJECT",
        "",
        'project of Weights & Biases that gets the metrics; "": none',
        TEXT_OR_NONE,
    ),
    # best weights, class weights
    Key(
        "TEST.BEST_METRIC",
        "",
        'the weights with its best value are saved as model_best.pth: "panoptic/all/PQ" of the '
        'first test set, "DATASET/panoptic/all/PQ", "validation_loss"; "": none',
        TEXT_OR_NONE,
    ),
    Key(
        "TEST.PATIENCE",
        0,
        "evaluations without a better value that end the training; 0: off",
        COUNT_OR_NONE,
    ),
    Key(
        "TEST.SAVE_PREDICTIONS",
        False,
        "evaluations keep their predictions below OUTPUT_DIR, in COCO's formats and as label maps",
    ),
    Key(
        "TEST.SAVE_PER_IMAGE",
        False,
        "evaluations keep what they counted of every image below OUTPUT_DIR, for intervals",
    ),
    Key(
        "TEST.DIAGNOSE",
        False,
        "evaluations also say where the model fails (docs/diagnosis.md), in at most twice the time",
    ),
    Key("TEST.VALIDATION_LOSS", False, "evaluations also compute the loss on test sets"),
    Key(
        "MODEL.MASK_FORMER.CLASS_WEIGHTS",
        [],
        "weights of classes in the classification loss: one number per class, or one JSON file "
        '{"class name": weight}; []: 1',
        WeightOrFile(),
    ),
)

# The keys of detectron2 0.6 that are read; all others of its own are accepted with a warning.
DETECTRON2_KEYS: tuple[Key, ...] = tuple(
    Key(name, None, meaning, accepted)
    for name, meaning, accepted in (
        ("DATALOADER.NUM_WORKERS", "processes that read images, of all GPUs", whole(0, 1024)),
        ("DATALOADER.FILTER_EMPTY_ANNOTATIONS", "leave out images without instances", ()),
        (
            "DATALOADER.REPEAT_THRESHOLD",
            "RepeatFactorTrainingSampler: classes in a smaller share of the images are rare",
            FRACTION,
        ),
        (
            "DATALOADER.SAMPLER_TRAIN",
            "in an epoch each image comes once, or those with rare classes more often",
            ("TrainingSampler", "RepeatFactorTrainingSampler"),
        ),
        ("DATASETS.TEST", "datasets that are evaluated", TEXT),
        ("DATASETS.TRAIN", "datasets that are trained on", TEXT),
        (
            "INPUT.MAX_SIZE_TEST",
            "limit of the longest side of a test image, in pixels",
            whole(SMALLEST, 65_536),
        ),
        (
            "INPUT.MIN_SIZE_TEST",
            "shortest side of a test image, in pixels; 0 keeps its size",
            whole(0, 65_536),
        ),
        ("MODEL.BACKBONE.NAME", "registered backbone", TEXT),
        ("MODEL.DEVICE", "cuda, cuda:1, cpu, ...", TEXT),
        ("MODEL.META_ARCHITECTURE", "registered model: FCCLIP, FrozenSeg, Fusioner, ...", TEXT),
        ("MODEL.PIXEL_MEAN", "is taken from red, green and blue, 0 to 255", Range(0, 255)),
        ("MODEL.PIXEL_STD", "red, green and blue are divided by it", Range(0.001, 1000)),
        ("MODEL.SEM_SEG_HEAD.CONVS_DIM", "width of the pixel decoder", WIDTH),
        ("MODEL.SEM_SEG_HEAD.IN_FEATURES", "the backbone's maps that the decoder reads", TEXT),
        ("MODEL.SEM_SEG_HEAD.NAME", "registered head", TEXT),
        (
            "MODEL.SEM_SEG_HEAD.NORM",
            'normalisations of the pixel decoder; "": none',
            ("", "BN", "SyncBN", "FrozenBN", "GN"),
        ),
        ("MODEL.WEIGHTS", 'file or name of the model\'s weights; "": none', TEXT_OR_NONE),
        ("OUTPUT_DIR", "folder of all that a run writes", TEXT),
        ("SEED", "of every random draw; -1: a new one at every run", whole(-1, 2**32 - 1)),
        ("SOLVER.AMP.ENABLED", "train in half precision", ()),
        ("SOLVER.BASE_LR", "learning rate", Range(0, 1000, without=(0,))),
        ("SOLVER.CHECKPOINT_PERIOD", "iterations from checkpoint to checkpoint", COUNT),
        (
            "SOLVER.CLIP_GRADIENTS.CLIP_TYPE",
            "a parameter's values or norm, or the norm of the whole gradient, are clipped",
            ("value", "norm", "full_model"),
        ),
        ("SOLVER.CLIP_GRADIENTS.CLIP_VALUE", "largest value or norm of a gradient", POSITIVE),
        ("SOLVER.CLIP_GRADIENTS.ENABLED", "clip gradients", ()),
        ("SOLVER.CLIP_GRADIENTS.NORM_TYPE", "p of the norm that is clipped", Range(1, 10**6)),
        (
            "SOLVER.GAMMA",
            "factor of the learning rate at each of STEPS",
            Range(0, 10, without=(0,)),
        ),
        ("SOLVER.IMS_PER_BATCH", "images of a batch, of all processes together", WIDTH),
        (
            "SOLVER.LR_SCHEDULER_NAME",
            "schedules of detectron2 (WarmupStepWithFixedGammaLR only of its main branch, "
            "WarmupPolyLR of its DeepLab project), and CosineGroups",
            (
                *("WarmupMultiStepLR", "WarmupCosineLR", "WarmupStepWithFixedGammaLR"),
                *("WarmupPolyLR", "CosineGroups"),
            ),
        ),
        ("SOLVER.MAX_ITER", "iterations of the training", COUNT),
        ("SOLVER.MOMENTUM", "of SGD", Range(0, 1, without=(1,))),
        ("SOLVER.NESTEROV", "Nesterov's momentum, of SGD", ()),
        (
            "SOLVER.REFERENCE_WORLD_SIZE",
            "processes that the keys are meant for; 0: any",
            COUNT_OR_NONE,
        ),
        ("SOLVER.STEPS", "iterations after which the learning rate falls by GAMMA", COUNT),
        ("SOLVER.WARMUP_FACTOR", "share of BASE_LR that the warm-up begins with", FRACTION),
        ("SOLVER.WARMUP_ITERS", "iterations of the warm-up", COUNT_OR_NONE),
        ("SOLVER.WARMUP_METHOD", "detectron2 has no other", ("linear", "constant")),
        ("SOLVER.WEIGHT_DECAY", "weight decay", NOT_NEGATIVE),
        ("SOLVER.WEIGHT_DECAY_BIAS", "weight decay of biases; None: that of weights", NOT_NEGATIVE),
        ("SOLVER.WEIGHT_DECAY_NORM", "weight decay of normalisations", NOT_NEGATIVE),
        ("TEST.DETECTIONS_PER_IMAGE", "instances that are kept of an image", COUNT),
        ("TEST.EVAL_PERIOD", "iterations between evaluations; 0: only at the end", COUNT_OR_NONE),
    )
)


RELATIONS: tuple[Relation, ...] = (
    *(
        Relation(
            (width, heads),
            lambda width, heads: width % heads == 0,
            "a multiple of the second is needed",
        )
        for width, heads in (
            ("MODEL.MASK_FORMER.HIDDEN_DIM", "MODEL.MASK_FORMER.NHEADS"),
            (
                "MODEL.SEM_SEG_HEAD.CONVS_DIM",
                "MODEL.SEM_SEG_HEAD.DEFORMABLE_TRANSFORMER_ENCODER_N_HEADS",
            ),
            ("MODEL.FUSIONER.WIDTH", "MODEL.FUSIONER.HEADS"),
            ("SOLVER.IMS_PER_BATCH", "SOLVER.ACCUMULATION_STEPS"),
        )
    ),
    Relation(
        ("SOLVER.IMS_PER_BATCH", "SOLVER.REFERENCE_WORLD_SIZE"),
        lambda images, processes: not processes or images % processes == 0,
        "a multiple of the second is needed",
    ),
    *(
        Relation((key,), lambda values: len(values) == 3, "three numbers are needed")
        for key in ("MODEL.PIXEL_MEAN", "MODEL.PIXEL_STD")
    ),
    Relation(
        ("SOLVER.STEPS",),
        lambda steps: all(one < next_one for one, next_one in pairwise(steps)),
        "each must be larger than the one before",
    ),
    Relation(
        ("INPUT.MIN_SCALE", "INPUT.MAX_SCALE"),
        lambda least, most: least <= most,
        "the second must not be smaller",
    ),
    Relation(
        ("MODEL.FUSIONER.STRIDE", "MODEL.FUSIONER.CROP"),
        lambda stride, crop: stride <= crop,
        "the windows would leave gaps; the stride must not be larger than the crop",
    ),
    Relation(
        ("SOLVER.WARMUP_EPOCHS", "SOLVER.EPOCHS"),
        lambda warmup, epochs: not epochs or warmup < epochs,
        "the warm-up must be shorter than the training",
    ),
    Relation(
        ("SOLVER.WEIGHT_DECAY_END",),
        lambda decay: decay == -1 or decay >= 0,
        "-1, or a number of 0 or more is needed",
    ),
    Relation(
        ("SOLVER.NESTEROV", "SOLVER.MOMENTUM"),
        lambda nesterov, momentum: momentum > 0 or not nesterov,
        "Nesterov's momentum needs one above 0",
    ),
    Relation(
        ("INPUT.MIN_SIZE_TEST",),
        lambda shortest: shortest == 0 or shortest >= SMALLEST,
        f"0, which keeps the size, or at least {SMALLEST} is needed",
    ),
    Relation(
        ("INPUT.MIN_SIZE_TEST", "INPUT.MAX_SIZE_TEST"),
        lambda shortest, longest: shortest <= longest,
        "the longest side alone decides on the size of test images",
        needed=False,
    ),
    *FAMILY_RELATIONS,
)
