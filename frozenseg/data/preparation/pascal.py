"""PASCAL: VOC 2012 with 20 and 21 classes, and PASCAL Context with 59 and 459 classes.

VOC: SegmentationClass/*.png are palette PNGs, 0 background, 1..20 the classes, 255 the border that
is not scored. pascal21 keeps them; in pascal20 the background is 255 too and class k is k - 1.

Context: the annotations of the 10,103 images of VOC 2010 (trainval/*.mat, `LabelMap`: 0 unlabelled,
1..459 as labels.txt has them). ctx459 is 16 bits, 0..458 with 65535 ignored; ctx59 has the classes
of 59_labels.txt in alphabetical order, found by their names, all else is 255. (The published
ctx59 scores are on the masks of trainval_merged.json, made from the same annotations.)
Legend: H and W pixels.
"""

from __future__ import annotations

import re
from pathlib import Path

from frozenseg.data.catalog.downloads import DOWNLOADS
from frozenseg.data.catalog.split import FOLDERS
from frozenseg.data.preparation.label_map import read_label_map
from frozenseg.data.preparation.labels import IGNORED_16, LabelJob, LabelTable, prepare_labels
from frozenseg.data.preparation.raw_files import (
    AGAIN,
    Source,
    listed_stems,
    read_labels,
)
from frozenseg.data.preparation.work import Preparation
from frozenseg.vocab import Vocabulary

VOC = Source("PASCAL VOC 2012", DOWNLOADS["Pascal VOC"].page, "Pascal VOC")
CONTEXT = Source("PASCAL Context", DOWNLOADS["Pascal Context"].page, "Pascal Context")
CONTEXT_CLASSES = 459
_VOC_VALUES = "VOC has 0 (background), 1 to 20 and 255 (border)"


def prepare_pascal_voc(preparation: Preparation) -> None:
    """Makes pascal_voc_d2/: images, annotations_pascal21, annotations_pascal20."""
    raw, made = "VOCdevkit/VOC2012", preparation.root / "pascal_voc_d2"
    lists = f"{raw}/ImageSets/Segmentation/{{split}}.txt"
    preparation.require(VOC, f"{raw}/JPEGImages/", f"{raw}/SegmentationClass/", lists)
    all_21 = LabelTable.of({k: k for k in range(21)}, [255], _VOC_VALUES)
    objects = LabelTable.of({k: k - 1 for k in range(1, 21)}, [0, 255], _VOC_VALUES)
    for split in preparation.splits:
        name = FOLDERS[split]
        jobs = [
            LabelJob(
                preparation.root / raw / "JPEGImages" / f"{stem}.jpg",
                preparation.root / raw / "SegmentationClass" / f"{stem}.png",
                tuple(made / f"annotations_pascal{n}" / name / f"{stem}.png" for n in (21, 20)),
                made / "images" / name / f"{stem}.jpg",
            )
            for stem in listed_stems(preparation.path(lists, split))
        ]
        title = f"PASCAL VOC {split}"
        prepare_labels(preparation, title, jobs, read_labels, [all_21, objects], objects)


def prepare_pascal_context(preparation: Preparation, classes: tuple[int, ...] = (59, 459)) -> None:
    """Makes pascal_ctx_d2/: images and annotations_ctx59, annotations_ctx459 as `classes` say."""
    raw, made = "VOCdevkit/VOC2010", preparation.root / "pascal_ctx_d2"
    lists = f"{raw}/ImageSets/Main/{{split}}.txt"
    folders = f"{raw}/JPEGImages/", f"{raw}/trainval/", f"{raw}/labels.txt"
    preparation.require(CONTEXT, *folders, lists)
    tables = context_tables(preparation.root / raw)
    suffixes = {59: ".png", 459: ".tif"}
    for split in preparation.splits:
        name = FOLDERS[split]
        jobs = [
            LabelJob(
                preparation.root / raw / "JPEGImages" / f"{stem}.jpg",
                preparation.root / raw / "trainval" / f"{stem}.mat",
                tuple(
                    made / f"annotations_ctx{n}" / name / f"{stem}{suffixes[n]}" for n in classes
                ),
                made / "images" / name / f"{stem}.jpg",
            )
            for stem in listed_stems(preparation.path(lists, split))
        ]
        chosen = [tables[n] for n in classes]
        title = f"PASCAL Context {split}"
        prepare_labels(preparation, title, jobs, read_label_map, chosen, tables[CONTEXT_CLASSES])


def context_tables(folder: Path) -> dict[int, LabelTable]:
    """The tables of 59 and 459 classes; the names in `folder` say which of the 459 are the 59."""
    path = folder / "labels.txt"
    names = read_names(path)
    if set(names) != set(range(1, CONTEXT_CLASSES + 1)):
        raise ValueError(
            f"{path}: has {len(names)} names; lines '1: accordion' to '{CONTEXT_CLASSES}: ...' are "
            f"expected; get it from {CONTEXT.page}"
        )
    ids = {name: value for value, name in names.items()}
    frequent = [item.official for item in Vocabulary.from_table("pascal_context_59").classes]
    _check_frequent_names(folder / "59_labels.txt", frequent)
    missing = [name for name in frequent if name not in ids]
    if missing:
        raise ValueError(f"{path}: lacks the names {missing} of the 59; get it from {CONTEXT.page}")
    classes = {ids[name]: index for index, name in enumerate(frequent)}
    others = [value for value in range(CONTEXT_CLASSES + 1) if value not in classes]
    every = {value: value - 1 for value in names}
    meaning = f"PASCAL Context has 0 (unlabelled) and 1 to {CONTEXT_CLASSES}"
    return {
        59: LabelTable.of(classes, others, meaning),
        CONTEXT_CLASSES: LabelTable.of(every, [0], meaning, ignored=IGNORED_16),
    }


def read_names(path: Path) -> dict[int, str]:
    """Names by id of a list with lines "17: name". Raises: ValueError for any other line."""
    names: dict[int, str] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        match = re.fullmatch(r"\s*(\d+)\s*:\s*(\S.*?)\s*", line)
        if match:
            names[int(match[1])] = match[2]
        elif line.strip():
            raise ValueError(f"{path}:{number}: {line!r} is not of the form '17: name'; {AGAIN}")
    return names


def _check_frequent_names(path: Path, expected: list[str]) -> None:
    """Raises ValueError if the list of the 59 is there and has other names than the class table."""
    if not path.is_file():
        return
    found = set(read_names(path).values()) - {"background"}
    if found != set(expected):
        raise ValueError(
            f"{path}: has {sorted(found - set(expected))}, lacks {sorted(set(expected) - found)}; "
            f"get it from {CONTEXT.page}, or delete it: it is read only to be compared"
        )
