"""Where the config ends: keyword arguments of the mask-classification model."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import (
    BACKBONE_REGISTRY,
    SEM_SEG_HEADS_REGISTRY,
    build_backbone,
    build_sem_seg_head,
)
from numpy.typing import NDArray
from torch import Tensor

from frozenseg.encoders.clip.backbone import FrozenCLIP, config_section
from frozenseg.encoders.clip.weights import NO_WEIGHTS, no_weights
from frozenseg.encoders.open_vocabulary import shared_arguments
from frozenseg.encoders.sam.automatic_masks import MaskGeneration, SamMasks
from frozenseg.encoders.sam.model import FrozenSAM, build_sam
from frozenseg.errors import did_you_mean
from frozenseg.files import flatten, read_json
from frozenseg.mask_classification.adapter_masks import MixedMasks
from frozenseg.mask_classification.class_path import MASK_POOLING_REGISTRY, MaskPooling
from frozenseg.mask_classification.content_text import ContentTransfer
from frozenseg.mask_classification.criterion import SetCriterion
from frozenseg.mask_classification.decoder import TRANSFORMER_DECODER_REGISTRY
from frozenseg.mask_classification.family_training import AdapterTraining, StudentTraining
from frozenseg.mask_classification.mask_adapter import MaskAdapter
from frozenseg.mask_classification.matcher import HungarianMatcher
from frozenseg.mask_classification.sam_injection import injection_from
from frozenseg.structures import EnsembleSettings, TaskSettings
from frozenseg.vocab import Vocabulary

logger = logging.getLogger(__name__)

# Key with the name of a part -> where the parts are registered.
_REGISTRIES = {
    "MODEL.BACKBONE.NAME": BACKBONE_REGISTRY,
    "MODEL.SEM_SEG_HEAD.NAME": SEM_SEG_HEADS_REGISTRY,
    "MODEL.SEM_SEG_HEAD.PIXEL_DECODER_NAME": SEM_SEG_HEADS_REGISTRY,
    "MODEL.MASK_FORMER.TRANSFORMER_DECODER_NAME": TRANSFORMER_DECODER_REGISTRY,
    "MODEL.MASK_POOLING": MASK_POOLING_REGISTRY,
}
_MAY_BE_EMPTY = ("MODEL.MASK_POOLING",)


def _check_names(cfg: CfgNode) -> None:
    values = dict(flatten(cfg))
    for key, registry in _REGISTRIES.items():
        if key in _MAY_BE_EMPTY and not values[key]:
            continue
        if values[key] not in registry:
            near = did_you_mean(values[key], [name for name, _ in registry])
            raise ValueError(f"{key} is {values[key]!r}, which is not registered. {near}".strip())


def model_arguments(cfg: CfgNode) -> dict[str, Any]:
    """Builds the parts of the model that the config describes.

    Raises: ValueError for the name of a part that is not registered; the errors of the parts.
    """
    _check_names(cfg)
    clip = cfg.MODEL[config_section(cfg)]
    backbone = build_backbone(cfg)
    shapes = {**backbone.output_shape(), "text": ShapeSpec(channels=backbone.embed_dim)}
    sam, injects = build_sam(cfg) if needs_sam(cfg) else None, injects_sam(cfg)
    if sam is not None and injects:
        shapes["sam"] = ShapeSpec(channels=sam.out_channels, stride=sam.stride)
    shared = shared_arguments(cfg, backbone.text, clip.TEMPLATES)
    return {
        **shared,
        "sam": sam,
        "injects_sam": injects,
        "use_sam_masks": cfg.TEST.USE_SAM_MASKS,
        "mask_generator": _mask_generator(cfg, sam),
        "backbone": backbone,
        "sem_seg_head": None
        if cfg.MODEL.META_ARCHITECTURE == "MASK_Adapter"
        else build_sem_seg_head(cfg, shapes),
        # With a Mask-Adapter, it alone trains.
        "criterion": None
        if cfg.MODEL.MASK_ADAPTER.NAME
        else build_criterion(cfg, shared["train_vocabulary"]),
        "size_divisibility": cfg.MODEL.MASK_FORMER.SIZE_DIVISIBILITY,
        "task_settings": task_settings(cfg),
        "ensemble": ensemble_settings(cfg),
        "deep_supervision": cfg.MODEL.MASK_FORMER.DEEP_SUPERVISION,
        "mask_adapter": build_mask_adapter(cfg, backbone),
        "mask_threshold": cfg.MODEL.MASK_ADAPTER.MASK_THRESHOLD,
        "mask_pooling": build_mask_pooling(cfg, backbone),
        "cdt": build_content_transfer(cfg, backbone.embed_dim),
        "oracle_masks": cfg.TEST.ORACLE_MASKS,
        "cells": cfg.MODEL.CDT.EMBEDDING,
        "adapter_training": adapter_training(cfg) if cfg.MODEL.MASK_ADAPTER.NAME else None,
        "student_training": student_training(cfg) if cfg.MODEL.STUDENT.ENABLED else None,
    }


def build_mask_adapter(cfg: CfgNode, backbone: FrozenCLIP) -> MaskAdapter | None:
    """The Mask-Adapter of `MODEL.MASK_ADAPTER.*`; None where masks are pooled without one.

    Raises: ValueError for a CLIP whose masks are not pooled by averaging.
    """
    adapter = cfg.MODEL.MASK_ADAPTER
    if not adapter.NAME:
        return None
    if not backbone.pools_by_averaging:
        raise ValueError(
            f"MODEL.MASK_ADAPTER.NAME is {adapter.NAME}, which needs a ConvNeXt CLIP: set it to "
            f"'', or another MODEL.{config_section(cfg)}.CLIP_MODEL_NAME"
        )
    return MaskAdapter(
        backbone.embed_dim,
        mask_in_channels=adapter.MASK_IN_CHANNELS,
        num_channels=adapter.NUM_CHANNELS,
        num_output_maps=adapter.NUM_OUTPUT_MAPS,
        use_checkpoint=adapter.USE_CHECKPOINT,
    )


def build_mask_pooling(cfg: CfgNode, backbone: FrozenCLIP) -> MaskPooling | None:
    """The registered part of `MODEL.MASK_POOLING`; None where the key is empty."""
    name = cfg.MODEL.MASK_POOLING
    if not name:
        return None
    pooling: MaskPooling = MASK_POOLING_REGISTRY.get(name)(cfg, backbone)
    return pooling


def build_content_transfer(cfg: CfgNode, channels: int) -> ContentTransfer | None:
    """MAFT+'s transfer of `MODEL.CDT.*`; None: the text stays as it is."""
    cdt = cfg.MODEL.CDT
    return ContentTransfer(channels, num_heads=cdt.HEADS, form=cdt.FORM) if cdt.FORM else None


