"""Which files a dataset should have, and whether they are there; nothing but JSON is read.

Every function gives the samples of one kind of ground truth and adds to the report what is wrong.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from frozenseg.data.catalog.lookup import class_of_category
from frozenseg.data.catalog.split import DatasetSplit
from frozenseg.data.coco_instances import read_object
from frozenseg.data.coco_panoptic import SEGMENT_NUMBERS
from frozenseg.data.episodes import read_index
from frozenseg.data.image_mask_pairs import find_pairs, walk_files
from frozenseg.data.reading import read_annotation_file
from frozenseg.data.verify.findings import Report
from frozenseg.data.verify.maps import Sample
from frozenseg.vocab import Vocabulary

WHAT = {
    "images": "folder of images",
    "panoptic_json": "panoptic annotation file",
    "panoptic_masks": "folder of panoptic maps",
    "episodes_json": "index of episodes",
    "semantic_masks": "folder of label maps",
    "instance_json": "instance annotation file",
    "instance_masks": "folder of instance maps",
    "class list": "class list",
}


def check_paths(row: DatasetSplit, root: Path, report: Report) -> bool:
    """Whether all files and folders of a row are there."""
    needed = list(row.paths())
    missing = [(what, path) for what, path in needed if not (root / path).exists()]
    make = row.origin.remedy if len(missing) == len(needed) else row.origin.completion
    for what, path in missing:
        order = row.origin.download if what == "images" and not row.origin.images_made else make
        report.error(f"the {WHAT[what]} is missing", order, str(root / path))
    return not missing


def list_samples(
    row: DatasetSplit, vocabulary: Vocabulary, root: Path, report: Report
) -> list[Sample]:
    """The samples whose files are all there; sets `report.images` to the number of all samples.

    Raises: FileNotFoundError and ValueError for an annotation file that cannot be used at all.
    """
    if row.kind in ("semantic", "instance maps"):
        return [
            sample for sample in _of_pairs(row, root, report) if _has_bytes(sample, row, report)
        ]
    if row.kind == "episodes":
        complete = _with_files(row, _of_index(row, vocabulary, root, report), root, report)
        return [sample for sample in complete if _has_bytes(sample, row, report)]
    masks = row.kind == "panoptic"
    json_file = root / (row.panoptic_json if masks else row.instance_json)
    content = read_annotation_file(json_file, row.origin.repair, row.kind)
    classes = class_of_category(row, vocabulary)
    check_categories(content, vocabulary, classes, json_file, row, report)
    make = _of_panoptic if masks else _of_instances
    samples = make(row, content, classes, root, report)
    report.images = len(samples)
    if not samples:
        report.error("the annotation file has no annotations", row.origin.repair, str(json_file))
    complete = _with_files(row, samples, root, report)
    return [sample for sample in complete if _has_bytes(sample, row, report)]


def _of_pairs(row: DatasetSplit, root: Path, report: Report) -> list[Sample]:
    semantic = row.kind == "semantic"
    folder = root / (row.semantic_masks if semantic else row.instance_masks)
    suffix = row.semantic_suffix if semantic else row.instance_suffix
    pairs = find_pairs(root / row.images, row.image_suffix, folder, suffix)
    for path in pairs.images_only:
        report.error("an image has no mask", row.origin.completion, str(path))
    for path in pairs.masks_only:
        report.error("a mask has no image", row.origin.download, str(path))
    report.images = len(pairs.both) + len(pairs.images_only)
    if not report.images:
        problem = f"the folder has no image *{row.image_suffix}"
        report.error(problem, row.origin.download, str(root / row.images))
    return [
        Sample(image, semantic=mask) if semantic else Sample(image, instances=mask)
        for image, mask in pairs.both.values()
    ]


def _of_index(
    row: DatasetSplit, vocabulary: Vocabulary, root: Path, report: Report
) -> list[Sample]:
    json_file = root / row.episodes_json
    entries = read_index(json_file, row.origin.repair)
    report.images = len(entries)
    classes = class_of_category(row, vocabulary)
    if not any(classes.keys() & entry.pixels.keys() for entry in entries):
        problem = f"no image has one of the {len(classes)} classes"
        report.error(problem, row.origin.repair, str(json_file))
    return [
        Sample(
            root / entry.image,
            (entry.height, entry.width),
            semantic=root / entry.labels,
            pixels=entry.pixels,
        )
        for entry in entries
    ]


def _of_panoptic(
    row: DatasetSplit,
    content: Mapping[str, Any],
    classes: Mapping[int, int],
    root: Path,
    report: Report,
) -> list[Sample]:
    json_file = root / row.panoptic_json
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
        segments = tuple(annotation.get("segments_info") or ())
        check_segments(segments, classes, where, row, report)
        semantic = root / row.semantic_masks if row.semantic_masks else None
        samples.append(
            Sample(
                root / row.images / row.image_file(images[key]),
                (images[key]["height"], images[key]["width"]),
                panoptic=root / row.panoptic_masks / annotation["file_name"],
                semantic=semantic / row.semantic_file(annotation) if semantic else None,
                segments=segments,
            )
        )
    for key in images.keys() - seen:
        report.error("an image has no annotation", row.origin.repair, f"{json_file}: image {key}")
    return samples


def _of_instances(
    row: DatasetSplit,
    content: Mapping[str, Any],
    classes: Mapping[int, int],
    root: Path,
    report: Report,
) -> list[Sample]:
    json_file = root / row.instance_json
    images = images_by_id(content, json_file, row, report)
    for annotation in content["annotations"]:
        where = f"{json_file}: annotation {annotation.get('id')}"
        image = images.get(annotation.get("image_id"))
        if image is None:
            report.error("an annotation has an unknown image_id", row.origin.repair, where)
            continue
        try:
            read = read_object(annotation, classes, where)
        except ValueError as error:
            problem = f"an object is not usable{row.origin.mistake}"
            report.error(problem, row.origin.repair, str(error))
        else:
            check_object(read, image, where, row, report)
    if not content["annotations"]:
        return []
    return [
        Sample(root / row.images / row.image_file(image), (image["height"], image["width"]))
        for image in images.values()
    ]


def _with_files(
    row: DatasetSplit, samples: list[Sample], root: Path, report: Report
) -> list[Sample]:
    """The samples without a missing file; every missing one is reported."""
    present: dict[Path, set[str]] = {}
    kinds: tuple[tuple[str, str, Callable[[Sample], Path | None], str], ...] = (
        ("image", row.images, lambda sample: sample.image, row.origin.download),
        ("panoptic map", row.panoptic_masks, lambda sample: sample.panoptic, row.origin.completion),
        ("label map", row.semantic_masks, lambda sample: sample.semantic, row.origin.completion),
    )
    complete = dict.fromkeys(range(len(samples)))
    for what, folder, file_of, remedy in kinds:
        for number, sample in enumerate(samples):
            path = file_of(sample)
            if path is None:
                continue
            if path.parent not in present:
                present[path.parent] = _names_in(path.parent)
            if path.name not in present[path.parent]:
                problem = f"the {what} of an annotation is missing"
                if row.kind == "lvis":
                    problem += " (LVIS uses images of both train2017 and val2017)"
                report.error(problem, remedy, str(path))
                complete.pop(number, None)
        _report_strays(row, root, folder, what, (file_of(s) for s in samples), report)
    return [samples[number] for number in complete]


def _report_strays(
    row: DatasetSplit,
    root: Path,
    folder: str,
    what: str,
    expected: Iterable[Path | None],
    report: Report,
) -> None:
    """Warns of maps that no annotation names; folders that other datasets share are left out."""
    if what != "panoptic map" or not folder:
        return
    known = set(expected)
    for name, path in walk_files(root / folder):
        if name.endswith(".png") and path not in known:
            report.warning(f"a {what} belongs to no annotation", row.origin.repair, str(path))


def _has_bytes(sample: Sample, row: DatasetSplit, report: Report) -> bool:
    """Whether no file of a sample is empty, as an interrupted download or a full disk leaves it."""
    empty = [path for path in sample.files() if not path.stat().st_size]
    for path in empty:
        order = row.origin.download if path == sample.image else row.origin.completion
        report.error("a file is empty", row.origin.redo(order), str(path))
    return not empty


def _names_in(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()


def images_by_id(
    content: Mapping[str, Any], json_file: Path, row: DatasetSplit, report: Report
) -> dict[Any, Mapping[str, Any]]:
    """The usable entries of `images` by their id."""
    images = {}
    needed = ("id", "height", "width", "coco_url" if row.kind == "lvis" else "file_name")
    for image in content["images"]:
        missing = [key for key in needed if key not in image]
        if missing or image["id"] in images:
            problem = "an entry of images has no id, size or file, or the id of another one"
            report.error(problem, row.origin.repair, f"{json_file}: image {image.get('id')}")
            continue
        images[image["id"]] = image
    return images


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
        numbers = (segment.get(name) for name in SEGMENT_NUMBERS)
        if not all(isinstance(number, (int, float)) for number in numbers):
            problem = f"a segment lacks one of its numbers {', '.join(SEGMENT_NUMBERS)}"
            report.error(problem, row.origin.repair, here)
        elif segment["category_id"] not in classes:
            problem = f"a category id is not one of the {len(classes)} classes{row.origin.mistake}"
            report.error(
                problem, row.origin.repair, f"{here}: category id {segment['category_id']}"
            )
        elif ids[segment["id"]] > 1 or segment["id"] == 0:
            report.error("a segment id is 0 or occurs twice", row.origin.repair, here)


def check_object(
    read: Mapping[str, Any] | None,
    image: Mapping[str, Any],
    where: str,
    row: DatasetSplit,
    report: Report,
) -> None:
    """Checks box and mask of an object as `read_object` gives it against its image."""
    if read is None:
        report.warning("an object has no valid polygon and is left out", row.origin.repair, where)
        return
    x, y, width, height = read["bbox"]
    outside = x < -1 or y < -1 or x + width > image["width"] + 1 or y + height > image["height"] + 1
    if outside or width < 0 or height < 0:
        report.warning(
            "a box reaches out of its image", row.origin.repair, f"{where}: {read['bbox']}"
        )
    segmentation = read["segmentation"]
    size = (image["height"], image["width"])
    if isinstance(segmentation, dict) and tuple(segmentation["size"]) != size:
        problem = "the mask of an object has another size than its image"
        report.error(
            problem, row.origin.repair, f"{where}: {segmentation['size']}, image {list(size)}"
        )


def check_categories(
    content: Mapping[str, Any],
    vocabulary: Vocabulary,
    classes: Mapping[int, int],
    json_file: Path,
    row: DatasetSplit,
    report: Report,
) -> None:
    """Compares the file's `categories` with the classes: things and stuff must agree."""
    things = vocabulary.thing_mask
    for category in content.get("categories", ()):
        index = classes.get(category.get("id"))
        if index is not None and bool(category.get("isthing", things[index])) != things[index]:
            problem = "the annotation file and the class list differ in what is a thing"
            report.warning(problem, row.origin.repair, f"{json_file}: {category.get('name')}")
