"""Pictures of an image, its ground truth and the predictions of it, as data: addresses.

Legend: H and W pixels.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from frozenseg.data.image_mask_pairs import read_semantic_truth
from frozenseg.data.reading import ids_of_rgb, read_image, read_panoptic_png
from frozenseg.evaluation.prediction_folder import PredictionFolder
from frozenseg.evaluation.prediction_scores import Truth
from frozenseg.resize import nearest_resize
from frozenseg.visualization.overlay import SegmentStyle, overlay_label_map

LONGEST_SIDE = 384
QUALITY = 80


class Picture(NamedTuple):
    """A picture as a page shows it."""

    title: str
    address: str
    height: int
    width: int


Segments = tuple[NDArray[Any], Mapping[int, int]]  # label map (H, W), class index of every label


class Painter:
    """Draws images of a dataset with their ground truth and the predictions of runs."""

    def __init__(self, truth: Truth, folders: Mapping[str, PredictionFolder]) -> None:
        """`folders`: title -> predictions, with panoptic or semantic ones in each."""
        self.truth, self.folders = truth, folders
        self.records = {record["image_id"]: record for record in truth.records}
        kinds: Sequence[str] = ("panoptic", "semantic")
        every = [folder.about["kinds"] for folder in folders.values()]
        self.kind = next((kind for kind in kinds if all(kind in each for each in every)), None)

    def pictures(self, image: Any) -> list[Picture]:
        """Image, ground truth, predictions; none of instances alone.

        Raises: FileNotFoundError, ValueError naming a file that is missing or damaged.
        """
        if self.kind is None:
            return []
        record = self.records[image]
        image_HW3 = read_image(record["file_name"], record.get("exif", "turn"))
        shown = Image.fromarray(image_HW3)
        shown.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
        shown_HW3 = np.asarray(shown)
        answers = {"ground truth": self._true(record)} | {
            title: self._predicted(folder, image) for title, folder in self.folders.items()
        }
        painted = {title: self._paint(shown_HW3, each) for title, each in answers.items()}
        return [_picture(title, each) for title, each in {"image": shown_HW3, **painted}.items()]

    def _true(self, record: Mapping[str, Any]) -> Segments:
        if self.kind == "semantic":
            return _of_labels(read_semantic_truth(record, self.truth.row.ignore_label)[0])
        ids_HW = ids_of_rgb(read_panoptic_png(record["pan_seg_file_name"]))
        return ids_HW, {each["id"]: each["category_id"] for each in record["segments_info"]}

    def _predicted(self, folder: PredictionFolder, image: Any) -> Segments:
        output = folder.output(image)
        if self.kind == "semantic":
            return _of_labels(output["semantic_labels"].numpy())
        ids_HW, segments = output["panoptic_seg"]
        return ids_HW.numpy(), {each["id"]: each["category_id"] for each in segments}

    def _paint(self, image_HW3: NDArray[np.uint8], segments: Segments) -> NDArray[np.uint8]:
        map_HW, class_of = segments
        words = self.truth.vocabulary
        styles = {
            label: SegmentStyle(words.names[index], words.colors[index])
            for label, index in class_of.items()
        }
        small_HW = nearest_resize(map_HW, (image_HW3.shape[0], image_HW3.shape[1]))
        return overlay_label_map(image_HW3, small_HW, styles)


def _of_labels(labels_HW: NDArray[Any]) -> Segments:
    """Class indices, below 0 none, as a label map."""
    return labels_HW + 1, {
        int(index) + 1: int(index) for index in np.unique(labels_HW) if index >= 0
    }


def _picture(title: str, image_HW3: NDArray[np.uint8]) -> Picture:
    data = io.BytesIO()
    Image.fromarray(image_HW3).save(data, "webp", quality=QUALITY)
    address = f"data:image/webp;base64,{base64.b64encode(data.getvalue()).decode()}"
    return Picture(title, address, image_HW3.shape[0], image_HW3.shape[1])