def adapter_training(cfg: CfgNode) -> AdapterTraining:
    """How a Mask-Adapter trains, from `MODEL.MASK_ADAPTER.*`."""
    adapter, on_content_text = cfg.MODEL.MASK_ADAPTER, bool(cfg.MODEL.CDT.FORM)
    return AdapterTraining(
        MixedMasks(
            num_ground_truth=adapter.NUM_GT_MASKS,
            num_predicted=adapter.NUM_PRED_MASKS,
            iou_threshold=adapter.IOU_THRESHOLD,
            pairing_threshold=0.5 if on_content_text else 0.4,  # as released
            mask_threshold=adapter.MASK_THRESHOLD,
        ),
        class_weight=cfg.MODEL.MASK_FORMER.CLASS_WEIGHT,
        cosine_weight=adapter.COS_WEIGHT,
        on_content_text=on_content_text,
        released=cfg.MODEL.RELEASED_LOSSES,
    )


def student_training(cfg: CfgNode) -> StudentTraining:
    """What CLIP's image tower learns from, from `MODEL.STUDENT.*`."""
    student = cfg.MODEL.STUDENT
    return StudentTraining(
        detached=student.DETACHED,
        class_weight=student.CLASS_WEIGHT,
        ranking_weight=student.RANKING_WEIGHT,
        compensation_weight=student.COMPENSATION_WEIGHT,
        gram_weight=student.GRAM_WEIGHT,
        released=cfg.MODEL.RELEASED_LOSSES,
    )


def needs_sam(cfg: CfgNode) -> bool:
    """Whether the model contains a SAM: for its features, or to make proposals itself."""
    return injects_sam(cfg) or generates_masks(cfg)


def generates_masks(cfg: CfgNode) -> bool:
    """Whether the mask ensemble is on without exported proposals."""
    return bool(cfg.TEST.USE_SAM_MASKS and not cfg.TEST.SAM_MASKS_DIR)


def injects_sam(cfg: CfgNode) -> bool:
    """Whether SAM's features enter the decoder: a matter of FrozenSeg alone."""
    layers = cfg.MODEL.MASK_FORMER
    injection = injection_from(layers.SAM_FEATURE_FUSE_LAYER, layers.SAM_QUERY_FUSE_LAYER)
    return cfg.MODEL.META_ARCHITECTURE == "FrozenSeg" and injection is not None


