"""The keys of FC-CLIP's descendants: Mask-Adapter, MAFT+ and OVRCOAT; a part of the table of keys.

Every model here can have their parts: see "The family" in docs/family.md.
"""

from __future__ import annotations

from frozenseg.config.ranges import (
    FRACTION,
    NOT_NEGATIVE,
    POSITIVE,
    TEXT_OR_NONE,
    WIDTH,
    Key,
    Relation,
    whole,
)

ADAPTER = "MASKAdapterHead"


def void_trust_keys(section: str) -> tuple[Key, ...]:
    """COAT's keys in the section of a frozen CLIP."""
    return (
        Key(
            f"{section}.VOID_TRUST",
            0.0,
            "COAT: how much a sure CLIP lowers the probability of void; panoptic task alone, "
            "since it costs mIoU and AP",
            FRACTION,
        ),
        Key(
            f"{section}.VOID_TRUST_EVERYWHERE",
            False,
            "COAT in all tasks, as in the released OVRCOAT",
        ),
    )


FAMILY_KEYS = (
    Key(
        "MODEL.MASK_ADAPTER.NAME",
        "",
        f'{ADAPTER}: CLIP pools masks by a Mask-Adapter; "": by threshold',
        ("", ADAPTER),
    ),
    Key(
        "MODEL.MASK_POOLING",
        "",
        "a pooling of your own by its registered name (docs/extending.md); "
        '"": MODEL.MASK_ADAPTER.NAME decides',
        TEXT_OR_NONE,
    ),
    Key("MODEL.MASK_ADAPTER.MASK_IN_CHANNELS", 16, "width of its mask branch", WIDTH),
    Key("MODEL.MASK_ADAPTER.NUM_CHANNELS", 768, "width of its blocks", WIDTH),
    Key("MODEL.MASK_ADAPTER.NUM_OUTPUT_MAPS", 16, "activation maps of a mask", whole(1, 256)),
    Key(
        "MODEL.MASK_ADAPTER.USE_CHECKPOINT",
        False,
        "compute its blocks twice in training instead of keeping what lies between them",
    ),
    Key(
        "MODEL.MASK_ADAPTER.MASK_THRESHOLD",
        0.5,
        "a pixel belongs to a predicted mask where its probability is above",
        FRACTION,
    ),
    Key(
        "MODEL.MASK_ADAPTER.TRAIN_MAFT",
        False,
        "META_ARCHITECTURE MASK_Adapter: warm-up on MAFT+ instead of FC-CLIP (see MODEL.CDT)",
    ),
    Key(
        "MODEL.MASK_ADAPTER.NUM_GT_MASKS", 16, "its training: true masks of an image", whole(1, 256)
    ),
    Key(
        "MODEL.MASK_ADAPTER.NUM_PRED_MASKS",
        8,
        "its training: predicted masks of an image, each with the true mask it was matched to",
        whole(1, 256),
    ),
    Key(
        "MODEL.MASK_ADAPTER.IOU_THRESHOLD",
        0.7,
        "its training: a predicted mask is matched to a true one if their IoU is above",
        FRACTION,
    ),
    Key(
        "MODEL.MASK_ADAPTER.COS_WEIGHT",
        5.0,
        "its training: weight of the cosine loss between both masks of a pair",
        NOT_NEGATIVE,
    ),
    Key(
        "MODEL.CDT.FORM",
        "",
        'content-dependent text of MAFT+: semantic or panoptic (where the norm is); "": plain text',
        ("", "semantic", "panoptic"),
    ),
    Key("MODEL.CDT.HEADS", 8, "attention heads of the content-dependent text", WIDTH),
    Key(
        "MODEL.CDT.EMBEDDING",
        "per_position",
        "what it and the adapter read of CLIP's map: per_position (sound, for new training); "
        "released (cells mixed as in memory: the weights of MAFT+ were trained so)",
        ("per_position", "released"),
    ),
    Key(
        "MODEL.STUDENT.ENABLED",
        False,
        "CLIP's image tower trains too, at SOLVER.BACKBONE_MULTIPLIER (MAFT+, OVRCOAT)",
    ),
    Key(
        "MODEL.STUDENT.LOGIT_SCALE",
        False,
        "so does the factor of CLIP's cosines, with weight decay, as in the released OVRCOAT",
    ),
    Key("MODEL.STUDENT.DROP_PATH", 0.0, "rate of its last block's stochastic depth", FRACTION),
    Key(
        "MODEL.STUDENT.DETACHED",
        False,
        "the decoder's losses do not reach the image tower (MAFT+)",
    ),
    *(
        Key(f"MODEL.STUDENT.{name}", 0.0, f"weight of {meaning}", NOT_NEGATIVE)
        for name, meaning in (
            ("CLASS_WEIGHT", "CLIP's cross entropy on matched queries (OVRCOAT, loss_oov_ce)"),
            ("RANKING_WEIGHT", "the mask-aware loss (MAFT+, ranking_loss)"),
            ("COMPENSATION_WEIGHT", "the distance of pooled maps to the frozen CLIP's (rc_loss)"),
            ("GRAM_WEIGHT", "the distance of channel products to the frozen CLIP's (dist_loss)"),
        )
    ),
    Key(
        "MODEL.RELEASED_LOSSES",
        False,
        "losses of adapters and students as in the released code, where that looks unintended",
    ),
    Key(
        "TEST.ORACLE_MASKS",
        False,
        "CLIP names the annotated masks instead of the decoder's: what better masks would bring",
    ),
    Key(
        "SOLVER.POLY_LR_POWER",
        0.9,
        "SOLVER.LR_SCHEDULER_NAME WarmupPolyLR: power of the part of the training to come",
        POSITIVE,
    ),
    Key(
        "SOLVER.BACKBONE_MULTIPLIER",
        0.1,
        "learning rate of CLIP's image tower over SOLVER.BASE_LR, where MODEL.STUDENT trains it",
        FRACTION,
    ),
)

FAMILY_RELATIONS = (
    Relation(
        ("MODEL.META_ARCHITECTURE", "MODEL.MASK_ADAPTER.NAME", "TEST.ORACLE_MASKS"),
        lambda name, adapter, oracle: name != "MASK_Adapter" or bool(adapter and oracle),
        f"the first has no decoder: it needs {ADAPTER} and True",
    ),
    Relation(
        ("MODEL.META_ARCHITECTURE", "MODEL.CDT.FORM"),
        lambda name, form: name != "MAFT_Plus" or form,
        "it needs the form that its weights were trained in: semantic or panoptic",
    ),
    Relation(
        ("MODEL.MASK_ADAPTER.NAME", "MODEL.STUDENT.ENABLED"),
        lambda adapter, student: not (adapter and student),
        "an adapter trains on a CLIP that does not",
    ),
    Relation(
        ("MODEL.MASK_POOLING", "MODEL.MASK_ADAPTER.NAME"),
        lambda pooling, adapter: not (pooling and adapter),
        "each says how CLIP looks at masks: leave one empty",
    ),
    Relation(
        ("MODEL.MASK_ADAPTER.MASK_IN_CHANNELS",),
        lambda channels: channels % 4 == 0,
        "a multiple of 4 is needed",
    ),
    *(
        Relation(
            (f"MODEL.{section}.VOID_TRUST", f"MODEL.{section}.CLASS_ENSEMBLE"),
            lambda trust, ensemble: ensemble or not trust,
            "COAT needs CLIP's class scores, which the second key switches off",
        )
        for section in ("FC_CLIP", "FROZEN_SEG")
    ),
)
