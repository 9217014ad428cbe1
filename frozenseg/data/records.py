"""The records of a dataset split in detectron2's format, by the kind of its ground truth.

Every record has file_name and image_id; what else it has follows from its sample. Nothing here
needs detectron2 or torch.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from frozenseg.data.catalog.lookup import class_of_category
from frozenseg.data.catalog.split import EXIF, DatasetSplit
from frozenseg.data.coco_instances import instance_samples
from frozenseg.data.coco_panoptic import panoptic_samples
from frozenseg.data.episodes import episode_samples, episodes_of
from frozenseg.data.findings import Report
from frozenseg.data.image_lists import listed
from frozenseg.data.reading import require_file
from frozenseg.data.samples import Sample, pair_samples
from frozenseg.vocab import Vocabulary

logger = logging.getLogger(__name__)

READERS: dict[str, Callable[[DatasetSplit, Vocabulary, Path, Report], list[Sample]]] = {
    "panoptic": panoptic_samples,
    "instances": instance_samples,
    "lvis": instance_samples,
    "instance maps": pair_samples,
    "episodes": episode_samples,
    "semantic": pair_samples,
}


def read_samples(
    row: DatasetSplit, vocabulary: Vocabulary, root: Path, report: Report
) -> list[Sample]:
    """The samples of a row; what is wrong with its annotations goes into the report.

    Sets `report.images` to the number of images.
    Raises: FileNotFoundError and ValueError for an annotation file that cannot be used at all.
    """
    samples = READERS[row.kind](row, vocabulary, root, report)
    if not row.image_list or row.kind in ("semantic", "instance maps"):  # `pair_samples` knows it
        return samples
    names = [sample.image.relative_to(root / row.images).as_posix() for sample in samples]
    chosen = listed(names, row, root, report)
    kept = [each for each, name in zip(samples, names, strict=True) if name in chosen]
    report.images = len(kept)
    return kept


def load_records(row: DatasetSplit, vocabulary: Vocabulary, root: Path) -> list[dict[str, Any]]:
    """The records of a row, whose paths are below `root`.

    Returns: dicts with file_name, image_id, where known height and width, and of the ground truth
        pan_seg_file_name with segments_info (id, category_id, isthing, iscrowd, area, bbox),
        sem_seg_file_name, instance_file_name, annotations (id, category_id, bbox, bbox_mode,
        segmentation, area, iscrowd), or, of an episode, `asked`; all with class indices.
    Raises: FileNotFoundError and ValueError that name the file and the remedy.
    """
    report = Report(row.name, str(root))
    samples = read_samples(row, vocabulary, root, report)
    report.raise_first()
    for finding in report.findings:
        logger.warning("%s: %s (%d times)", row.name, finding.problem, finding.count)
    for path in samples[0].files():
        require_file(path, row.origin.remedy)
    classes, things = class_of_category(row, vocabulary), vocabulary.thing_mask
    records = []
    for sample in samples:
        record = _record(sample, classes, things)
        if row.exif != EXIF[0]:
            record["exif"] = row.exif
        if row.label_colors:
            record["label_colors"] = row.label_colors
        elif row.labels_are_ids:
            record["label_ids"] = tuple(classes)
        episodes = episodes_of(sample, row, classes) if row.kind == "episodes" else [{}]
        records += [{**record, **episode} for episode in episodes]
    return records[: row.max_items] if row.max_items else records


def _record(sample: Sample, classes: Mapping[int, int], things: list[bool]) -> dict[str, Any]:
    record = {"file_name": str(sample.image), "image_id": sample.image_id, **sample.lists}
    if sample.size is not None:
        record["height"], record["width"] = sample.size
    for key, path in (
        ("pan_seg_file_name", sample.panoptic),
        ("sem_seg_file_name", sample.semantic),
        ("instance_file_name", sample.instances),
    ):
        if path is not None:
            record[key] = str(path)
    if sample.panoptic is not None:
        record["segments_info"] = [
            {
                "iscrowd": 0,
                **segment,
                "category_id": (index := classes[segment["category_id"]]),
                "isthing": things[index],
            }
            for segment in sample.segments
        ]
    if sample.objects is not None:
        record["annotations"] = sample.objects
    return record
