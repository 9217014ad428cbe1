"""Segmentations of many images in COCO's formats: panoptic, instance and semantic.

Formats: https://cocodataset.org/#format-data (sections 2 to 4). Category ids are
`Vocabulary.category_ids`, as in every file of results.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from frozenseg.data.coco_writing import (
    category_entries,
    encode_mask,
    write_label_map,
    write_segment_ids,
)
from frozenseg.data.image_files import writable_stem
from frozenseg.data.schemas import ImageNames
from frozenseg.files import read_typed, write_text
from frozenseg.predict.converters import below_common_folder
from frozenseg.predict.segmented_image import SegmentedImage

# Which results a format can be made of, the usual one first.
KINDS = {
    "panoptic": ("panoptic",),
    "instance": ("instance", "panoptic"),
    "semantic": ("semantic", "panoptic"),
}


def save_coco(
    segmentations: SegmentedImage | Iterable[SegmentedImage],
    folder: str | Path,
    kind: str = "",
    *,
    dataset: str | Path | None = None,
) -> Path:
    """Writes KIND.json into a folder and, panoptic and semantic, PNGs into its subfolder KIND.

    panoptic: PNGs of segment ids (R + 256 G + 65536 B), segments_info in the JSON.
    instance: one annotation per instance with an RLE mask and a `score`; of panoptic results, the
        things. Its `annotations` are also COCO's format of results.
    semantic: PNGs of category ids, 0 for none, and one RLE mask per class and image.

    Args:
        segmentations: of one vocabulary and task; an iterator is taken one at a time.
        kind: "panoptic", "instance" or "semantic"; "": the task of the results.
        dataset: the images' own annotation file in COCO's form: its image ids and file names are
            taken. None: ids from 1, and paths below the folder that all images have in common.
    Returns: the path of the JSON file.
    Raises: ValueError for another kind, or one that the results cannot give, for none at all, for
        several vocabularies, and for an image that the dataset does not have.
    """
    given = [segmentations] if isinstance(segmentations, SegmentedImage) else segmentations
    folder = Path(folder).expanduser()
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    names: set[str] = set()
    sources: list[str] = []
    known = None if dataset is None else _dataset_images(Path(dataset).expanduser())
    first: SegmentedImage | None = None
    for count, segmentation in enumerate(given, 1):
        first = segmentation if first is None else first
        kind = kind or first.task
        _check(segmentation, first, kind)
        name = _free_name(segmentation.source, count, names)
        height, width = segmentation.label_map_HW.shape
        number, file_name = count, segmentation.source or f"{name}.jpg"
        if known is not None:
            number, file_name = _image_of(segmentation.source, known, dataset)
        sources.append(segmentation.source)
        images.append({"id": number, "file_name": file_name, "height": height, "width": width})
        for annotation in _WRITERS[kind](segmentation, number, folder, name):
            annotations.append({**annotation, "id": len(annotations) + 1})
    if first is None:
        raise ValueError("nothing to export: no segmentation was given")
    if known is None:
        from_files = [image for image, source in zip(images, sources, strict=True) if source]
        shorter = below_common_folder([image["file_name"] for image in from_files])
        for image, name in zip(from_files, shorter, strict=True):
            image["file_name"] = name
    content = {
        "images": images,
        "annotations": annotations,
        "categories": category_entries(first.vocabulary, first.vocabulary.category_ids),
    }
    path = folder / f"{kind}.json"
    write_text(path, json.dumps(content, ensure_ascii=False))
    return path


def _check(segmentation: SegmentedImage, first: SegmentedImage, kind: str) -> None:
    if kind not in KINDS:
        raise ValueError(f"unknown COCO format {kind!r}: use one of {', '.join(KINDS)}")
    if segmentation.task not in KINDS[kind]:
        wanted = " or ".join(KINDS[kind])
        raise ValueError(
            f"COCO's {kind} format needs {wanted} results, these are {segmentation.task}: "
            f"segment with task={KINDS[kind][0]!r}"
        )
    if segmentation.task != first.task or segmentation.vocabulary != first.vocabulary:
        raise ValueError("the segmentations have different words or tasks: export them separately")


def _free_name(source: str, number: int, taken: set[str]) -> str:
    """A name for this image's PNG that no other has."""
    wanted = writable_stem(Path(source).stem) if source else f"{number:012d}"
    name = f"{wanted}-{number}" if wanted in taken else wanted
    while name in taken:
        name += "-"
    taken.add(name)
    return name


def _dataset_images(path: Path) -> dict[str, int]:
    """The ids of a dataset's images by file name."""
    images = read_typed(path, ImageNames, "give an annotation file of the dataset").images
    return {image["file_name"]: image["id"] for image in images}


def _image_of(source: str, known: Mapping[str, int], dataset: object) -> tuple[int, str]:
    """Id and file name of the image that a path ends with, the longest one."""
    parts = Path(source).parts
    for first in range(len(parts)):
        name = Path(*parts[first:]).as_posix()
        if name in known:
            return known[name], name
    raise ValueError(f"{dataset}: no image has the file name of {source or 'an image in memory'}")


def _panoptic(
    segmentation: SegmentedImage, number: int, folder: Path, name: str
) -> Iterator[dict[str, Any]]:
    ids = segmentation.vocabulary.category_ids
    write_segment_ids(folder / "panoptic" / f"{name}.png", segmentation.label_map_HW)
    segments_info = [
        {
            "id": segment.id,
            "category_id": ids[segment.class_index],
            "isthing": int(segment.is_thing),
            **_place(segment.area, segment.box),
            "score": segment.score,
        }
        for segment in segmentation.segments
    ]
    yield {"image_id": number, "file_name": f"{name}.png", "segments_info": segments_info}


def _instance(
    segmentation: SegmentedImage, number: int, folder: Path, name: str
) -> Iterator[dict[str, Any]]:
    ids = segmentation.vocabulary.category_ids
    for segment in segmentation.segments:
        if segment.is_thing:
            yield {
                "image_id": number,
                "category_id": ids[segment.class_index],
                "segmentation": segment.rle,
                **_place(segment.area, segment.box),
                "score": 1.0 if segment.score is None else segment.score,
            }


def _semantic(
    segmentation: SegmentedImage, number: int, folder: Path, name: str
) -> Iterator[dict[str, Any]]:
    ids = segmentation.vocabulary.category_ids
    category_HW = np.zeros(segmentation.label_map_HW.shape, dtype=np.int32)
    for segment in segmentation.segments:
        category_HW[segmentation.label_map_HW == segment.id] = ids[segment.class_index]
    write_label_map(folder / "semantic" / f"{name}.png", category_HW, max(ids))
    for category in np.unique(category_HW[category_HW > 0]).tolist():
        area, box, rle = encode_mask(category_HW == category)
        yield {
            "image_id": number,
            "category_id": category,
            "segmentation": rle,
            **_place(area, box),
        }


def _place(area: int, box: Sequence[int]) -> dict[str, Any]:
    return {"area": area, "bbox": list(box), "iscrowd": 0}


_Writer = Callable[[SegmentedImage, int, Path, str], Iterator[dict[str, Any]]]
_WRITERS: dict[str, _Writer] = {"panoptic": _panoptic, "instance": _instance, "semantic": _semantic}
