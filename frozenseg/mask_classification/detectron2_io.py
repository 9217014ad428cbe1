"""From detectron2's samples to tensors, from results to detectron2's types.

Legend: N objects of an image, M proposals, H and W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from detectron2.structures import BitMasks, ImageList, Instances
from torch import Tensor

from frozenseg.inference.instance import InstanceSegmentation
from frozenseg.inference.postprocess import TaskOutputs
from frozenseg.mask_classification.matcher import Target
from frozenseg.resize import nearest_resize
from frozenseg.structures import ImageGeometry

Samples = Sequence[Mapping[str, Any]]


def normalised_images(samples: Samples, mean: Tensor, std: Tensor, divisibility: int) -> ImageList:
    """Images (value - mean) / std, padded bottom and right with zeros to a multiple of pixels."""
    # A GPU fetches pinned images while it computes; from a GPU to the CPU nobody would wait.
    images = [
        (sample["image"].to(mean.device, non_blocking=mean.is_cuda) - mean) / std
        for sample in samples
    ]
    return ImageList.from_tensors(images, divisibility)


def training_targets(samples: Samples, images: ImageList, device: torch.device) -> list[Target]:
    """Ground truth padded bottom and right like the images.

    Raises: ValueError for a sample without `instances`.
    """
    height, width = images.tensor.shape[-2:]
    targets = []
    for sample in samples:
        if "instances" not in sample:
            raise ValueError(
                "a training sample has no `instances`; INPUT.DATASET_MAPPER_NAME must name a "
                "mapper that makes them (coco_panoptic_lsj)"
            )
        instances = sample["instances"].to(device)
        masks = instances.gt_masks
        padding = (0, width - masks.shape[-1], 0, height - masks.shape[-2])
        targets.append(Target(instances.gt_classes, F.pad(masks, padding)))
    return targets


def geometry_of(sample: Mapping[str, Any], images: ImageList, index: int) -> ImageGeometry:
    """Sizes of one image: padded, its own, and that of the wanted output."""
    height, width = images.image_sizes[index]
    padded_height, padded_width = images.tensor.shape[-2:]
    return ImageGeometry(
        padded=(padded_height, padded_width),
        image=(int(height), int(width)),
        output=(int(sample.get("height", height)), int(sample.get("width", width))),
    )


def as_mask_logits(masks_MHW: Tensor, geometry: ImageGeometry) -> Tensor:
    """Masks of the image, of any size, as logits of 1 and -1 on the padded input (M, H, W)."""
    masks = nearest_resize(masks_MHW, geometry.image).float()
    (height, width), (padded_height, padded_width) = geometry.image, geometry.padded
    padded = F.pad(masks, (0, padded_width - width, 0, padded_height - height))
    return 2 * padded - 1


def as_detectron2(outputs: TaskOutputs) -> dict[str, Any]:
    """Results under detectron2's keys; label maps and masks stay tensors."""
    labels = outputs.semantic_labels
    result = {
        "sem_seg": outputs.sem_seg,
        "semantic_labels": None if labels is None else labels.labels,
        "panoptic_seg": outputs.panoptic,
    }
    for name in ("instances", "query_masks", "sam_proposals"):
        found = getattr(outputs, name)
        result[name] = None if found is None else as_instances(found)
    return {name: value for name, value in result.items() if value is not None}


def as_instances(found: InstanceSegmentation) -> Instances:
    """Masks, boxes, scores and classes as detectron2 names them."""
    instances = Instances(tuple(found.masks.shape[-2:]))
    instances.pred_masks = found.masks
    instances.pred_boxes = BitMasks(found.masks).get_bounding_boxes()
    instances.scores = found.scores
    instances.pred_classes = found.classes
    return instances
