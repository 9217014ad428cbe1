"""Samples of COCO panoptic data: one JSON file, images, and PNGs of segment ids.

Format: https://cocodataset.org/#format-data, section 4. The id of a pixel is R + 256 G + 65536 B;
id 0 is unlabelled.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

from frozenseg.data.catalog.lookup import class_of_category
from frozenseg.data.catalog.split import DatasetSplit
from frozenseg.data.findings import Report
from frozenseg.data.samples import Sample, check_categories, images_by_id
from frozenseg.data.schemas import Id, PanopticFile, SegmentEntry, read_annotations
from frozenseg.vocab import Vocabulary

LARGEST_ID = 2**24 - 1  # of three bytes


def panoptic_samples(
    row: DatasetSplit, vocabulary: Vocabulary, root: Path, report: Report
) -> list[Sample]:
    """One sample per annotation; their segments still have the dataset's category ids.

    Raises: the errors of `read_annotations`.
    """
    json_file = root / row.panoptic_json
    content = read_annotations(json_file, PanopticFile, row.origin.remedy, row.origin.repair)
    classes = class_of_category(row, vocabulary)
    check_categories(content.categories, vocabulary, classes, json_file, row, report)
    images = images_by_id(content.images, json_file, row, report)
    seen: set[Id] = set()
    samples = []
    for annotation in content.annotations:
        key = annotation["image_id"]
        where = f"{json_file}: image {key}"
        if key not in images or key in seen:
            problem = "an annotation has an unknown or repeated image_id"
            report.error(problem, row.origin.repair, where)
            continue
        seen.add(key)
        size = (images[key]["height"], images[key]["width"])
        segments = annotation["segments_info"]
        check_segments(segments, size, classes, where, row, report)
        samples.append(
            Sample(
                root / row.images / row.image_file(images[key]),
                key,
                size,
                panoptic=root / row.panoptic_masks / annotation["file_name"],
                semantic=root / row.semantic_masks / row.semantic_file(annotation)
                if row.semantic_masks
                else None,
                segments=segments,
            )
        )
    for key in images.keys() - seen:  # which loading accepts
        problem = "an image has no annotation"
        report.error(problem, row.origin.repair, f"{json_file}: image {key}", None)
    report.images = len(samples)
    if not samples:
        report.error("the annotation file has no annotations", row.origin.repair, json_file)
    return samples


def check_segments(
    segments: Sequence[SegmentEntry],
    size: tuple[int, int],
    classes: Mapping[int, int],
    where: str,
    row: DatasetSplit,
    report: Report,
) -> None:
    """Checks the categories, ids and areas of one image's panoptic segments.

    Args: size: of the image, (height, width).
    """
    ids = Counter(segment["id"] for segment in segments)
    for segment in segments:
        key, category, area = segment["id"], segment["category_id"], segment["area"]
        here = f"{where}, segment {key}"
        if category not in classes:
            problem = f"a category id is not one of the {len(classes)} classes{row.origin.mistake}"
            report.error(problem, row.origin.repair, f"{here}: category id {category}")
        elif ids[key] > 1 or not 0 < key <= LARGEST_ID:
            problem = f"a segment id is not of 1..{LARGEST_ID}, or occurs twice"
            report.error(problem, row.origin.repair, here)
        elif not 0 < area <= size[0] * size[1]:
            problem = "the area of a segment is not a number of pixels of its image"
            report.warning(problem, row.origin.repair, f"{here}: area {area}")
