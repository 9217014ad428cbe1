"""Panoptic annotations: segments of an id map, and the files of COCO's panoptic format.

Format: https://cocodataset.org/#format-data, section 4. The segments of an image are kept in its
PNG too (a text chunk, which readers of pixels pass over), so that mask and description belong
together and a second run need not look at the pixels again.
Legend: H and W pixels, S segments.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from frozenseg.data.preparation.prepared_files import text_in, write_mask
from frozenseg.data.preparation.raw_files import check_sizes, empty_annotation, paired_stems
from frozenseg.data.preparation.work import Done, Preparation
from frozenseg.data.reading import rgb_of_ids
from frozenseg.vocab import Vocabulary

_TEXT_KEY = "frozenseg segments 1"


class Kind(NamedTuple):
    """What a segment is: its category id, and whether it is a crowd."""

    category: int
    crowd: bool = False


class PanopticJob(NamedTuple):
    """One image, its published annotations, the PNG to make, and its id and name in the JSON."""

    image: Path
    annotations: tuple[Path, ...]
    target: Path
    image_id: str
    file_name: str


# Published annotations -> segment ids (H, W), 0 where nothing is labelled, and their kinds.
Decode = Callable[[PanopticJob], tuple[NDArray[np.integer[Any]], Mapping[int, Kind]]]


def boxes_and_areas(ids_HW: NDArray[np.integer[Any]]) -> list[tuple[int, list[int], int]]:
    """(id, bbox [x, y, width, height], area) of every id but 0, in the order of the ids."""
    ids_S, ranks, areas_S = np.unique(ids_HW, return_inverse=True, return_counts=True)
    boxes = ndimage.find_objects(ranks.reshape(ids_HW.shape) + 1)
    found = []
    for identity, (rows, columns), area in zip(ids_S, boxes, areas_S, strict=True):
        if identity:
            box = [columns.start, rows.start, columns.stop - columns.start, rows.stop - rows.start]
            found.append((int(identity), box, int(area)))
    return found


def describe_segments(
    ids_HW: NDArray[np.integer[Any]], kinds: Mapping[int, Kind]
) -> list[dict[str, Any]]:
    """The `segments_info` of an id map: areas and boxes of the pixels that each id really has."""
    return [
        {
            "id": identity,
            "category_id": kinds[identity].category,
            "area": area,
            "bbox": box,
            "iscrowd": int(kinds[identity].crowd),
        }
        for identity, box, area in boxes_and_areas(ids_HW)
    ]


def convert_panoptic(
    job: PanopticJob, *, decode: Decode, overwrite: bool = False, allow_empty: bool = False
) -> Done:
    """Writes the PNG of an image unless it is there; the value has its size and segments."""
    kept = "" if overwrite else text_in(job.target, _TEXT_KEY)
    if kept and ((described := json.loads(kept))["segments"] or allow_empty):
        return Done(made=False, value=described)
    ids_HW, kinds = decode(job)
    check_sizes(job.annotations[0], ids_HW, job.image)
    segments = describe_segments(ids_HW, kinds)
    if not segments and not allow_empty:
        raise empty_annotation(job.annotations[0])
    height, width = ids_HW.shape
    described = {"height": height, "width": width, "segments": segments}
    write_mask(job.target, rgb_of_ids(ids_HW), {_TEXT_KEY: json.dumps(described)})
    return Done(made=True, value=described)


def prepare_panoptic(
    preparation: Preparation,
    title: str,
    jobs: Sequence[PanopticJob],
    decode: Decode,
    categories: list[dict[str, Any]],
) -> None:
    """Makes the PNGs of a split, all in one folder, and then the JSON file of the folder's name."""

    def content(values: list[Any]) -> dict[str, Any]:
        images, annotations = [], []
        for job, value in zip(jobs, values, strict=True):
            images.append(image_entry(job.image_id, job.file_name, value))
            segments = {"file_name": job.target.name, "segments_info": value["segments"]}
            annotations.append({"image_id": job.image_id, **segments})
        return {"images": images, "annotations": annotations, "categories": categories}

    convert = partial(convert_panoptic, decode=decode, **preparation.choices)
    index = jobs[0].target.parent.with_suffix(".json")
    preparation.write_index(index, content, title, convert, jobs)


def prepare_panoptic_folders(
    preparation: Preparation,
    title: str,
    images: str,
    annotations: Sequence[str],
    made: str,
    decode: Decode,
    categories: list[dict[str, Any]],
) -> None:
    """`prepare_panoptic` for every split of folders (see `Preparation.path`) of .jpg and .png whose
    names agree.
    """
    for split in preparation.splits:
        image, target, *given = (preparation.path(p, split) for p in (images, made, *annotations))
        jobs = [
            PanopticJob(
                image / f"{stem}.jpg",
                tuple(folder / f"{stem}.png" for folder in given),
                target / f"{stem}.png",
                stem,
                f"{stem}.jpg",
            )
            for stem in paired_stems(image, given[0])
        ]
        prepare_panoptic(preparation, f"{title} {split}", jobs, decode, categories)


def image_entry(image_id: str, file_name: str, value: Mapping[str, Any]) -> dict[str, Any]:
    """An entry of `images`."""
    size = {"height": value["height"], "width": value["width"]}
    return {"id": image_id, "file_name": file_name, **size}


def categories_of(table: str, *, things_only: bool = False) -> list[dict[str, Any]]:
    """The `categories` of a built-in class table."""
    return [
        {
            "id": item.dataset_id,
            "name": item.official,
            "isthing": int(bool(item.is_thing)),
            "color": list(item.color),
        }
        for item in Vocabulary.from_table(table).classes
        if item.is_thing or not things_only
    ]
