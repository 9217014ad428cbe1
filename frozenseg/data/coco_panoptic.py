"""Samples of COCO panoptic data: one JSON file, images, and PNGs of segment ids.

Format: https://cocodataset.org/#format-data, section 4. The id of a pixel is R + 256 G + 65536 B;
id 0 is unlabelled.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from frozenseg.data.catalog.lookup import class_of_category
from frozenseg.data.catalog.split import DatasetSplit
from frozenseg.data.findings import Report
from frozenseg.data.reading import read_annotation_file
from frozenseg.data.samples import Sample, check_categories, images_by_id
from frozenseg.vocab import Vocabulary

SEGMENT_NUMBERS = ("id", "category_id", "area")


def panoptic_samples(
    row: DatasetSplit, vocabulary: Vocabulary, root: Path, report: Report
) -> list[Sample]:
    """One sample per annotation; their segments still have the dataset's category ids.

    Raises: the errors of `read_annotation_file`.
    """
    json_file = root / row.panoptic_json
    content = read_annotation_file(json_file, row.origin.remedy)
    classes = class_of_category(row, vocabulary)
    check_categories(content, vocabulary, classes, json_file, row, report)
    images = images_by_id(content, json_file, row, report)
    seen: set[Any] = set()
    samples = []
    for annotation in content["annotations"]:
        key = annotation.get("image_id")
        where = f"{json_file}: image {key}"
        if key not in images or key in seen or "file_name" not in annotation:
            problem = "an annotation has an unknown or repeated image_id, or no file_name"
            report.error(problem, row.origin.repair, where)
            continue
        seen.add(key)
        if "segments_info" not in annotation:
            report.error("an annotation has no segments_info", row.origin.repair, where)
        segments = tuple(annotation.get("segments_info") or ())
        check_segments(segments, classes, where, row, report)
        samples.append(
            Sample(
                root / row.images / row.image_file(images[key]),
                key,
                (images[key]["height"], images[key]["width"]),
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
    segments: Sequence[Mapping[str, Any]],
    classes: Mapping[int, int],
    where: str,
    row: DatasetSplit,
    report: Report,
) -> None:
    """Checks the numbers, categories and ids of one image's panoptic segments."""
    ids = Counter(segment.get("id") for segment in segments)
    for segment in segments:
        here = f"{where}, segment {segment.get('id')}"
        wrong = [k for k in SEGMENT_NUMBERS if not isinstance(segment.get(k), (int, float))]
        if wrong:
            problem = f"a segment lacks one of its numbers {', '.join(SEGMENT_NUMBERS)}"
            here += f": {wrong[0]} is {segment.get(wrong[0])}"
            report.error(problem, row.origin.repair, here)
        elif segment["category_id"] not in classes:
            problem = f"a category id is not one of the {len(classes)} classes{row.origin.mistake}"
            here += f": category id {segment['category_id']}"
            report.error(problem, row.origin.repair, here)
        elif ids[segment["id"]] > 1 or segment["id"] == 0:
            report.error("a segment id is 0 or occurs twice", row.origin.repair, here)
