"""The miniature world on disk, in COCO panoptic format.

Three splits: `train` and `dev` show the seen classes only (`dev` is for choosing settings), `val`
shows all. They are different worlds: scene i of a split is draw_scene(split seed, i). Which classes
are seen is a parameter (`classes.SEEN_OF`); `val` has the same scenes whatever they are.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec

from frozenseg.data.miniature.classes import ALL, CLASSES, SEEN, vocabulary_text
from frozenseg.data.miniature.scenes import SIZE, MiniatureScene, draw_scene
from frozenseg.data.preparation.prepared_files import write_picture
from frozenseg.data.reading import rgb_of_ids
from frozenseg.files import read_json, read_typed, write_json
from frozenseg.progress import bar
from frozenseg.vocab import Vocabulary

_FORMAT = 1
AGAIN = "delete the file to have the split written again"
JPEG_QUALITY = 95
WORLDS = 10**6  # far from the worlds that the foundation models are trained on (1000 ...)
_ID_STEP = 1009  # spreads segment ids over the three bytes of the PNG


class _Described(msgspec.Struct):
    """What `begin` needs of an index."""

    info: dict[str, Any] | None = None


class Split(NamedTuple):
    """A split: its name, its world, whether it shows all classes, and its scenes by default."""

    name: str
    world: int
    shows_all: bool
    scenes: int

    def classes(self, seen: tuple[int, ...]) -> tuple[int, ...]:
        """The classes that its scenes may show."""
        return ALL if self.shows_all else seen


SPLITS: tuple[Split, ...] = (
    Split("train", 11, False, 2000),
    Split("dev", 12, False, 100),
    Split("val", 13, True, 200),
)


def write_miniature(
    root: Path,
    counts: dict[str, int] | None = None,
    *,
    seed: int = 0,
    seen: tuple[int, ...] = SEEN,
) -> None:
    """Writes root/<split>/, panoptic_<split>/, semantic_<split>/ and panoptic_<split>.json.

    A split whose JSON has the same settings is left alone; an interrupted one goes on with the
    first scene that lacks a file. Every file appears under its name only when it is complete.

    Args:
        counts: scenes per split; the defaults of SPLITS where not given.
        seed: another number, another world.
        seen: the classes of `train` and `dev`.
    Raises: ValueError for an unknown split or a negative number.
    """
    counts = {split.name: split.scenes for split in SPLITS} | (counts or {})
    unknown = set(counts) - {split.name for split in SPLITS}
    if unknown or min(counts.values()) < 0:
        raise ValueError(f"counts {counts}: give train, dev and val numbers of at least 0")
    for split in SPLITS:
        if counts[split.name]:
            _write_split(root, split, split.classes(seen), counts[split.name], seed)


def _write_split(root: Path, split: Split, classes: tuple[int, ...], count: int, seed: int) -> None:
    def write(i: int, keep: bool) -> tuple[dict[str, Any], dict[str, Any]]:
        scene = draw_scene(WORLDS * seed + split.world, i, classes=classes)
        name = f"{i:06d}"
        files = [root / f"{kind}{split.name}" / name for kind in ("", "panoptic_", "semantic_")]
        files = [files[0].with_suffix(".jpg"), *(file.with_suffix(".png") for file in files[1:])]
        if not (keep and all(file.is_file() for file in files)):
            _write_scene(scene, classes, *files)
        image = {"id": i, "file_name": f"{name}.jpg", "height": SIZE, "width": SIZE}
        segments = {"file_name": f"{name}.png", "segments_info": coco_segments(scene)}
        return image, {"image_id": i, **segments}

    def content(entries: list[Any]) -> dict[str, Any]:
        images, annotations = zip(*entries, strict=True)
        colors = Vocabulary.parse(vocabulary_text()).colors
        categories = [
            {"id": i, "name": row.name, "isthing": int(row.is_thing), "color": list(color)}
            for i, (row, color) in enumerate(zip(CLASSES, colors, strict=True), start=1)
        ]
        return {"images": images, "annotations": annotations, "categories": categories}

    info: dict[str, Any] = {"format": _FORMAT, "seed": seed, "images": count, "size": SIZE}
    if classes not in (SEEN, ALL):
        info["classes"] = list(classes)
    index = root / f"panoptic_{split.name}.json"
    write_indexed(index, info, f"miniature {split.name}", write, content)


def write_indexed(
    index: Path,
    info: dict[str, Any],
    title: str,
    write: Callable[[int, bool], Any],
    content: Callable[[list[Any]], dict[str, Any]],
) -> None:
    """Writes pictures and, last, the JSON file `index` of them; done if it is there with `info`.

    Args:
        info: the settings; `images` is how many pictures there are.
        write: writes the files of a picture by its number and gives its entry; True: those that
            are there are from an interrupted run with these settings, and may be kept.
        content: of the index, from all entries.
    """
    if index.is_file() and read_typed(index, _Described, AGAIN).info == info:
        return
    index.unlink(missing_ok=True)
    partial = index.with_suffix(".unfinished.json")
    settings = {key: value for key, value in info.items() if key != "images"}
    keep = partial.is_file() and read_json(partial, AGAIN) == settings
    if not keep:
        write_json(partial, settings, indent=None)
    entries = [write(i, keep) for i in bar(range(info["images"]), title, "image")]
    write_json(index, {"info": info, **content(entries)}, indent=None)
    partial.unlink()


def _write_scene(
    scene: MiniatureScene, classes: Sequence[int], image: Path, panoptic: Path, semantic: Path
) -> None:
    write_picture(image, scene.image, quality=JPEG_QUALITY)
    write_picture(panoptic, rgb_of_ids(scene.ids * _ID_STEP))
    write_picture(semantic, scene.labels(classes.index))


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