def _mask_generator(
    cfg: CfgNode, sam: FrozenSAM | None
) -> Callable[[NDArray[np.uint8]], Tensor] | None:
    """SAM's automatic masks with the settings of `TEST.SAM_MASK_GENERATION.*`."""
    if sam is None or not generates_masks(cfg):
        return None
    settings = {key.lower(): value for key, value in cfg.TEST.SAM_MASK_GENERATION.items()}
    return SamMasks(sam, MaskGeneration(**settings)).masks


def build_criterion(cfg: CfgNode, vocabulary: Vocabulary) -> SetCriterion:
    """Matcher and losses of `MODEL.MASK_FORMER.*`, for the classes of training."""
    settings = cfg.MODEL.MASK_FORMER
    matcher = HungarianMatcher(
        class_weight=settings.CLASS_WEIGHT,
        mask_weight=settings.MASK_WEIGHT,
        dice_weight=settings.DICE_WEIGHT,
        num_points=settings.TRAIN_NUM_POINTS,
    )
    return SetCriterion(
        matcher,
        num_classes=number_of_classes(cfg, vocabulary),
        num_queries=settings.NUM_OBJECT_QUERIES,
        no_object_weight=settings.NO_OBJECT_WEIGHT,
        loss_weights={
            "loss_ce": settings.CLASS_WEIGHT,
            "loss_mask": settings.MASK_WEIGHT,
            "loss_dice": settings.DICE_WEIGHT,
        },
        num_points=settings.TRAIN_NUM_POINTS,
        oversample_ratio=settings.OVERSAMPLE_RATIO,
        importance_ratio=settings.IMPORTANCE_SAMPLE_RATIO,
        class_weights=class_weights(settings.CLASS_WEIGHTS, vocabulary),
    )


def number_of_classes(cfg: CfgNode, vocabulary: Vocabulary) -> int:
    """MODEL.SEM_SEG_HEAD.NUM_CLASSES; where that is 0, the number of training classes.

    A number that was given is not changed here: the model refuses a wrong one.
    """
    given = int(cfg.MODEL.SEM_SEG_HEAD.NUM_CLASSES)
    source = "the config" if given else f"the classes of {cfg.DATASETS.TRAIN[0]} (DATASETS.TRAIN)"
    number = given or len(vocabulary)
    logger.info("MODEL.SEM_SEG_HEAD.NUM_CLASSES is %d, from %s", number, source)
    return number


def class_weights(given: Sequence[Any], vocabulary: Vocabulary) -> list[float] | None:
    """The weights (C,) that MODEL.MASK_FORMER.CLASS_WEIGHTS gives the classes; None without any.

    Args: given: a number for every class, or the name of one JSON file {class name: weight}, in
        which classes may be left out: they weigh 1.
    Raises: FileNotFoundError; ValueError for another number of weights, a class that is not there,
        and weights that are not positive numbers.
    """
    key = "MODEL.MASK_FORMER.CLASS_WEIGHTS"
    if not given:
        return None
    names, source = list(vocabulary.names), key
    of_name: Any
    if len(given) == 1 and isinstance(given[0], str):
        source = f"{key}: {given[0]}"
        of_name = read_json(Path(given[0]), f"check {key}")
    elif len(given) == len(names):
        of_name = dict(zip(names, given, strict=True))
    else:
        raise ValueError(f"{key} has {len(given)} weights, but training has {len(names)} classes")
    if not isinstance(of_name, dict):
        raise ValueError(
            f'{source}: expected {{"class name": weight}}, got {type(of_name).__name__}'
        )
    for name, weight in of_name.items():
        if name not in names:
            hint = did_you_mean(name, names)
            raise ValueError(f"{source}: {name!r} is no class of the training; {hint}".rstrip("; "))
        if type(weight) not in (int, float) or not 0 < weight < float("inf"):
            raise ValueError(
                f"{source}: the weight of {name!r} is {weight!r}, not a positive number"
            )
    return [float(of_name.get(name, 1.0)) for name in names]


