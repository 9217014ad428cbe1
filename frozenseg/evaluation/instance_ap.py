"""Mask AP of every class on one or another ground truth of a benchmark, and LVIS' AP.

Legend: C classes, N instances, H and W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from detectron2.evaluation import DatasetEvaluator
from detectron2.utils import comm
from numpy.typing import NDArray

from frozenseg.data.coco_instances import FREQUENCIES
from frozenseg.data.reading import check_same_size
from frozenseg.data.schemas import CategoryFile, read_annotations
from frozenseg.evaluation.averages import Groups, group_means, per_class
from frozenseg.evaluation.instance_truth import Truth, annotated_objects, encode, thing_segments
from frozenseg.evaluation.mask_ap import LVIS_MOST_DETECTIONS, federated_ap, mask_ap


class InstanceEvaluator(DatasetEvaluator):
    """Scores `instances` (pred_masks, scores, pred_classes) of every image."""

    measure: Callable[..., dict[str, NDArray[Any]]] = staticmethod(mask_ap)

    def __init__(
        self,
        class_names: tuple[str, ...],
        groups: Groups,
        truth: Truth = thing_segments,
        key: str = "instance",
    ) -> None:
        """
        Args:
            groups: as from `class_groups(..., stuff=False)`: only things are scored.
            truth: the objects of a record.
            key: of the result.
        """
        self.class_names = class_names
        self.groups = groups
        self.truth_of = truth
        self.key = key
        self.reset()

    def reset(self) -> None:
        """Forgets all images."""
        self.means: dict[str, dict[str, float | int]] | None = None  # of the last `evaluate`
        self.images: list[dict[str, Any]] = []
        self.truth: list[dict[str, Any]] = []
        self.predictions: list[dict[str, Any]] = []

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        """Adds images. Raises: ValueError naming a ground-truth file that does not fit."""
        for record, output in zip(inputs, outputs, strict=True):
            self._add(record, output["instances"].to("cpu"))

    def _add(self, record: dict[str, Any], instances: Any) -> None:
        image = record["image_id"]
        size, objects = self.truth_of(record)
        check_same_size(str(record["file_name"]), size, "its prediction", instances.image_size)
        self.images.append({"id": image, "height": size[0], "width": size[1]})
        self.truth += [{"image_id": image, **one} for one in objects]
        masks = instances.pred_masks.numpy().astype(bool)
        for mask, score, label in zip(
            masks, instances.scores.tolist(), instances.pred_classes.tolist(), strict=True
        ):
            found = {"image_id": image, "category_id": label, "score": score}
            self.predictions.append({**found, "segmentation": encode(mask)})

    def add(self, other: InstanceEvaluator) -> None:
        """Adds the images of another evaluator of the same kind."""
        self.images += other.images
        self.truth += other.truth
        self.predictions += other.predictions

    def evaluate(self) -> dict[str, Any] | None:
        """{key: scores}, on the main process."""
        parts = comm.gather((self.images, self.truth, self.predictions))
        if not comm.is_main_process():
            return None
        images, truth, predictions = ([x for part in parts for x in part[i]] for i in range(3))
        scores = self.measure(truth, predictions, images, len(self.class_names))
        counted = ~np.isnan(scores["AP"])
        means = group_means({"AP": scores["AP"]}, counted, self.groups)
        for name, values in scores.items():
            for group, row in group_means({name: values}, ~np.isnan(values), self.groups).items():
                means[group][name] = row[name]
        self.means = means
        shown = {"AP": scores["AP"], "AP50": scores["AP50"]}
        return {self.key: {**means, "per_class": per_class(shown, counted, self.class_names)}}


class LvisEvaluator(InstanceEvaluator):
    """LVIS' federated AP, also of rare, common and frequent classes (APr, APc, APf).

    Of an image the 300 best detections count; of these, the ones whose class was looked for in it.
    The `lvis` package is not needed: it needs an old numpy.
    """

    measure = staticmethod(federated_ap)

    def __init__(
        self,
        class_names: tuple[str, ...],
        groups: Groups,
        class_of_category: Mapping[int, int],
        json_file: Path,
    ) -> None:
        """`json_file`: LVIS' annotation file, which says how frequent a class is."""
        frequent = frequency_groups(json_file, class_of_category)
        super().__init__(class_names, {**groups, **frequent}, annotated_objects)
        self.class_of_category = class_of_category

    def _add(self, record: dict[str, Any], instances: Any) -> None:
        best = instances.scores.argsort(descending=True, stable=True)[:LVIS_MOST_DETECTIONS]
        labels = {
            key: {self.class_of_category[i] for i in record[f"{key}_category_ids"]}
            for key in ("neg", "not_exhaustive")
        }
        judged = {one["category_id"] for one in record["annotations"]} | labels["neg"]
        chosen = instances[best]
        known = [int(label) in judged for label in chosen.pred_classes]
        super()._add(record, chosen[np.flatnonzero(known)])
        self.images[-1] |= {"judged": judged, "open": labels["not_exhaustive"]}


def frequency_groups(json_file: Path, class_of_category: Mapping[int, int]) -> dict[str, Any]:
    """Boolean class masks of the rare, common and frequent classes of an LVIS annotation file.

    Raises: FileNotFoundError; ValueError for categories without their frequency.
    """
    letters = [""] * len(class_of_category)
    for category in read_annotations(json_file, CategoryFile).categories:
        if category["id"] in class_of_category:
            letters[class_of_category[category["id"]]] = category.get("frequency", "")
    if not set(letters) <= set(FREQUENCIES.values()):
        raise ValueError(
            f'{json_file}: its categories have no frequency "r", "c" or "f": it is not a file '
            "of LVIS v1's annotation; get it again"
        )
    return {
        name: np.array([each == letter for each in letters]) for name, letter in FREQUENCIES.items()
    }
