"""What belongs to one image of a split, as its annotation files and folders say.

`frozenseg.data.records` reads the samples of a split and makes detectron2's records of them;
`frozenseg.data.verify` reads the same samples and looks at their files. What is wrong goes into a
`Report` either way: loading raises its first error, verifying prints all.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from frozenseg.data.catalog.split import DatasetSplit
from frozenseg.data.findings import Report
from frozenseg.data.image_mask_pairs import find_pairs
from frozenseg.vocab import Vocabulary


@dataclass(frozen=True)
class Sample:
    """One image and what belongs to it; None where the dataset has no such thing.

    Attributes:
        image: its file.
        image_id: as in the annotation file, or the name of the file without its suffix.
        size: (height, width) that the annotation file gives.
        panoptic, semantic, instances: masks.
        segments: `segments_info` of the panoptic annotation.
        objects: of an instance annotation file, with class indices.
        pixels: of every class in the label map, as the index of episodes has them.
        lists: further entries of a record (LVIS' lists of categories).
    """

    image: Path
    image_id: Any = None
    size: tuple[int, int] | None = None
    panoptic: Path | None = None
    semantic: Path | None = None
    instances: Path | None = None
    segments: tuple[dict[str, Any], ...] = ()
    objects: list[dict[str, Any]] | None = None
    pixels: dict[int, int] | None = None
    lists: dict[str, Any] = field(default_factory=dict)

    def files(self) -> Iterable[Path]:
        """All files of the sample."""
        return (f for f in (self.image, self.panoptic, self.semantic, self.instances) if f)


def pair_samples(
    row: DatasetSplit, _vocabulary: Vocabulary, root: Path, report: Report
) -> list[Sample]:
    """Images with a mask of the same name.

    An image or mask without its partner is an error: left out silently, it would change the scores.
    Raises: FileNotFoundError for a missing folder.
    """
    semantic = row.kind == "semantic"
    folder = root / (row.semantic_masks if semantic else row.instance_masks)
    suffix = row.semantic_suffix if semantic else row.instance_suffix
    try:
        pairs = find_pairs(root / row.images, row.image_suffix, folder, suffix)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error}; {row.origin.remedy}") from None
    for path in pairs.images_only:
        report.error("an image has no mask", row.origin.completion, path, FileNotFoundError)
    for path in pairs.masks_only:
        report.error("a mask has no image", row.origin.download, path, FileNotFoundError)
    report.images = len(pairs.both) + len(pairs.images_only)
    if not report.images:
        problem = f"the folder has no image *{row.image_suffix}"
        report.error(problem, row.origin.download, root / row.images)
    return [
        Sample(
            image,
            key,
            semantic=mask if semantic else None,
            instances=None if semantic else mask,
        )
        for key, (image, mask) in pairs.both.items()
    ]


def images_by_id(
    content: Mapping[str, Any], json_file: Path, row: DatasetSplit, report: Report
) -> dict[Any, Mapping[str, Any]]:
    """The usable entries of an annotation file's `images` by their id."""
    images: dict[Any, Mapping[str, Any]] = {}
    needed = ("id", "height", "width", "coco_url" if row.kind == "lvis" else "file_name")
    for image in content["images"]:
        missing = [key for key in needed if key not in image]
        if missing or image["id"] in images:
            problem = "an entry of images has no id, size or file, or the id of another one"
            where = f"{json_file}: image {image.get('id')}"
            where += f" has no {', '.join(missing)}" if missing else " is there twice"
            report.error(problem, row.origin.repair, where)
            continue
        images[image["id"]] = image
    return images


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
