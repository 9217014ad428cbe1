"""The parts of a job as one COCO file."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from pycocotools import mask as coco_mask

from frozenseg.labelling.parts import MANIFEST, Manifest, existing_parts
from frozenseg.predict.coco_export import save_coco
from frozenseg.predict.model_manifest import words_of
from frozenseg.predict.segmentation import Segmentation
from frozenseg.predict.segmented_image import Segment
from frozenseg.vocab import Vocabulary


def export_coco(output: Path, manifest: Manifest, kind: str) -> Path:
    """Writes OUTPUT/coco/KIND.json and its PNGs, see `save_coco`; images with errors are left out.

    The JSON is put together in memory: for some hundred thousand images.
    """
    return save_coco(segmentations(output, manifest), output / "coco", kind)


def segmentations(
    output: Path,
    manifest: Manifest,
    blocks: Container[int] | None = None,
    wanted: Callable[[dict[str, Any]], bool] | None = None,
) -> Iterator[Segmentation]:
    """The results of every image that could be read, one part after another.

    Args:
        blocks: those whose parts are read; None: all.
        wanted: of a row, whether its segment is; images without any are then left out.
    """
    vocabulary = words_of(manifest.vocabulary, str(output / MANIFEST))
    for block, path in existing_parts(output).items():
        if blocks is not None and block not in blocks:
            continue
        rows = pq.ParquetFile(path).read().drop_columns("embedding").to_pylist()
        for _, of_image in groupby(rows, key=lambda row: row["image_id"]):
            found = [row for row in of_image if wanted is None or wanted(row)]
            if found and found[0]["error"] is None:
                yield _segmentation(found, vocabulary, manifest.task)


def _segmentation(rows: list[dict[str, Any]], vocabulary: Vocabulary, task: str) -> Segmentation:
    size = rows[0]["height"], rows[0]["width"]
    label_map_HW = np.zeros(size, np.int32)
    segments = []
    for row in rows:
        if row["segment_id"] is None:
            continue
        rle = {"size": list(size), "counts": row["rle"].decode("ascii")}
        mask_HW = coco_mask.decode(rle).astype(bool)
        label_map_HW[mask_HW & (label_map_HW == 0)] = row["segment_id"]  # the best score first
        segments.append(
            Segment(
                row["segment_id"],
                row["class_index"],
                row["class_name"],
                vocabulary.thing_mask[row["class_index"]],
                row["score"],
                row["area"],
                tuple(row["box"]),
                rle,
            )
        )
    return Segmentation(label_map_HW, tuple(segments), vocabulary, task, source=rows[0]["path"])
