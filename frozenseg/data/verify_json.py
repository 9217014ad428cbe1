"""Is what an annotation file says consistent? Every check adds what is wrong to the report."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from frozenseg.data.benchmark import Benchmark
from frozenseg.data.coco_panoptic import SEGMENT_NUMBERS
from frozenseg.data.findings import Report
from frozenseg.vocab import Vocabulary


def images_by_id(
    content: Mapping[str, Any], json_file: Path, row: Benchmark, report: Report
) -> dict[Any, Mapping[str, Any]]:
    """The usable entries of `images` by their id."""
    images = {}
    needed = ("id", "height", "width", "coco_url" if row.kind == "lvis" else "file_name")
    for image in content["images"]:
        missing = [key for key in needed if key not in image]
        if missing or image["id"] in images:
            problem = "an entry of images has no id, size or file, or the id of another one"
            report.error(problem, row.repair, f"{json_file}: image {image.get('id')}")
            continue
        images[image["id"]] = image
    return images


def check_segments(
    segments: Sequence[Mapping[str, Any]],
    classes: Mapping[int, int],
    where: str,
    row: Benchmark,
    report: Report,
) -> None:
    """Checks the numbers, categories and ids of one image's panoptic segments."""
    ids = Counter(segment.get("id") for segment in segments)
    for segment in segments:
        here = f"{where}, segment {segment.get('id')}"
        numbers = (segment.get(name) for name in SEGMENT_NUMBERS)
        if not all(isinstance(number, (int, float)) for number in numbers):
            problem = f"a segment lacks one of its numbers {', '.join(SEGMENT_NUMBERS)}"
            report.error(problem, row.repair, here)
        elif segment["category_id"] not in classes:
            trap = f": {row.trap}" if row.trap else ""
            problem = f"a category id is not one of the {len(classes)} classes{trap}"
            report.error(problem, row.repair, f"{here}: category id {segment['category_id']}")
        elif ids[segment["id"]] > 1 or segment["id"] == 0:
            report.error("a segment id is 0 or occurs twice", row.repair, here)


def check_object(
    read: Mapping[str, Any] | None,
    image: Mapping[str, Any],
    where: str,
    row: Benchmark,
    report: Report,
) -> None:
    """Checks box and mask of an object as `read_object` gives it against its image."""
    if read is None:
        report.warning("an object has no valid polygon and is left out", row.repair, where)
        return
    x, y, width, height = read["bbox"]
    outside = x < -1 or y < -1 or x + width > image["width"] + 1 or y + height > image["height"] + 1
    if outside or width < 0 or height < 0:
        report.warning("a box reaches out of its image", row.repair, f"{where}: {read['bbox']}")
    segmentation = read["segmentation"]
    size = (image["height"], image["width"])
    if isinstance(segmentation, dict) and tuple(segmentation["size"]) != size:
        problem = "the mask of an object has another size than its image"
        report.error(problem, row.repair, f"{where}: {segmentation['size']}, image {list(size)}")


def check_categories(
    content: Mapping[str, Any],
    vocabulary: Vocabulary,
    classes: Mapping[int, int],
    json_file: Path,
    row: Benchmark,
    report: Report,
) -> None:
    """Compares the file's `categories` with the classes: things and stuff must agree."""
    things = vocabulary.thing_mask
    for category in content.get("categories", ()):
        index = classes.get(category.get("id"))
        if index is not None and bool(category.get("isthing", things[index])) != things[index]:
            problem = "the annotation file and the class list differ in what is a thing"
            report.warning(problem, row.repair, f"{json_file}: {category.get('name')}")