def task_settings(cfg: CfgNode) -> TaskSettings:
    """What is computed at test time, from `MODEL.MASK_FORMER.TEST.*` and `TEST.*`."""
    test = cfg.MODEL.MASK_FORMER.TEST
    semantic_alone = not (test.PANOPTIC_ON or test.INSTANCE_ON or test.RECALL_ON)
    return TaskSettings(
        semantic=test.SEMANTIC_ON,
        panoptic=test.PANOPTIC_ON,
        instance=test.INSTANCE_ON,
        object_mask_threshold=test.OBJECT_MASK_THRESHOLD,
        overlap_threshold=test.OVERLAP_THRESHOLD,
        panoptic_max_iou=test.PANOPTIC_MAX_IOU,
        detections_per_image=cfg.TEST.DETECTIONS_PER_IMAGE,
        query_masks=test.RECALL_ON,
        semantic_at_padded_size=semantic_alone and not test.SEM_SEG_POSTPROCESSING_BEFORE_INFERENCE,
        sam_alpha=cfg.TEST.SAM_MASK_PRED_ALPHA,
        proposals_as_queries=cfg.TEST.SAM_MASKS_AS_QUERIES,
        proposal_weight=cfg.TEST.SAM_QUERY_WEIGHT,
        proposal_max_iou=cfg.TEST.SAM_QUERY_MAX_IOU,
    )


def ensemble_settings(cfg: CfgNode) -> EnsembleSettings:
    """The class ensemble, from the section of the frozen CLIP."""
    clip = cfg.MODEL[config_section(cfg)]
    return EnsembleSettings(
        enabled=clip.CLASS_ENSEMBLE,
        alpha=clip.GEOMETRIC_ENSEMBLE_ALPHA,
        beta=clip.GEOMETRIC_ENSEMBLE_BETA,
        on_valid_mask=clip.ENSEMBLE_ON_VALID_MASK,
        void_trust=clip.VOID_TRUST,
        void_trust_everywhere=clip.VOID_TRUST_EVERYWHERE,
    )


# What a model outputs -> the key below MODEL.MASK_FORMER.TEST that switches it on.
TASK_KEYS = {
    "panoptic": "PANOPTIC_ON",
    "instance": "INSTANCE_ON",
    "semantic": "SEMANTIC_ON",
    "regions": "RECALL_ON",
}


def output_tasks(cfg: CfgNode) -> list[str]:
    """See `frozenseg.build.Family`."""
    test = cfg.MODEL.MASK_FORMER.TEST
    return [task for task, key in TASK_KEYS.items() if test[key]]


def encoders_without_weights(cfg: CfgNode) -> dict[str, str]:
    """See `frozenseg.build.Family`."""
    found, section = {}, config_section(cfg)
    if cfg.MODEL.STUDENT.ENABLED or cfg.MODEL.CDT.FORM:
        found["backbone."] = (
            "its CLIP was trained too: the public one does not fit it. Take the whole file"
        )
    elif cfg.MODEL[section].CLIP_PRETRAINED_WEIGHTS in NO_WEIGHTS:
        found["backbone."] = no_weights(f"MODEL.{section}.CLIP_PRETRAINED_WEIGHTS")
    if needs_sam(cfg) and not cfg.MODEL.SAM_PRETRAINED_WEIGHTS:
        found["sam."] = no_weights("MODEL.SAM_PRETRAINED_WEIGHTS")
    return found


def protocol(cfg: CfgNode) -> dict[str, Any]:
    """See `frozenseg.build.Family`."""
    clip, settings, decoder = (
        cfg.MODEL[config_section(cfg)],
        task_settings(cfg),
        cfg.MODEL.MASK_FORMER,
    )
    injection = {
        "sam": Path(cfg.MODEL.SAM_NAME).name,
        "precision": cfg.MODEL.SAM_PRECISION,
        "branch": cfg.MODEL.SAM_BRANCH,
        "feature_layer": decoder.SAM_FEATURE_FUSE_LAYER,
        "query_layer": decoder.SAM_QUERY_FUSE_LAYER,
        "keep_positions": decoder.SAM_KEEP_POSITIONS,
    }
    return {
        "model": {
            "architecture": cfg.MODEL.META_ARCHITECTURE,
            "clip": Path(clip.CLIP_MODEL_NAME).name,
        },
        "templates": clip.TEMPLATES,
        "oracle_masks": cfg.TEST.ORACLE_MASKS,
        "mask_adapter": {"threshold": cfg.MODEL.MASK_ADAPTER.MASK_THRESHOLD}
        if cfg.MODEL.MASK_ADAPTER.NAME
        else None,
        "mask_pooling": cfg.MODEL.MASK_POOLING or None,
        "content_text": {"form": cfg.MODEL.CDT.FORM, "embedding": cfg.MODEL.CDT.EMBEDDING}
        if cfg.MODEL.CDT.FORM
        else None,
        "ensemble": asdict(ensemble_settings(cfg)),
        "sam_injection": injection if injects_sam(cfg) else None,
        "thresholds": {
            "object_mask": settings.object_mask_threshold,
            "overlap": settings.overlap_threshold,
            "max_iou": settings.panoptic_max_iou,
            "detections_per_image": settings.detections_per_image,
        },
    }
