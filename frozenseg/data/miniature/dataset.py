"""The miniature world on disk, in COCO panoptic format.

Three splits: `train` and `dev` show the seen classes only (`dev` is for choosing settings), `val`
shows all. They are different worlds: scene i of a split is draw_scene(split seed, i).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from frozenseg.data.miniature.classes import ALL, CLASSES, SEEN, vocabulary_text
from frozenseg.data.miniature.scenes import SIZE, MiniatureScene, draw_scene
from frozenseg.data.preparation.prepared_files import write_picture
from frozenseg.data.reading import rgb_of_ids
from frozenseg.files import read_json, write_json
from frozenseg.progress import bar
from frozenseg.vocab import Vocabulary

_FORMAT = 1
JPEG_QUALITY = 95
WORLDS = 10**6  # far from the worlds that the foundation models are trained on (1000 ...)
_ID_STEP = 1009  # spreads segment ids over the three bytes of the PNG


class Split(NamedTuple):
    """A split: its name, its world, its classes, and how many scenes it has by default."""

    name: str
    world: int
    classes: tuple[int, ...]
    scenes: int


SPLITS: tuple[Split, ...] = (
    Split("train", 11, SEEN, 2000),
    Split("dev", 12, SEEN, 100),
    Split("val", 13, ALL, 200),
)


def write_miniature(root: Path, counts: dict[str, int] | None = None, *, seed: int = 0) -> None:
    """Writes root/<split>/, panoptic_<split>/, semantic_<split>/ and panoptic_<split>.json.

    A split whose JSON has the same settings is left alone; an interrupted one goes on with the
    first scene that lacks a file. Every file appears under its name only when it is complete.

    Args:
        counts: scenes per split; the defaults of SPLITS where not given.
        seed: another number, another world.
    Raises: ValueError for an unknown split or a negative number.
    """
    counts = {split.name: split.scenes for split in SPLITS} | (counts or {})
    unknown = set(counts) - {split.name for split in SPLITS}
    if unknown or min(counts.values()) < 0:
        raise ValueError(f"counts {counts}: give train, dev and val numbers of at least 0")
    for split in SPLITS:
        if counts[split.name]:
            _write_split(root, split, counts[split.name], seed)


def _write_split(root: Path, split: Split, count: int, seed: int) -> None:
    info = {"format": _FORMAT, "seed": seed, "images": count, "size": SIZE}
    index = root / f"panoptic_{split.name}.json"
    found = begin(index, info)
    if found == "finished":
        return
    images, annotations = [], []
    title = f"miniature {split.name}"
    for i in bar(range(count), title, "image"):
        scene = draw_scene(WORLDS * seed + split.world, i, classes=split.classes)
        name = f"{i:06d}"
        files = [root / f"{kind}{split.name}" / name for kind in ("", "panoptic_", "semantic_")]
        files = [files[0].with_suffix(".jpg"), *(file.with_suffix(".png") for file in files[1:])]
        if not (found == "begun" and all(file.is_file() for file in files)):
            _write_scene(scene, split.classes, *files)
        images.append({"id": i, "file_name": f"{name}.jpg", "height": SIZE, "width": SIZE})
        segments = coco_segments(scene)
        annotations.append({"image_id": i, "file_name": f"{name}.png", "segments_info": segments})
    colors = Vocabulary.parse(vocabulary_text()).colors
    categories = [
        {"id": i, "name": row.name, "isthing": int(row.is_thing), "color": list(color)}
        for i, (row, color) in enumerate(zip(CLASSES, colors, strict=True), start=1)
    ]
    lists = {"images": images, "annotations": annotations, "categories": categories}
    finish(index, {"info": info, **lists})


def begin(index: Path, info: dict[str, Any]) -> str:
    """Makes ready to write the files that the JSON file `index` will describe, last of all.

    Returns: "finished" if an index with this `info` is there: nothing is to be done; "begun" if a
        run with these settings (the number of images aside) was interrupted: its files may be kept;
        "new" otherwise: files that are there are from other settings, and are to be replaced.
    """
    if index.is_file() and read_json(index).get("info") == info:
        return "finished"
    index.unlink(missing_ok=True)
    partial, settings = _unfinished(index), {k: v for k, v in info.items() if k != "images"}
    if partial.is_file() and read_json(partial) == settings:
        return "begun"
    write_json(partial, settings, indent=None)
    return "new"


def finish(index: Path, content: dict[str, Any]) -> None:
    """Writes the index (whose `info` is that of `begin`) when all it describes is written."""
    write_json(index, content, indent=None)
    _unfinished(index).unlink()


def _unfinished(index: Path) -> Path:
    return index.with_suffix(".unfinished.json")


def _write_scene(
    scene: MiniatureScene, classes: Sequence[int], image: Path, panoptic: Path, semantic: Path
) -> None:
    write_picture(image, scene.image, quality=JPEG_QUALITY)
    write_picture(panoptic, rgb_of_ids(scene.ids * _ID_STEP))
    labels = np.full(scene.ids.shape, 255, np.uint8)
    for segment in scene.segments:
        labels[scene.ids == segment["id"]] = classes.index(segment["category"])
    write_picture(semantic, labels)


def coco_segments(scene: MiniatureScene) -> list[dict[str, Any]]:
    """The segments as COCO has them: category id = index of the class + 1."""
    return [
        {
            "id": segment["id"] * _ID_STEP,
            "category_id": segment["category"] + 1,
            "iscrowd": 0,
            "area": segment["area"],
            "bbox": segment["bbox"],
        }
        for segment in scene.segments
    ]
