"""Class entries from a dataset's metadata as detectron2's catalog holds it.

Duck-typed: anything with the attributes (or keys) of detectron2's Metadata will do.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from frozenseg.vocab.colors import Color, parse_color
from frozenseg.vocab.entries import Entry, split_names

_PLACEHOLDER = "things"  # detectron2's "separated" panoptic metadata puts all things in one class


def metadata_value(meta: object, key: str) -> Any:
    """`meta.key` or `meta["key"]`; None if it is not set."""
    return meta.get(key) if isinstance(meta, Mapping) else getattr(meta, key, None)


def metadata_entries(meta: object) -> list[Entry]:
    """Entries from `thing_classes` and / or `stuff_classes`, in the order of the contiguous ids.

    If `stuff_classes` covers `thing_classes` ("standard" panoptic metadata, where it lists every
    class) it is the vocabulary, and `thing_dataset_id_to_contiguous_id` says which are things.
    If the two have no name in common, things come first.
    """
    things = list(metadata_value(meta, "thing_classes") or [])
    stuff = list(metadata_value(meta, "stuff_classes") or [])
    where = f"metadata of {metadata_value(meta, 'name') or 'the dataset'}"
    if not things and not stuff:
        raise ValueError(
            f"{where}: neither vocabulary nor thing_classes nor stuff_classes is set; "
            "register the dataset with a vocabulary"
        )
    flags: Sequence[bool | None]
    id_maps = ["stuff_dataset_id_to_contiguous_id", "thing_dataset_id_to_contiguous_id"]
    if not stuff or not things:
        names = things or stuff
        flags = [bool(things) for _ in names]
    elif set(things) <= set(stuff):
        names, flags = stuff, _thing_flags(meta, things, stuff)
    elif set(things).isdisjoint(stuff):
        rest = [name for name in stuff if name != _PLACEHOLDER]
        names, flags = things + rest, [True] * len(things) + [False] * len(rest)
        id_maps = id_maps[1:]  # contiguous ids of stuff count from 0 again here
    else:
        common = next(name for name in things if name in stuff)
        raise ValueError(
            f"{where}: thing_classes and stuff_classes share {common!r} but neither covers the "
            "other; set vocabulary instead"
        )
    colors = _colors(meta, len(names), where)
    ids = _dataset_ids(meta, len(names), id_maps)
    return [
        Entry(
            split_names(name, f"{where}: class {index}", published=True),
            f"{where}: class {index}",
            is_thing=flags[index],
            color=colors[index],
            dataset_id=ids.get(index),
        )
        for index, name in enumerate(names)
    ]


def _thing_flags(meta: object, things: Sequence[str], stuff: Sequence[str]) -> list[bool | None]:
    ids = metadata_value(meta, "thing_dataset_id_to_contiguous_id")
    if ids:
        return [index in set(ids.values()) for index in range(len(stuff))]
    if len(things) == len(stuff):
        return [None] * len(stuff)
    return [name in things for name in stuff]


def _colors(meta: object, count: int, where: str) -> list[Color | None]:
    for key in ("stuff_colors", "thing_colors"):
        colors = metadata_value(meta, key)
        if colors is not None and len(colors) == count:
            return [parse_color([int(c) for c in color], f"{where}: {key}") for color in colors]
    return [None] * count


def _dataset_ids(meta: object, count: int, keys: Sequence[str]) -> dict[int, int]:
    """Data-set id of every contiguous id that the metadata's maps `keys` mention."""
    ids: dict[int, int] = {}
    for key in keys:
        for dataset_id, index in (metadata_value(meta, key) or {}).items():
            if 0 <= index < count:
                ids[index] = int(dataset_id)
    return ids
