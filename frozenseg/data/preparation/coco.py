"""COCO: semantic masks from the panoptic annotations, and COCO-Stuff 164k with contiguous labels.

Panoptic: category ids 1..200 with gaps become 0..132, pixels of no segment 255. Crowds have a class
too, so their pixels count in semantic masks. COCO-Stuff (stuffthingmaps): the value of a pixel is
the label id minus 1, 0..181 with 11 gaps, and becomes 0..170; 255 stays.
Legend: H and W pixels.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from frozenseg.data.catalog.downloads import DOWNLOADS
from frozenseg.data.preparation.labels import IGNORED_8, LabelTable, prepare_folders
from frozenseg.data.preparation.prepared_files import is_complete, write_mask
from frozenseg.data.preparation.raw_files import AGAIN, Source, empty_annotation, read_raw
from frozenseg.data.preparation.work import Done, Preparation
from frozenseg.data.reading import ids_of_rgb
from frozenseg.data.schemas import PanopticFile, read_annotations
from frozenseg.vocab import Vocabulary

COCO = Source("COCO panoptic", DOWNLOADS["COCO"].page, "COCO")
STUFF = Source("COCO-Stuff 164k", "https://github.com/nightrome/cocostuff", "COCO-Stuff")


class SemanticJob(NamedTuple):
    """A panoptic PNG, the size that the JSON gives, class index by segment id, and the mask."""

    png: Path
    size: tuple[int, int]
    classes: dict[int, int]
    mask: Path


def prepare_coco_semantic(preparation: Preparation) -> None:
    """Makes coco/panoptic_semseg_<split>2017/*.png."""
    index, masks = "coco/annotations/panoptic_{split}2017.json", "coco/panoptic_{split}2017/"
    preparation.require(COCO, index, masks)
    convert = partial(convert_semantic, **preparation.choices)
    for split in preparation.splits:
        jobs = _semantic_jobs(preparation.root / "coco", split)
        preparation.convert(f"COCO semantic {split}", convert, jobs)


def _semantic_jobs(folder: Path, split: str) -> list[SemanticJob]:
    path = folder / "annotations" / f"panoptic_{split}2017.json"
    content = read_annotations(path, PanopticFile, AGAIN, AGAIN)
    classes = {
        item.dataset_id: index
        for index, item in enumerate(Vocabulary.from_table("coco_panoptic").classes)
    }
    try:
        sizes = {image["id"]: (image["height"], image["width"]) for image in content.images}
        jobs = [
            SemanticJob(
                folder / f"panoptic_{split}2017" / annotation["file_name"],
                sizes[annotation["image_id"]],
                {s["id"]: classes[s["category_id"]] for s in annotation["segments_info"]},
                folder / f"panoptic_semseg_{split}2017" / annotation["file_name"],
            )
            for annotation in content.annotations
        ]
    except KeyError as error:
        raise ValueError(
            f"{path}: an annotation refers to {error}, which is not an image or category of COCO "
            f"panoptic; {AGAIN}"
        ) from error
    if not jobs:
        raise ValueError(f"{path}: has no annotations; {AGAIN}")
    return jobs


def convert_semantic(
    job: SemanticJob, *, overwrite: bool = False, allow_empty: bool = False
) -> Done:
    """Writes the semantic mask of a panoptic PNG, unless it is there."""
    if not overwrite and is_complete(job.mask):
        return Done(made=False)
    ids_HW = ids_of_rgb(read_raw(job.png, ("RGB",)))
    if ids_HW.shape != job.size:
        raise ValueError(
            f"{job.png}: is {ids_HW.shape[1]}x{ids_HW.shape[0]} but its image is {job.size[1]}x"
            f"{job.size[0]} (width x height) by the JSON; {AGAIN}"
        )
    ids_S, ranks = np.unique(ids_HW, return_inverse=True)
    unknown = sorted(set(ids_S.tolist()) - {0, *job.classes})
    if unknown:
        raise ValueError(
            f"{job.png}: has segments {unknown} that the JSON does not describe: the two do not "
            f"belong together; {AGAIN}"
        )
    if not job.classes and not allow_empty:
        raise empty_annotation(job.png)
    classes_S = np.array([job.classes.get(identity, IGNORED_8) for identity in ids_S.tolist()])
    write_mask(job.mask, classes_S.astype(np.uint8)[ranks].reshape(ids_HW.shape))
    return Done(made=True)


def prepare_coco_stuff(preparation: Preparation) -> None:
    """Makes coco/stuffthingmaps_detectron2/<split>2017/*.png."""
    images, labels = "coco/{split}2017", "coco/stuffthingmaps/{split}2017"
    preparation.require(STUFF, f"{images}/", f"{labels}/")
    made = "coco/stuffthingmaps_detectron2/{split}2017"
    prepare_folders(preparation, "COCO-Stuff", images, labels, made, stuff_table())


def stuff_table() -> LabelTable:
    """The value of a pixel is the label id minus 1; 255 is unlabelled."""
    ids = Vocabulary.from_table("coco_stuff_171").dataset_ids
    classes = {value - 1: index for index, value in enumerate(ids) if value is not None}
    return LabelTable.of(classes, [255], "COCO-Stuff has 255 and 171 values of 0 to 181")
