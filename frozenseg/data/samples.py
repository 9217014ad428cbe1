"""What belongs to one image of a split, as its annotation files and folders say.

`frozenseg.data.records` reads the samples of a split and makes detectron2's records of them;
`frozenseg.data.verify` reads the same samples and looks at their files. What is wrong goes into a
`Report` either way: loading raises its first error, verifying prints all.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from frozenseg.data.catalog.split import DatasetSplit
from frozenseg.data.findings import Report
from frozenseg.data.image_lists import listed
from frozenseg.data.image_mask_pairs import Pairs, find_pairs, key_of, other_suffixes
from frozenseg.data.object_masks import MAX_PIXELS
from frozenseg.data.schemas import CategoryEntry, Id, ImageEntry, SegmentEntry
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
    segments: Sequence[SegmentEntry] = ()
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
    if row.image_list:
        pairs = _listed_pairs(pairs, row, root, report)
    keys = [key_of(path, root / row.images, row.image_suffix) for path in pairs.images_only]
    own = not row.origin.readme_section  # a benchmark's files have their names from its command
    order = (own and _suffix_hint("semantic_suffix", folder, keys)) or row.origin.completion
    for path in pairs.images_only:
        report.error("an image has no mask", order, path, FileNotFoundError)
    keys = [key_of(path, folder, suffix) for path in pairs.masks_only]
    order = (own and _suffix_hint("image_suffix", root / row.images, keys)) or row.origin.download
    for path in pairs.masks_only:
        report.error("a mask has no image", order, path, FileNotFoundError)
    report.images = len(pairs.both) + len(pairs.images_only)
    if not report.images and not row.image_list:
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


def _listed_pairs(pairs: Pairs, row: DatasetSplit, root: Path, report: Report) -> Pairs:
    """The images of the row's list; masks of others are nobody's business."""
    folder = root / row.images
    images = [*(image for image, _ in pairs.both.values()), *pairs.images_only]
    name_of = {path: path.relative_to(folder).as_posix() for path in images}
    chosen = listed(name_of.values(), row, root, report)
    both = {key: pair for key, pair in pairs.both.items() if name_of[pair[0]] in chosen}
    alone = tuple(path for path in pairs.images_only if name_of[path] in chosen)
    return Pairs(both, alone, ())


def _suffix_hint(key: str, folder: Path, wanted: Sequence[str]) -> str:
    """The order to set a suffix, if files of the names lie in the folder with another one."""
    (suffix, number), *_ = [*other_suffixes(folder, wanted).most_common(1), ("", 0)]
    order = f"{number} file{'s'[: number > 1]} *{suffix} in {folder}: set {key}: {suffix}"
    if key == "semantic_suffix" and suffix.lower() in (".jpg", ".jpeg"):
        order = f"{number} files *{suffix} in {folder}: JPEG changes labels: make them again as PNG"
    return order if number else ""


def images_by_id(
    entries: Sequence[ImageEntry], json_file: Path, row: DatasetSplit, report: Report
) -> dict[Id, ImageEntry]:
    """The usable entries of an annotation file's `images` by their id."""
    images: dict[Id, ImageEntry] = {}
    for image in entries:
        key = image["id"]
        if row.city_folders and not isinstance(key, str):
            problem = "is no name"
        elif not row.city_folders and not image.get(
            "coco_url" if row.kind == "lvis" else "file_name"
        ):
            problem = f"has no {'coco_url' if row.kind == 'lvis' else 'file_name'}"
        elif key in images:
            problem = "is there twice"
        elif image["height"] * image["width"] > MAX_PIXELS:
            problem = f"has {image['height']} x {image['width']} pixels"
        else:
            images[key] = image
            continue
        kind = "an entry of images has no file, an impossible size, or the id of another one"
        report.error(kind, row.origin.repair, f"{json_file}: image {key} {problem}")
    return images


def report_repeated(
    entries: Iterable[Mapping[str, Any]],
    what: str,
    json_file: Path,
    say: Callable[..., None],
    remedy: str,
) -> None:
    """Says which ids more than one of the entries has."""
    counts = Counter(entry["id"] for entry in entries if "id" in entry)
    for key, number in counts.items() if len(counts) < sum(counts.values()) else ():
        if number > 1:
            say(f"two entries of {what} have one id", remedy, f"{json_file}: id {key}")


def check_categories(
    categories: Sequence[CategoryEntry],
    vocabulary: Vocabulary,
    classes: Mapping[int, int],
    json_file: Path,
    row: DatasetSplit,
    report: Report,
) -> None:
    """Compares the file's `categories` with the classes: things and stuff must agree.

    Of a dataset of one's own, whose classes they are, also what is strange about them.
    """
    things = vocabulary.thing_mask
    report_repeated(categories, "categories", json_file, report.error, row.origin.repair)
    for category in categories:
        index, isthing = classes.get(category["id"]), category.get("isthing")
        if index is not None and isthing is not None and bool(isthing) != things[index]:
            problem = "the annotation file and the class list differ in what is a thing"
            report.warning(problem, row.origin.repair, f"{json_file}: {category['name']}")
    if row.origin.readme_section or row.vocabulary_file not in (
        row.panoptic_json,
        row.instance_json,
    ):
        return
    names = Counter(category["name"].strip().casefold() for category in categories)
    for name, number in names.items():
        if number > 1:
            problem = "two categories have one name: its words find only the first of them"
            report.warning(problem, "rename or join them", f"{json_file}: {name}")
    for category in categories if row.panoptic_json else ():
        if category.get("isthing") is None:
            problem = "a category has no isthing and counts as a thing: it is left out of the "
            problem += "scores of stuff and, with every of its segments an object, gets an AP"
            report.warning(problem, "add isthing, 1 or 0", f"{json_file}: {category['name']}")
