"""From a record of a data set to what the models take.

Legend: N segments, M proposals, H and W pixels.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Collection
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.structures import Instances
from torch import Tensor

from frozenseg.data.augment import draw_large_scale_jitter, pad_to
from frozenseg.data.coco_panoptic import (
    check_same_size,
    ids_of_rgb,
    read_image,
    read_panoptic_png,
)
from frozenseg.data.proposals import ProposalFolder
from frozenseg.data.resize import resize_to_edges

PAD_PIXEL = 128
FLIP_PROBABILITIES = {"horizontal": 0.5, "none": 0.0}


class PanopticMapper:
    """Reads image and panoptic map; in training cuts out a jittered square with its targets.

    The result has `image` (3, H, W) uint8 RGB, `height` and `width` (of the file) and the record's
    other entries; in training also `instances` (gt_classes (N,) int64, gt_masks (N, H, W) bool) of
    image_size x image_size. Crowd segments are no targets; segments that the crop cuts away
    entirely stay as empty masks, as in the released training (spec, section 5). With a folder of
    proposals test images also have `sam_masks` (M, height, width) bool, M >= 0.
    """

    @configurable
    def __init__(
        self,
        *,
        is_train: bool,
        image_size: int = 1024,
        scales: tuple[float, float] = (0.1, 2.0),
        flip_probability: float = 0.5,
        test_size: tuple[int, int] = (800, 1333),
        proposals: ProposalFolder | None = None,
    ) -> None:
        """
        Args:
            image_size: edge of the training square.
            scales: range of the jitter, as a factor of image_size.
            test_size: shortest and longest edge of test images; 0 keeps their size.
            proposals: SAM's masks of all test images; training does not use them.
        Raises: ValueError if the range of scales is empty or not positive.
        """
        if not 0 < scales[0] <= scales[1]:
            raise ValueError(
                f"INPUT.MIN_SCALE and INPUT.MAX_SCALE are {scales[0]} and {scales[1]}; "
                "0 < minimum <= maximum is needed"
            )
        self.is_train = is_train
        self.image_size = image_size
        self.scales = scales
        self.flip_probability = flip_probability
        self.test_size = test_size
        self.proposals = proposals

    @classmethod
    def from_config(
        cls, cfg: CfgNode, is_train: bool = True, test_size: tuple[int, int] | None = None
    ) -> dict[str, Any]:
        """The border: the INPUT section; `test_size` of a benchmark goes before the config's.

        Raises: ValueError for an INPUT.FORMAT or INPUT.RANDOM_FLIP that does not exist here.
        """
        _check_known("INPUT.FORMAT", cfg.INPUT.FORMAT, ("RGB",))
        _check_known("INPUT.RANDOM_FLIP", cfg.INPUT.RANDOM_FLIP, FLIP_PROBABILITIES)
        return {
            "is_train": is_train,
            "image_size": cfg.INPUT.IMAGE_SIZE,
            "scales": (cfg.INPUT.MIN_SCALE, cfg.INPUT.MAX_SCALE),
            "flip_probability": FLIP_PROBABILITIES[cfg.INPUT.RANDOM_FLIP],
            "test_size": test_size or (cfg.INPUT.MIN_SIZE_TEST, cfg.INPUT.MAX_SIZE_TEST),
        }

    def __call__(
        self, record: dict[str, Any], generator: np.random.Generator | None = None
    ) -> dict[str, Any]:
        """Maps one record (unchanged); `generator` makes the random draws of training."""
        record = copy.deepcopy(record)
        image = read_image(record["file_name"])
        size = image.shape[:2]
        expected = (record.get("height", size[0]), record.get("width", size[1]))
        if size != expected:
            raise ValueError(
                f"{record['file_name']}: is {size[1]}x{size[0]} but the annotation file says "
                f"{expected[1]}x{expected[0]} (width x height); get image and annotations again"
            )
        record["height"], record["width"] = size
        if self.is_train:
            return self._map_training(record, image, generator or np.random.default_rng())
        if self.proposals is not None:
            record["sam_masks"] = self.proposals.masks(record["file_name"], size)
        record["image"] = _to_tensor(resize_to_edges(image, *self.test_size))
        return record

    def _map_training(
        self, record: dict[str, Any], image: np.ndarray, generator: np.random.Generator
    ) -> dict[str, Any]:
        size = self.image_size
        transform = draw_large_scale_jitter(
            *image.shape[:2],
            size=size,
            scales=self.scales,
            flip_probability=self.flip_probability,
            generator=generator,
        )
        map_file = record.pop("pan_seg_file_name")
        rgb = read_panoptic_png(map_file)
        check_same_size(map_file, rgb.shape[:2], record["file_name"], image.shape[:2])
        # Nearest resizing of the uint8 map, then ids: the same pixels as detectron2's own mappers.
        ids = ids_of_rgb(transform.apply_segmentation(rgb))
        ids = pad_to(ids, size, size, 0)
        record["image"] = _to_tensor(pad_to(transform.apply_image(image), size, size, PAD_PIXEL))
        record["instances"] = _instances(ids, record.pop("segments_info"))
        record.pop("sem_seg_file_name", None)
        return record


def _check_known(key: str, value: str, known: Collection[str]) -> None:
    if value not in known:
        choices = " or ".join(map(repr, sorted(known)))
        raise ValueError(f"{key} is {value!r}, which is not supported: use {choices}")


def _instances(ids: np.ndarray, segments: list[dict[str, Any]]) -> Instances:
    segments = [segment for segment in segments if not segment["iscrowd"]]
    masks = np.zeros((len(segments), *ids.shape), dtype=bool)
    for mask, segment in zip(masks, segments, strict=True):
        np.equal(ids, segment["id"], out=mask)
    instances = Instances(ids.shape)
    instances.gt_classes = torch.tensor([s["category_id"] for s in segments], dtype=torch.int64)
    instances.gt_masks = torch.from_numpy(masks)
    return instances


def _to_tensor(image: np.ndarray) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))


MAPPERS: dict[str, Callable[..., PanopticMapper]] = {
    "coco_panoptic_lsj": PanopticMapper,
}


def build_mapper(
    cfg: CfgNode,
    is_train: bool,
    test_size: tuple[int, int] | None = None,
    proposals: ProposalFolder | None = None,
) -> PanopticMapper:
    """The mapper that INPUT.DATASET_MAPPER_NAME names. Raises: ValueError for an unknown name."""
    name = cfg.INPUT.DATASET_MAPPER_NAME
    _check_known("INPUT.DATASET_MAPPER_NAME", name, MAPPERS)
    return MAPPERS[name](cfg, is_train=is_train, test_size=test_size, proposals=proposals)
