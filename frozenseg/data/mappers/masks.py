"""From a record of a dataset to what the models take.

Legend: N segments, M proposals, H and W pixels.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.data import MetadataCatalog
from detectron2.data.transforms import TransformList
from detectron2.structures import Instances
from numpy.typing import NDArray

from frozenseg.data.mappers.episodes import EpisodeMapper
from frozenseg.data.mappers.geometry import (
    channels_first,
    draw_large_scale_jitter,
    pad_to,
)
from frozenseg.data.mappers.targets import (
    AnyTargets,
    InstanceTargets,
    PanopticTargets,
    SemanticTargets,
    TargetReader,
)
from frozenseg.data.proposals.reader import ProposalFolder
from frozenseg.data.reading import exif_advice, read_image
from frozenseg.resize import resize_to_edges
from frozenseg.vocab import Vocabulary

PAD_PIXEL = 128
# Entries of a record that training targets are made from.
ANNOTATION_KEYS = (
    *("pan_seg_file_name", "segments_info", "sem_seg_file_name", "label_ids", "annotations"),
    *("label_colors", "instance_file_name", "neg_category_ids", "not_exhaustive_category_ids"),
)
FLIP_PROBABILITIES = {"horizontal": 0.5, "none": 0.0}


class SegmentationMapper:
    """Reads an image; in training cuts out a jittered square with the targets of one task.

    The result has `image` (3, H, W) uint8 RGB, `height` and `width` (of the file) and the record's
    other entries; in training also `instances` (gt_classes (N,) int64, gt_masks (N, H, W) bool) of
    image_size x image_size, without the entries that name the annotation. Crowds are no targets;
    what the crop cuts away entirely is kept or not as `targets` says. With a folder of proposals
    test images also have `sam_masks` (M, height, width) bool, M >= 0; `true_masks` are like these.
    """

    @configurable
    def __init__(
        self,
        *,
        is_train: bool,
        targets: TargetReader | None = None,
        image_size: int = 1024,
        scales: tuple[float, float] = (0.1, 2.0),
        flip_probability: float = 0.5,
        test_size: tuple[int, int] = (800, 1333),
        proposals: ProposalFolder | None = None,
        true_masks: TargetReader | None = None,
    ) -> None:
        """
        Args:
            targets: what is learned of a record; by default the panoptic segments.
            image_size: edge of the training square.
            scales: range of the jitter, as a factor of image_size.
            test_size: shortest and longest edge of test images; 0 keeps their size.
            proposals: SAM's masks of all test images; training does not use them.
            true_masks: test images get the annotated ones too, for a model that is to name these.
        Raises: ValueError if the range of scales is empty or not positive.
        """
        if not 0 < scales[0] <= scales[1]:
            raise ValueError(
                f"INPUT.MIN_SCALE and INPUT.MAX_SCALE are {scales[0]} and {scales[1]}; "
                "0 < minimum <= maximum is needed"
            )
        self.is_train = is_train
        self.targets = targets or PanopticTargets()
        self.image_size = image_size
        self.scales = scales
        self.flip_probability = flip_probability
        self.test_size = test_size
        self.proposals, self.true_masks = proposals, true_masks

    @classmethod
    def from_config(cls, cfg: CfgNode, is_train: bool = True) -> dict[str, Any]:
        """Where the config ends: the INPUT section.

        Raises: ValueError for an INPUT.FORMAT or INPUT.RANDOM_FLIP that does not exist here.
        """
        _check_known("INPUT.FORMAT", cfg.INPUT.FORMAT, ("RGB",))
        _check_known("INPUT.RANDOM_FLIP", cfg.INPUT.RANDOM_FLIP, FLIP_PROBABILITIES)
        return {
            "is_train": is_train,
            "image_size": cfg.INPUT.IMAGE_SIZE,
            "scales": (cfg.INPUT.MIN_SCALE, cfg.INPUT.MAX_SCALE),
            "flip_probability": FLIP_PROBABILITIES[cfg.INPUT.RANDOM_FLIP],
            "test_size": (cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST),
        }

    def __call__(
        self, record: dict[str, Any], generator: np.random.Generator | None = None
    ) -> dict[str, Any]:
        """Maps one record (unchanged); `generator` makes the random draws of training."""
        record = copy.deepcopy(record)
        image = read_image(record["file_name"], record.get("exif", "turn"))
        size = image.shape[:2]
        expected = (record.get("height", size[0]), record.get("width", size[1]))
        if size != expected:
            order = exif_advice(record["file_name"], size, expected)
            raise ValueError(
                f"{record['file_name']}: is {size[1]}x{size[0]} but the annotation file says "
                f"{expected[1]}x{expected[0]} (width x height); "
                f"{order or 'get image and annotations again'}"
            )
        record["height"], record["width"] = size
        if self.is_train:
            return self._map_training(record, image, generator or np.random.default_rng())
        if self.proposals is not None:
            record["sam_masks"] = self.proposals.masks(record["file_name"], size)
        if self.true_masks is not None:
            side = max(size)
            _, masks = self.true_masks(record, size, TransformList([]), side)
            record["true_masks"] = torch.from_numpy(masks[:, : size[0], : size[1]])
        record["image"] = channels_first(resize_to_edges(image, *self.test_size))
        return record

    def _map_training(
        self, record: dict[str, Any], image: NDArray[np.uint8], generator: np.random.Generator
    ) -> dict[str, Any]:
        size = self.image_size
        transform = draw_large_scale_jitter(
            *image.shape[:2],
            size=size,
            scales=self.scales,
            flip_probability=self.flip_probability,
            generator=generator,
        )
        record["instances"] = self._instances(record, image.shape[:2], transform)
        record["image"] = channels_first(
            pad_to(transform.apply_image(image), size, size, PAD_PIXEL)
        )
        for key in ANNOTATION_KEYS:
            record.pop(key, None)
        return record

    def _instances(
        self, record: dict[str, Any], size: tuple[int, ...], transform: TransformList
    ) -> Instances:
        if not set(self.targets.needs) & record.keys():
            raise ValueError(
                f"{record['file_name']}: this dataset has no {' or '.join(self.targets.needs)}, "
                f"which {KEY} needs: take another mapper or dataset"
            )
        classes, masks = self.targets(record, size, transform, self.image_size)
        instances = Instances((self.image_size, self.image_size))
        instances.gt_classes = torch.from_numpy(classes)
        instances.gt_masks = torch.from_numpy(masks)
        return instances


def _check_known(key: str, value: str, known: Collection[str]) -> None:
    if value not in known:
        choices = " or ".join(map(repr, sorted(known)))
        raise ValueError(f"{key} is {value!r}, which is not supported: use {choices}")


KEY = "INPUT.DATASET_MAPPER_NAME"
EPISODES = "episodes"
MAPPERS: dict[str, Callable[[CfgNode], TargetReader]] = {
    "coco_panoptic_lsj": lambda cfg: PanopticTargets(),
    "semantic_lsj": lambda cfg: SemanticTargets(
        _ignore_label(cfg.DATASETS.TRAIN), _number_of_classes(cfg)
    ),
    "coco_instance_lsj": lambda cfg: InstanceTargets(),
}
# `DatasetSplit.kind` -> what it is in words, and the mappers that read it, the default first.
READ_BY: dict[str, tuple[str, tuple[str, ...]]] = {
    "panoptic": ("panoptic annotations", ("coco_panoptic_lsj", "semantic_lsj")),
    "instances": ("instance annotations", ("coco_instance_lsj",)),
    "lvis": ("instance annotations", ("coco_instance_lsj",)),
    "semantic": ("label maps", ("semantic_lsj",)),
    "episodes": ("episodes", (EPISODES,)),
    "instance maps": ("instance maps", ()),
}


def training_mapper(cfg: CfgNode) -> str:
    """INPUT.DATASET_MAPPER_NAME; where that is empty, the mapper that DATASETS.TRAIN needs.

    Raises: ValueError for an unknown name, for one that cannot read the annotations of a training
        set (it names the one that can), and for training sets that no mapper reads together.
    """
    given, common, have = cfg.INPUT.DATASET_MAPPER_NAME, [*MAPPERS, EPISODES], []
    if given:
        _check_known(KEY, given, common)
    for name in cfg.DATASETS.TRAIN:
        row = MetadataCatalog.get(name).get("dataset_split")
        if row is None:  # registered by hand: its records will tell
            continue
        what, possible = READ_BY[row.kind]
        have.append(f"{name} has {what}")
        if given and given not in possible:
            take = f"take {' or '.join(map(repr, possible))}" if possible else "no mapper reads it"
            raise ValueError(f"{KEY} is {given!r}, but DATASETS.TRAIN: {have[-1]}: {take}")
        common = [mapper for mapper in common if mapper in possible]
    if not common:
        raise ValueError(
            f"DATASETS.TRAIN: {' and '.join(have)}: no mapper ({KEY}) reads "
            f"{'them together' if len(have) > 1 else 'them'}; train on other datasets"
        )
    return str(given or common[0])


def build_mapper(
    cfg: CfgNode,
    is_train: bool,
    proposals: ProposalFolder | None = None,
    *,
    episodes: bool = False,
    true_masks_of: str = "",
) -> SegmentationMapper | EpisodeMapper:
    """The mapper of `training_mapper`; tests read images only.

    Args:
        episodes: the test set asks each image for classes, whatever the training does.
        true_masks_of: the test set whose annotated masks its images get.
    Raises: the errors of `training_mapper`; ValueError for training sets that ignore different
        labels.
    """
    name = training_mapper(cfg) if is_train else ""
    if episodes or name == EPISODES:
        return EpisodeMapper(cfg, is_train=is_train)
    targets = MAPPERS[name](cfg) if is_train else None
    truth = AnyTargets(_ignore_label([true_masks_of])) if true_masks_of else None
    return SegmentationMapper(
        cfg, is_train=is_train, targets=targets, proposals=proposals, true_masks=truth
    )


def _number_of_classes(cfg: CfgNode) -> int:
    """Those of the training sets; what a config says of them is checked by the model."""
    return len(Vocabulary.from_metadata(MetadataCatalog.get(cfg.DATASETS.TRAIN[0])))


def _ignore_label(names: Sequence[str]) -> int:
    labels = {MetadataCatalog.get(name).get("ignore_label", 255) for name in names}
    if len(labels) > 1:
        raise ValueError(
            f"DATASETS.TRAIN: the datasets ignore different labels ({sorted(labels)}); train on "
            "sets that share one"
        )
    return labels.pop() if labels else 255
