"""Writers of the files that raw_datasets.py makes, and how a prepare script is run on them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from frozenseg.cli import data_prepare
from frozenseg.cli.main import parser_of

HEIGHT, WIDTH = 20, 30


def run_prepare(name: str, root: Path, *words: str) -> int:
    """The exit code of `frozenseg data prepare NAME`, run in this process with one worker."""
    words = (name, "--root", str(root), "--workers", "1", *words)
    return data_prepare.main(parser_of("data prepare").parse_args(words))


def canvas(value: int = 0, dtype: Any = np.uint8) -> np.ndarray:
    """A map (20, 30) of one value."""
    return np.full((HEIGHT, WIDTH), value, dtype=dtype)


def save(path: Path, array: np.ndarray) -> None:
    """A PNG of L, RGB, RGBA or 16-bit values."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def save_palette(path: Path, indices: np.ndarray) -> None:
    """A palette PNG (mode P) of indices."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.frombytes("P", indices.shape[::-1], indices.astype(np.uint8).tobytes())
    image.putpalette([(37 * i) % 256 for i in range(768)])
    image.save(path)


def save_photo(path: Path, height: int = HEIGHT, width: int = WIDTH) -> None:
    """A smooth picture, as PNG or JPEG by the name."""
    path.parent.mkdir(parents=True, exist_ok=True)
    y, x = np.mgrid[:height, :width]
    array = np.stack([y * 255 // height, x * 255 // width, (x + y) % 256], axis=-1)
    Image.fromarray(array.astype(np.uint8)).save(path)


def save_json(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def save_text(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def rgb(ids: np.ndarray) -> np.ndarray:
    """COCO's coding of segment ids, R + 256 G + 65536 B."""
    return np.stack([ids & 255, ids >> 8 & 255, ids >> 16 & 255], axis=-1).astype(np.uint8)


def segment(ids: np.ndarray, identity: int, category: int, crowd: int = 0) -> dict[str, Any]:
    """An entry of segments_info, counted from the map."""
    y, x = np.nonzero(ids == identity)
    box = [int(x.min()), int(y.min()), int(np.ptp(x)) + 1, int(np.ptp(y)) + 1]
    area = len(x)
    return {
        "id": identity, "category_id": category, "iscrowd": crowd, "bbox": box, "area": area
    }  # fmt: skip
