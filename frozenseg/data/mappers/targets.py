"""What a training sample is to be segmented into: classes and masks, for each task.

Legend: N targets, h and w pixels of the jittered crop, S the edge of the training square.
"""

from __future__ import annotations

from typing import Any, Protocol

import numpy as np
from detectron2.data import transforms as T
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from frozenseg.data.coco_instances import run_length
from frozenseg.data.image_mask_pairs import read_semantic_truth
from frozenseg.data.mappers.geometry import pad_to
from frozenseg.data.reading import (
    check_same_size,
    ids_of_rgb,
    read_panoptic_png,
    rgb_of_ids,
)

MOST_CLASSES = 2**24 - 1  # of a label map that is checked elsewhere
Targets = tuple[NDArray[np.int64], NDArray[np.bool_]]


class TargetReader(Protocol):
    """Gives the targets of one record.

    Attributes:
        needs: entries of the record, one of which must be there.
    """

    needs: tuple[str, ...]

    def __call__(
        self, record: dict[str, Any], size: tuple[int, ...], transform: T.Transform, edge: int
    ) -> Targets:
        """Classes (N,) int64 and masks (N, S, S) bool, S = `edge`, padded with False.

        Args: size: (height, width) of the image file. Raises: ValueError naming a file.
        """

    def most(self, record: dict[str, Any]) -> int:
        """The most targets that a record can give, as its entries say; 0 where they do not."""


class PanopticTargets:
    """Every segment of the panoptic map but crowds; what the crop cuts away stays, empty."""

    needs: tuple[str, ...] = ("pan_seg_file_name",)

    def __call__(
        self, record: dict[str, Any], size: tuple[int, ...], transform: T.Transform, edge: int
    ) -> Targets:
        """See `TargetReader`."""
        path = record["pan_seg_file_name"]
        rgb = read_panoptic_png(path)
        check_same_size(path, rgb.shape[:2], record["file_name"], size)
        # Nearest resizing of the uint8 map, then ids: the same pixels as detectron2's own mappers.
        ids = pad_to(ids_of_rgb(transform.apply_segmentation(rgb)), edge, edge, 0)
        segments = [segment for segment in record["segments_info"] if not segment["iscrowd"]]
        classes = np.array([segment["category_id"] for segment in segments], dtype=np.int64)
        return classes, _masks_of(ids, [segment["id"] for segment in segments])

    def most(self, record: dict[str, Any]) -> int:
        """See `TargetReader`."""
        return sum(not segment["iscrowd"] for segment in record.get("segments_info", ()))


class SemanticTargets:
    """One mask for every class of the crop, from a label map or else from the panoptic one."""

    needs: tuple[str, ...] = ("sem_seg_file_name", "pan_seg_file_name")

    def __init__(self, ignore_label: int, num_classes: int) -> None:
        self.ignore_label = ignore_label
        self.num_classes = num_classes

    def __call__(
        self, record: dict[str, Any], size: tuple[int, ...], transform: T.Transform, edge: int
    ) -> Targets:
        """See `TargetReader`; also raises ValueError for a label that is not a class."""
        labels, source = read_semantic_truth(record, self.ignore_label)
        check_same_size(source, labels.shape, record["file_name"], size)
        if labels.max(initial=-1) >= self.num_classes:
            raise ValueError(
                f"{source}: has label {labels.max()}, but the indices of the classes are "
                f"0..{self.num_classes - 1} and {self.ignore_label} means ignored: check the class "
                "list, ignore_label and the mask (`frozenseg data verify` finds all such masks)"
            )
        # As uint8 like a panoptic map, 0 for nothing: detectron2 resizes other types differently.
        rgb = transform.apply_segmentation(rgb_of_ids(labels + 1))
        labels = pad_to(ids_of_rgb(rgb), edge, edge, 0) - 1
        classes = np.unique(labels[labels >= 0]).astype(np.int64)
        return classes, _masks_of(labels, classes.tolist())

    def most(self, record: dict[str, Any]) -> int:
        """See `TargetReader`: known of panoptic maps."""
        return len({segment["category_id"] for segment in record.get("segments_info", ())})


class InstanceTargets:
    """Every annotated object of which the crop leaves a pixel; no crowds.

    Source: Mask2Former's mapper of COCO instances, which drops empty objects after the crop (its
    panoptic mapper keeps them).
    """

    needs: tuple[str, ...] = ("annotations",)

    def __call__(
        self, record: dict[str, Any], size: tuple[int, ...], transform: T.Transform, edge: int
    ) -> Targets:
        """See `TargetReader`."""
        objects = [one for one in record["annotations"] if not one["iscrowd"]]
        masks = np.zeros((len(objects), edge, edge), dtype=bool)
        for mask, one in zip(masks, objects, strict=True):
            rle = run_length(one["segmentation"], size)
            cut = transform.apply_segmentation(coco_mask.decode(rle))
            mask[: cut.shape[0], : cut.shape[1]] = cut
        classes = np.array([one["category_id"] for one in objects], dtype=np.int64)
        left = masks.any((1, 2))
        return classes[left], masks[left]

    def most(self, record: dict[str, Any]) -> int:
        """See `TargetReader`."""
        return sum(not one["iscrowd"] for one in record.get("annotations", ()))


class AnyTargets:
    """Panoptic segments, else objects, else one mask for every class: what a record has."""

    def __init__(self, ignore_label: int) -> None:
        semantic = SemanticTargets(ignore_label, MOST_CLASSES)
        self.readers: tuple[TargetReader, ...] = (PanopticTargets(), InstanceTargets(), semantic)
        self.needs = tuple(key for reader in self.readers for key in reader.needs)

    def __call__(
        self, record: dict[str, Any], size: tuple[int, ...], transform: T.Transform, edge: int
    ) -> Targets:
        """See `TargetReader`."""
        return self._reader(record)(record, size, transform, edge)

    def most(self, record: dict[str, Any]) -> int:
        """See `TargetReader`."""
        return self._reader(record).most(record)

    def _reader(self, record: dict[str, Any]) -> TargetReader:
        for reader in self.readers:
            if set(reader.needs) & record.keys():
                return reader
        raise ValueError(f"{record['file_name']}: its dataset has no annotations")


def _masks_of(values: NDArray[np.integer[Any]], wanted: list[int]) -> NDArray[np.bool_]:
    masks = np.zeros((len(wanted), *values.shape), dtype=bool)
    for mask, value in zip(masks, wanted, strict=True):
        np.equal(values, value, out=mask)
    return masks
