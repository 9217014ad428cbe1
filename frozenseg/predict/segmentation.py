"""What a model says about one image, and making it from label maps or masks.

Legend: H and W pixels of the image.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from frozenseg.errors import did_you_mean
from frozenseg.predict import coco_export, converters, notebook, segmentation_files
from frozenseg.predict.segmented_image import Segment, SegmentedImage, make_segment
from frozenseg.predict.tasks import check_threshold
from frozenseg.vocab import Vocabulary

LARGEST_ID = 65535  # of a 16-bit PNG


@dataclass(frozen=True, repr=False, eq=False)
class Segmentation(SegmentedImage):
    """The segments of one image: `SegmentedImage` with its files and forms for other tools."""

    def filter(
        self,
        names: str | Collection[str] | None = None,
        *,
        min_score: float | None = None,
        min_area: int = 0,
    ) -> Segmentation:
        """The same with only the segments that meet all conditions; see `without`.

        Args:
            names: one name of the vocabulary or several; None: all.
            min_score: 0..1; segments without a score stay.
            min_area: in pixels.
        Raises: ValueError for a name that is not in the vocabulary, or a score that is none.
        """
        known = self.vocabulary.names
        wanted = set(known if names is None else [names] if isinstance(names, str) else names)
        for name in wanted - set(known):
            near = did_you_mean(name, known)
            raise ValueError(f"{name!r} is no name of the vocabulary: {near}see vocabulary.names")
        check_threshold(self.task, min_score)
        if 0 < min_area < 1:
            raise ValueError(f"min_area is a number of pixels, got {min_area}")
        return self._with(
            segment
            for segment in self.segments
            if segment.name in wanted
            and segment.area >= min_area
            and (min_score is None or segment.score is None or segment.score >= min_score)
        )

    def without(self, *names: str) -> Segmentation:
        """The same without the segments of these names; their pixels get the id 0, or that of the
        next best instance. The words stay.
        """
        return self._with(segment for segment in self.segments if segment.name not in names)

    def _with(self, segments: Iterable[Segment]) -> Segmentation:
        kept = tuple(segments)
        label_map_HW = np.zeros_like(self.label_map_HW)
        for segment in kept[::-1]:
            mask_HW = self.label_map_HW == segment.id
            label_map_HW[segment.mask if self.task == "instance" else mask_HW] = segment.id
        return dataclasses.replace(self, label_map_HW=label_map_HW, segments=kept)

    def polygons(self) -> list[list[NDArray[np.float64]]]:
        """For every segment its rings of points (P, 2), x and y in pixels; see `outlines`.

        They run along the edges of pixels, so that COCO's tools make the same mask of them; a hole
        is joined to its ring by a cut without width.
        """
        return [converters.outlines(segment) for segment in self.segments]

    def to_pandas(self) -> Any:
        """A pandas.DataFrame with one row per segment and the columns `converters.COLUMNS`.

        Raises: ImportError with the remedy where pandas is not installed.
        """
        return converters.to_pandas(self)

    def to_csv(self, path: str | os.PathLike[str]) -> Path:
        """Writes the same table as a file; needs no pandas. Returns: its path."""
        return converters.to_csv(self, Path(path).expanduser())

    def to_detectron2(self) -> Any:
        """`detectron2.structures.Instances` with pred_boxes, pred_masks, pred_classes and scores (1
        where there is none), on the CPU.
        """
        return converters.to_detectron2(self)

    def to_huggingface(self) -> list[dict[str, Any]]:
        """What the pipeline "image-segmentation" of transformers gives: per segment its label,
        score (or None) and mask, a PIL image of 0 and 255.
        """
        return converters.to_huggingface(self)

    def to_fiftyone(self) -> list[dict[str, Any]]:
        """Per segment the arguments of `fiftyone.Detection`: label, bounding_box (x, y, width,
        height as shares of the image), mask (bool, of the box), confidence.
        """
        return converters.to_fiftyone(self)

    def to_yolo(self, path: str | os.PathLike[str]) -> Path:
        """Writes YOLO's segmentation labels: a line per segment, its class index and one polygon.

        The format has one ring per object and no holes: parts and holes are joined to it by a cut,
        a line of single pixels where the polygon is filled again.
        """
        return converters.to_yolo(self, Path(path).expanduser())

    def to_labelme(self, path: str | os.PathLike[str]) -> Path:
        """Writes LabelMe's JSON file: a polygon per part; `group_id` is the segment's id."""
        return converters.to_labelme(self, Path(path).expanduser())

    def to_cvat(self, path: str | os.PathLike[str]) -> Path:
        """Writes this result alone as "CVAT for images"; `converters.save_cvat` takes many."""
        return converters.save_cvat(self, Path(path))

    def show(self) -> None:
        """Shows the overlay: in a notebook below its cell, otherwise in a window.

        Raises: OSError where no program shows pictures.
        """
        notebook.show(self)

    def _repr_png_(self) -> bytes:
        return notebook.as_png(self)

    def _repr_html_(self) -> str:
        return notebook.as_html(self)

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
