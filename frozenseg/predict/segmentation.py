"""What a model says about one image, and making it from label maps or masks.

Legend: H and W pixels of the image.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frozenseg.predict import coco_export, segmentation_files
from frozenseg.predict.segmented_image import Segment, SegmentedImage, make_segment
from frozenseg.vocab import Vocabulary

LARGEST_ID = 65535  # of a 16-bit PNG


@dataclass(frozen=True, repr=False, eq=False)
class Segmentation(SegmentedImage):
    """The segments of one image: `SegmentedImage` with its files."""

    def without(self, *names: str) -> Segmentation:
        """The same without the segments of these names; their pixels get the id 0, or that of the
        next best instance. The words stay.
        """
        kept = tuple(segment for segment in self.segments if segment.name not in names)
        label_map_HW = np.zeros_like(self.label_map_HW)
        for segment in kept[::-1]:
            mask_HW = self.label_map_HW == segment.id
            label_map_HW[segment.mask if self.task == "instance" else mask_HW] = segment.id
        return dataclasses.replace(self, label_map_HW=label_map_HW, segments=kept)

    def save_coco(self, folder: str | os.PathLike[str], kind: str = "") -> Path:
        """This result alone in a COCO format; `coco_export.save_coco` takes those of many images.

        Args: kind: "panoptic", "instance" or "semantic"; "": the task of the result.
        Returns: the path of the JSON file. Raises: ValueError for a kind that it cannot give.
        """
        return coco_export.save_coco(self, Path(folder), kind)

    def to_supervision(self) -> Any:
        """The segments as `supervision.Detections`, in the same order; 1 where there is no score.

        Raises: ImportError with the remedy where it is not installed.
        """
        return segmentation_files.to_supervision(self)

    def save(
        self,
        path: str | os.PathLike[str],
        name: str = "",
        image_HW3: NDArray[np.uint8] | None = None,
        about: Mapping[str, Any] | None = None,
    ) -> dict[str, Path]:
        """Writes one file in the format of its ending, or with a `name` all files into a folder.

        .png: the label map, in the classes' colours where it has at most 255 segments (8 bits with
        a palette, else 16-bit grey): its pixel values are segment ids. .json: segments with masks
        as RLE, words, size. .npz: arrays (`segmentation_files.arrays`). .jpg, .webp: the overlay.
        Each file is complete or not there. With `name`: see `segmentation_files.save_all`.
        Returns: the paths by kind.
        Raises: ValueError for another ending.
        """
        if name:
            return segmentation_files.save_all(
                self, Path(path), name, self._image(image_HW3), about or {}
            )
        return segmentation_files.save_one(self, Path(path).expanduser(), about or {})


def from_label_map(
    label_map_HW: NDArray[np.integer[Any]],
    classes: Mapping[int, int],
    vocabulary: Vocabulary,
    task: str,
    scores: Mapping[int, float | None] | None = None,
) -> Segmentation:
    """A segmentation from a map of ids.

    Args:
        classes: class index of every id in the map except 0; ids without pixels are left out.
        scores: score of an id, where there is one.
    """
    check_ids(label_map_HW)
    segments = []
    for number in filter(None, np.unique(label_map_HW).tolist()):  # 0: no segment
        if number not in classes:
            raise ValueError(f"the label map has the id {number}, which no segment explains")
        mask_HW, score = label_map_HW == number, (scores or {}).get(number)
        segments.append(make_segment(number, mask_HW, classes[number], score, vocabulary))
    return Segmentation(label_map_HW.astype(np.int32), tuple(segments), vocabulary, task)


def from_masks(
    detections: Iterable[tuple[NDArray[np.bool_], int, float]],
    size: tuple[int, int],
    vocabulary: Vocabulary,
) -> Segmentation:
    """An instance segmentation from masks that may overlap; the best score owns a pixel.

    Args:
        detections: (mask (H, W), class index, score), by falling score; taken one at a time. Empty
            masks are left out; the others get the ids 1, 2, ...
        size: (H, W), for the case of no mask.
    """
    label_map_HW = np.zeros(size, dtype=np.int32)
    segments: list[Segment] = []
    for mask_HW, class_index, score in detections:
        if mask_HW.any():
            number = len(segments) + 1
            label_map_HW[mask_HW & (label_map_HW == 0)] = number
            segments.append(make_segment(number, mask_HW, class_index, score, vocabulary))
    check_ids(label_map_HW)
    return Segmentation(label_map_HW, tuple(segments), vocabulary, "instance")


def check_ids(label_map_HW: NDArray[np.integer[Any]]) -> None:
    """Raises: ValueError for ids that a 16-bit label map cannot hold."""
    if label_map_HW.size and (label_map_HW.min() < 0 or label_map_HW.max() > LARGEST_ID):
        raise ValueError(
            f"segment ids must be 0..{LARGEST_ID} to fit a 16-bit label map, got "
            f"{label_map_HW.min()}..{label_map_HW.max()}: number the segments again"
        )
