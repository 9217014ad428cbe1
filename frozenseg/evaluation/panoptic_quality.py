"""Panoptic quality by panopticapi, image by image, with the scores of every class.

Legend: C classes, H and W pixels.
"""

from __future__ import annotations

import contextlib
import io
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from frozenseg.data.panoptic_pixels import compare_segments
from frozenseg.data.reading import check_same_size, ids_of_rgb, read_panoptic_png, rgb_of_ids
from frozenseg.evaluation.averages import CountingEvaluator, Groups, group_means, per_class

COUNTS = ("tp", "fp", "fn", "iou")


def match_image(
    record: dict[str, Any], panoptic: NDArray[Any], segments: list[dict[str, Any]], num_classes: int
) -> NDArray[Any]:
    """Matches of one image against its ground-truth file, as panopticapi counts them.

    Areas are the map's pixels, whatever the annotation says. Segments that only the annotation has
    are left out, and ids that only the map has are unlabelled: neither can be found.

    Args:
        record: pan_seg_file_name and segments_info (categories as class indices).
        panoptic: predicted segment ids (H, W), 0 for none.
        segments: id and category_id (class index) of every predicted segment.
    Returns: (C, 4) float64: true positives, false positives, false negatives, summed IoU.
    Raises: ValueError naming a ground-truth file that does not fit.
    """
    from panopticapi.evaluation import pq_compute_single_core

    truth = Path(record["pan_seg_file_name"])
    ids = ids_of_rgb(read_panoptic_png(truth))
    check_same_size(truth, ids.shape, record["file_name"], panoptic.shape)
    compared = compare_segments(ids, record["segments_info"])
    predicted = [{"id": s["id"], "category_id": s["category_id"]} for s in segments]
    annotation = {
        "image_id": record["image_id"],
        "file_name": truth.name,
        "segments_info": [
            {**segment, "area": compared.pixels[segment["id"]]}
            for segment in record["segments_info"]
            if segment["id"] in compared.pixels
        ],
    }
    categories = {index: {"id": index} for index in range(num_classes)}
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        if compared.unlisted:
            ids = np.where(np.isin(ids, list(compared.pixels)), ids, 0)
            truth = Path(folder, "truth.png")
            annotation["file_name"] = _write(truth, ids)
        prediction = {
            "file_name": _write(Path(folder, "prediction.png"), panoptic),
            "segments_info": predicted,
        }
        result = pq_compute_single_core(
            0, [(annotation, prediction)], str(truth.parent), folder, categories
        )
    counts = [[getattr(result[i], name) for name in COUNTS] for i in range(num_classes)]
    return np.array(counts, dtype=np.float64)


def _write(path: Path, ids: NDArray[Any]) -> str:
    Image.fromarray(rgb_of_ids(ids)).save(path, compress_level=1)
    return path.name


def panoptic_scores(counts: NDArray[Any], groups: Groups, names: tuple[str, ...]) -> dict[str, Any]:
    """PQ, SQ, RQ in percent over groups and per class from summed counts (C, 4).

    A class that occurs neither in ground truth nor in prediction is left out of the means.
    Source: Kirillov et al., Panoptic Segmentation, arXiv:1801.00868, section 4.
    """
    tp, fp, fn, iou = counts.T
    counted = tp + fp + fn > 0
    recognition = tp / np.maximum(tp + fp / 2 + fn / 2, 0.5)
    segmentation = np.divide(iou, tp, out=np.zeros_like(iou), where=tp > 0)  # tp may be 0.8
    scores = {"PQ": recognition * segmentation, "SQ": segmentation, "RQ": recognition}
    return {**group_means(scores, counted, groups), "per_class": per_class(scores, counted, names)}


class PanopticEvaluator(CountingEvaluator):
    """Scores `panoptic_seg` (map, segments_info) of every image."""

    kind = "panoptic"
    columns = len(COUNTS)

    def process(self, inputs: list[dict[str, Any]], outputs: list[dict[str, Any]]) -> None:
        """Adds images. Raises: ValueError naming a ground-truth file that does not fit."""
        for record, output in zip(inputs, outputs, strict=True):
            panoptic, segments = output["panoptic_seg"]
            ids = panoptic.cpu().numpy()
            self.add_image(record, match_image(record, ids, segments, len(self.class_names)))

    def scores(self, counts: NDArray[Any]) -> dict[str, Any]:
        """{"panoptic": scores}."""
        return {"panoptic": panoptic_scores(counts, self.groups, self.class_names)}
