"""What is left out of the training records, and said of them, before the first iteration."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from detectron2.data.samplers import RepeatFactorTrainingSampler
from pycocotools import mask as coco_mask

from frozenseg.data.coco_instances import run_length

logger = logging.getLogger(__name__)

Record = Mapping[str, Any]
SHOWN = 3
# A polygon that covers more square pixels than this, all in its image, has pixels.
_SURELY_FILLED = 4.0


def with_annotations(records: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The records without those of instance annotations that have none, or only crowds.

    Source: detectron2's DATALOADER.FILTER_EMPTY_ANNOTATIONS.
    """
    kept = [r for r in records if "annotations" not in r or _objects(r)]
    if len(kept) < len(records):
        logger.info(
            "%d of %d training images have no annotation and are left out "
            "(DATALOADER.FILTER_EMPTY_ANNOTATIONS)",
            *(len(records) - len(kept), len(records)),
        )
    return kept


def warn_of_empty_masks(records: Sequence[Record]) -> None:
    """One warning with the number of annotated objects that have no pixel, and the first ones."""
    found = [
        f"{record['file_name']}: annotation {one.get('id', '?')}"
        for record in records
        for one in _objects(record)
        if _is_empty(one["segmentation"], record["height"], record["width"])
    ]
    if found:
        logger.warning(
            "%d annotated objects have no pixel in their image and are not learned (%s%s): "
            "correct or delete these annotations",
            *(len(found), "; ".join(found[:SHOWN]), "; ..." if len(found) > SHOWN else ""),
        )


def warn_of_many_targets(
    records: Sequence[Record], most_targets: Callable[[Any], int], queries: int
) -> None:
    """One warning if images have more targets than the decoder has queries.

    Args: most_targets: the most targets of a record.
    """
    counts = [most_targets(record) for record in records]
    over = sum(count > queries for count in counts)
    if over:
        logger.warning(
            "%d of %d training images have more targets than MODEL.MASK_FORMER.NUM_OBJECT_QUERIES "
            "(%d), up to %d: of a crop with more, the rest is not learned; raise the number of "
            "queries or lower INPUT.IMAGE_SIZE and INPUT.MAX_SCALE",
            *(over, len(counts), queries, max(counts)),
        )


def repeat_factors(records: Sequence[Record], threshold: float) -> list[float]:
    """How often every record is repeated, on average, in an epoch: 1 or more.

    sqrt(threshold / share of images with the class) of the rarest class in the image.
    Raises: ValueError without a threshold, or for records that name no classes.
    Source: LVIS, arXiv:1908.03195, appendix B.2 (detectron2's RepeatFactorTrainingSampler).
    """
    sampler = RepeatFactorTrainingSampler
    if threshold <= 0:
        raise ValueError(
            f"DATALOADER.SAMPLER_TRAIN is {sampler.__name__!r}, but DATALOADER.REPEAT_THRESHOLD is "
            f"{threshold}, which repeats nothing: set it (0.001 for LVIS)"
        )
    annotated = [r.get("annotations", r.get("segments_info")) for r in records]
    if None in annotated:
        where = records[annotated.index(None)]["file_name"]
        raise ValueError(
            f"{where}: DATALOADER.SAMPLER_TRAIN {sampler.__name__!r} needs instance or panoptic "
            "annotations, and this image has none: take 'TrainingSampler'"
        )
    dicts = [{"annotations": each} for each in annotated]
    factors: torch.Tensor = sampler.repeat_factors_from_category_frequency(dicts, threshold)
    logger.info(
        "%d of %d training images are repeated, up to %.1f times",
        *(int((factors > 1).sum()), len(factors), float(factors.max())),
    )
    return factors.tolist()


def _objects(record: Record) -> list[Any]:
    return [one for one in record.get("annotations", ()) if not one.get("iscrowd", 0)]


def _is_empty(segmentation: Any, height: int, width: int) -> bool:
    """Whether a mask has no pixel. Only polygons that are small or reach out are drawn for it."""
    if isinstance(segmentation, list):
        for polygon in segmentation:
            x, y = np.reshape(polygon, (-1, 2)).T
            inside = min(x.min(), y.min()) >= 0 and x.max() <= width and y.max() <= height
            area = abs(x @ np.roll(y, 1) - y @ np.roll(x, 1)) / 2
            if inside and area > _SURELY_FILLED and min(np.ptp(x), np.ptp(y)) >= 2:
                return False
    return not coco_mask.area(run_length(segmentation, (height, width)))
