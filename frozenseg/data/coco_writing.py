"""The parts that files in COCO's formats are written of: PNGs, masks, categories.

Legend: H and W pixels. Formats: https://cocodataset.org/#format-data, sections 1 to 4.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask

from frozenseg.data.preparation.prepared_files import write_picture
from frozenseg.data.reading import rgb_of_ids
from frozenseg.vocab import Vocabulary


def write_segment_ids(path: Path, ids_HW: NDArray[np.integer[Any]]) -> None:
    """Writes a panoptic map: a PNG of segment ids below 2^24, R + 256 G + 65536 B."""
    write_picture(path, rgb_of_ids(ids_HW))


def write_label_map(path: Path, labels_HW: NDArray[np.integer[Any]], largest: int) -> None:
    """Writes a grey PNG of values 0..65535: 8 bits where `largest`, of all maps, fits, or 16."""
    write_picture(path, labels_HW.astype(np.uint8 if largest < 256 else np.uint16))


def encode_mask(
    mask_HW: NDArray[np.bool_],
) -> tuple[int, tuple[int, int, int, int], dict[str, Any]]:
    """Area in pixels, box (x, y, width, height) and compressed RLE {"size", "counts"} of a mask."""
    rle = coco_mask.encode(np.asfortranarray(mask_HW, dtype=np.uint8))
    x, y, width, height = (int(value) for value in coco_mask.toBbox(rle))
    counts = {"size": [int(side) for side in rle["size"]], "counts": rle["counts"].decode("ascii")}
    return int(coco_mask.area(rle)), (x, y, width, height), counts


def category_entries(vocabulary: Vocabulary, ids: Sequence[int]) -> list[dict[str, Any]]:
    """The `categories` of a file; `ids`: of every class, in the order of the vocabulary."""
    names, things, colors = vocabulary.names, vocabulary.thing_mask, vocabulary.colors
    return [
        {
            "id": number,
            "name": name,
            "supercategory": name,
            "isthing": int(thing),
            "color": [*color],
        }
        for number, name, thing, color in zip(ids, names, things, colors, strict=True)
    ]
