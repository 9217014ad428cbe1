"""What of a ground truth makes scores say less than they seem to, counted while it is scored.

Legend: C classes, H and W pixels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce
from typing import Any

import numpy as np
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from frozenseg.data.coco_instances import run_length
from frozenseg.data.image_mask_pairs import read_semantic_labels
from frozenseg.data.object_masks import areas_differ
from frozenseg.data.panoptic_pixels import compare_segments
from frozenseg.data.reading import ids_of_rgb, read_panoptic_png
from frozenseg.evaluation.instance_truth import usable_area
from frozenseg.structures import IGNORED

FINDINGS = ("warnings", "ignored_pixels")  # what `TruthCheck` gives
NAMED = 10  # classes that a sentence names
# Problem -> what it does to the scores.
CONSEQUENCES = {
    "segments whose area in the annotation file is not their number of pixels": (
        "the pixels were counted, so the scores are not changed"
    ),
    "segments of the annotation file without a pixel in the panoptic map": "they are not scored",
    "ids of the panoptic map that the annotation file lacks": "their pixels are not scored",
    "objects whose area is not a number of pixels of the image": "their pixels were counted",
    "objects whose area in the annotation file is not that of their mask": (
        "AP of small, medium and large objects goes by the file"
    ),
    "objects without a pixel": "nothing can match them, which lowers AP",
}
WRONG_AREA, EMPTY_SEGMENT, UNLISTED, NO_AREA, OTHER_AREA, EMPTY_OBJECT = CONSEQUENCES


@dataclass
class _Counts:
    """What one process saw, or several together.

    Attributes:
        images: looked at; `unlabelled`: those of which nothing is scored.
        times: problem -> how often; `where`: problem -> the first of them; `images_with`: problem
            -> in how many images.
        labelled: kind of ground truth -> pixels, or objects, of every class (C,).
        pixels: of label maps; `ignored`: those that are not scored.
    """

    images: int = 0
    unlabelled: int = 0
    times: Counter[str] = field(default_factory=Counter)
    where: dict[str, str] = field(default_factory=dict)
    images_with: Counter[str] = field(default_factory=Counter)
    labelled: dict[str, NDArray[Any]] = field(default_factory=dict)
    pixels: int = 0
    ignored: int = 0

    def __add__(self, other: _Counts) -> _Counts:
        kinds, none = dict.fromkeys((*self.labelled, *other.labelled)), np.zeros(1)
        return _Counts(
            self.images + other.images,
            self.unlabelled + other.unlabelled,
            self.times + other.times,
            {**other.where, **self.where},
            self.images_with + other.images_with,
            {
                kind: sum((each.labelled.get(kind, none) for each in (self, other)), none)
                for kind in kinds
            },
            self.pixels + other.pixels,
            self.ignored + other.ignored,
        )


class TruthCheck(DatasetEvaluator):
    """Looks at the ground truth of every scored image, in all processes; scores nothing.

    Named are segments and areas that annotation and map do not share, images and pixels without a
    label, and classes that occur nowhere. `frozenseg data verify` finds the same before a run.
    """

    def __init__(
        self,
        dataset: str,
        class_names: Sequence[str],
        tasks: Collection[str],
        ignore_label: int,
    ) -> None:
        """
        Args:
            dataset: its name, or its file, for `frozenseg data verify`.
            tasks: that are scored.
        """
        self.dataset = dataset
        self.class_names = class_names
        self.tasks = frozenset(tasks)
        self.ignore_label = ignore_label
        self.reset()

    def reset(self) -> None:
        """Forgets all images."""
        self.counts = _Counts()

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        """Adds images."""
        for record in inputs:
            self.counts.images += 1
            self.counts.unlabelled += not any(self._look(record))

    def evaluate(self) -> dict[str, Any] | None:
        """{"warnings": sentences, "ignored_pixels": percent or None}, on the main process."""
        parts = comm.gather(self.counts)
        if not comm.is_main_process():
            return None
        counts = reduce(_Counts.__add__, parts)
        share = 100 * counts.ignored / counts.pixels if counts.pixels else None
        return dict(zip(FINDINGS, (self._sentences(counts, share), share), strict=True))

    def _look(self, record: Mapping[str, Any]) -> list[bool]:
        """For each ground truth of an image that is scored: whether it labels anything."""
        masks = "semantic" in self.tasks and "sem_seg_file_name" in record
        only_masks = masks and self.tasks == {"semantic"}
        found = []
        if "pan_seg_file_name" in record and not only_masks:
            found.append(self._panoptic(record, count_ignored=not masks))
        if masks:
            labels_HW = read_semantic_labels(record, self.ignore_label)
            found.append(self._label_map(labels_HW))
        if "annotations" in record and "instance" in self.tasks:
            found.append(self._objects(record))
        if "asked" in record and "labels" in record:
            found.append(bool((record["labels"] != IGNORED).any()))
        return found or [True]

    def _panoptic(self, record: Mapping[str, Any], *, count_ignored: bool) -> bool:
        path, segments = record["pan_seg_file_name"], record["segments_info"]
        ids_HW = ids_of_rgb(read_panoptic_png(path))
        compared = compare_segments(ids_HW, segments)
        self._note(
            WRONG_AREA,
            [
                f"{path}: id {key} has {compared.pixels[key]} pixels, area {area}"
                for key, area in compared.wrong_areas.items()
            ],
        )
        self._note(EMPTY_SEGMENT, [f"{path}: id {key}" for key in compared.empty])
        self._note(
            UNLISTED,
            [f"{path}: id {key}, {count} pixels" for key, count in compared.unlisted.items()],
        )
        pixels_C = np.zeros(len(self.class_names))
        for segment in segments:
            pixels_C[segment["category_id"]] += compared.pixels.get(segment["id"], 0)
        self._add("panoptic", pixels_C)
        if count_ignored:
            self.counts.pixels += ids_HW.size
            self.counts.ignored += ids_HW.size - int(pixels_C.sum())
        return bool(pixels_C.any())

    def _label_map(self, labels_HW: NDArray[np.int64]) -> bool:
        valid = labels_HW[(labels_HW >= 0) & (labels_HW < len(self.class_names))]
        self._add("semantic", np.bincount(valid, minlength=len(self.class_names)))
        self.counts.pixels += labels_HW.size
        self.counts.ignored += labels_HW.size - valid.size
        return bool(valid.size)

    def _objects(self, record: Mapping[str, Any]) -> bool:
        """True: an image without objects is scored, too; what is found in it is wrong."""
        size = (int(record["height"]), int(record["width"]))
        objects = record["annotations"]
        where = f"image {record['image_id']}: annotation"
        places: dict[str, list[str]] = {NO_AREA: [], OTHER_AREA: [], EMPTY_OBJECT: []}
        for one in objects:
            pixels = int(coco_mask.area(run_length(one["segmentation"], size)))
            here, area = f"{where} {one.get('id')}", one.get("area", pixels)
            if "area" in one and not usable_area(area, size):
                places[NO_AREA].append(f"{here} has area {area}")
            elif areas_differ(area, pixels):
                places[OTHER_AREA].append(f"{here} has {pixels} pixels, area {area}")
            if not pixels:
                places[EMPTY_OBJECT].append(here)
        for problem, found in places.items():
            self._note(problem, found)
        labels = np.array([one["category_id"] for one in objects], dtype=np.int64)
        self._add("instance", np.bincount(labels, minlength=len(self.class_names)))
        return True

    def _note(self, problem: str, places: Sequence[str]) -> None:
        if places:
            self.counts.times[problem] += len(places)
            self.counts.images_with[problem] += 1
            self.counts.where.setdefault(problem, places[0])

    def _add(self, kind: str, counts_C: NDArray[Any]) -> None:
        self.counts.labelled[kind] = self.counts.labelled.get(kind, 0) + counts_C

    def _sentences(self, counts: _Counts, ignored: float | None) -> list[str]:
        """The findings as sentences, the gravest first."""
        order = f"run `frozenseg data verify {self.dataset} --images 0`"
        images = counts.images
        found = []
        if counts.unlabelled:
            found.append(f"nothing is labelled in {counts.unlabelled} of {images} images; {order}")
        found += [
            f"{problem}: {counts.times[problem]} in {counts.images_with[problem]} of {images} "
            f"images, such as {counts.where[problem]}; {consequence}; {order}"
            for problem, consequence in CONSEQUENCES.items()
            if counts.times[problem]
        ]
        absent = [] if counts.unlabelled == images else self._absent(counts)
        found += absent
        alone = len(self.class_names) == 1 and "semantic" in self.tasks
        if alone:
            found.append(
                f"there is only one class ({self.class_names[0]}): mIoU and pixel accuracy are 100 "
                "by construction, unless the model leaves pixels without a class"
            )
        if ignored and (absent or alone or ignored >= 50):
            found.append(f"{ignored:.1f} % of the pixels are ignored")
        return found

    def _absent(self, counts: _Counts) -> list[str]:
        """A sentence for every kind of ground truth that lacks classes."""
        sentences = []
        for kind, labelled_C in counts.labelled.items():
            absent = [self.class_names[i] for i in np.flatnonzero(labelled_C == 0)]
            more = f" and {len(absent) - NAMED} more" if len(absent) > NAMED else ""
            label = f" and ignore_label ({self.ignore_label})" if kind == "semantic" else ""
            if absent:
                sentences.append(
                    f"{len(absent)} of {len(self.class_names)} classes occur nowhere in the {kind} "
                    f"ground truth ({', '.join(absent[:NAMED])}{more}): the scores do not say how "
                    f"well they are found; check the class list{label} if they should"
                )
        return sentences
