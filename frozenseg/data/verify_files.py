"""Which files a data set should have, and whether they are there; nothing but JSON is read.

Every function gives the samples of one kind of ground truth and adds to the report what is wrong.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from frozenseg.data.benchmark import Benchmark
from frozenseg.data.catalog import class_of_category
from frozenseg.data.coco_instances import read_object
from frozenseg.data.coco_panoptic import read_annotation_file
from frozenseg.data.episodes import read_index
from frozenseg.data.findings import Report
from frozenseg.data.label_folder import find_pairs, walk_files
from frozenseg.data.verify_json import (
    check_categories,
    check_object,
    check_segments,
    images_by_id,
)
from frozenseg.data.verify_maps import Sample
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


def check_paths(row: Benchmark, root: Path, report: Report) -> bool:
    """Whether all files and folders of a row are there."""
    needed = list(row.paths())
    missing = [(what, path) for what, path in needed if not (root / path).exists()]
    make = row.remedy if len(missing) == len(needed) else row.completion
    for what, path in missing:
        order = row.download if what == "images" and not row.images_made else make
        report.error(f"the {WHAT[what]} is missing", order, str(root / path))
    return not missing


def list_samples(
    row: Benchmark, vocabulary: Vocabulary, root: Path, report: Report
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
    content = read_annotation_file(json_file, row.repair, row.kind)
    classes = class_of_category(row, vocabulary)
    check_categories(content, vocabulary, classes, json_file, row, report)
    make = _of_panoptic if masks else _of_instances
    samples = make(row, content, classes, root, report)
    report.images = len(samples)
    if not samples:
        report.error("the annotation file has no annotations", row.repair, str(json_file))
    complete = _with_files(row, samples, root, report)
    return [sample for sample in complete if _has_bytes(sample, row, report)]


def _of_pairs(row: Benchmark, root: Path, report: Report) -> list[Sample]:
    semantic = row.kind == "semantic"
    folder = root / (row.semantic_masks if semantic else row.instance_masks)
    suffix = row.semantic_suffix if semantic else row.instance_suffix
    pairs = find_pairs(root / row.images, row.image_suffix, folder, suffix)
    for path in pairs.images_only:
        report.error("an image has no mask", row.completion, str(path))
    for path in pairs.masks_only:
        report.error("a mask has no image", row.download, str(path))
    report.images = len(pairs.both) + len(pairs.images_only)
    if not report.images:
        problem = f"the folder has no image *{row.image_suffix}"
        report.error(problem, row.download, str(root / row.images))
    return [
        Sample(image, semantic=mask) if semantic else Sample(image, instances=mask)
        for image, mask in pairs.both.values()
    ]


def _of_index(row: Benchmark, vocabulary: Vocabulary, root: Path, report: Report) -> list[Sample]:
    json_file = root / row.episodes_json
    entries = read_index(json_file, row.repair)
    report.images = len(entries)
    classes = class_of_category(row, vocabulary)
    if not any(classes.keys() & entry.pixels.keys() for entry in entries):
        problem = f"no image has one of the {len(classes)} classes"
        report.error(problem, row.repair, str(json_file))
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
    row: Benchmark,
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
            report.error(problem, row.repair, where)
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
        report.error("an image has no annotation", row.repair, f"{json_file}: image {key}")
    return samples


def _of_instances(
    row: Benchmark,
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
            report.error("an annotation has an unknown image_id", row.repair, where)
            continue
        try:
            read = read_object(annotation, classes, where)
        except ValueError as error:
            problem = f"an object is not usable{f': {row.trap}' if row.trap else ''}"
            report.error(problem, row.repair, str(error))
        else:
            check_object(read, image, where, row, report)
    if not content["annotations"]:
        return []
    return [
        Sample(root / row.images / row.image_file(image), (image["height"], image["width"]))
        for image in images.values()
    ]


def _with_files(row: Benchmark, samples: list[Sample], root: Path, report: Report) -> list[Sample]:
    """The samples without a missing file; every missing one is reported."""
    present: dict[Path, set[str]] = {}
    kinds: tuple[tuple[str, str, Callable[[Sample], Path | None], str], ...] = (
        ("image", row.images, lambda sample: sample.image, row.download),
        ("panoptic map", row.panoptic_masks, lambda sample: sample.panoptic, row.completion),
        ("label map", row.semantic_masks, lambda sample: sample.semantic, row.completion),
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
    row: Benchmark,
    root: Path,
    folder: str,
    what: str,
    expected: Iterable[Path | None],
    report: Report,
) -> None:
    """Warns of maps that no annotation names; folders that other data sets share are left out."""
    if what != "panoptic map" or not folder:
        return
    known = set(expected)
    for name, path in walk_files(root / folder):
        if name.endswith(".png") and path not in known:
            report.warning(f"a {what} belongs to no annotation", row.repair, str(path))


def _has_bytes(sample: Sample, row: Benchmark, report: Report) -> bool:
    """Whether no file of a sample is empty, as an interrupted download or a full disk leaves it."""
    empty = [path for path in sample.files() if not path.stat().st_size]
    for path in empty:
        order = row.download if path == sample.image else row.completion
        report.error("a file is empty", row.redo(order), str(path))
    return not empty


def _names_in(folder: Path) -> set[str]:
    return {entry.name for entry in folder.iterdir()} if folder.is_dir() else set()
