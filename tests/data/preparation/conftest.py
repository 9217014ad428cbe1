"""Helpers of the tests of the prepare scripts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from tests.data.raw_writers import run_prepare


def pixels(path: Path) -> np.ndarray:
    """The values of a mask as Pillow reads them."""
    with Image.open(path) as image:
        return np.array(image)


def counts(path: Path) -> dict[int, int]:
    """How many pixels each value of a mask has."""
    values, numbers = np.unique(pixels(path), return_counts=True)
    return dict(zip(values.tolist(), numbers.tolist(), strict=True))


def summary(annotation: dict[str, Any]) -> list[tuple[int, ...]]:
    """(id, category, area, bbox, iscrowd) of every segment, sorted."""
    keys = ("id", "category_id", "area", "bbox", "iscrowd")
    return sorted(tuple(segment[key] for key in keys) for segment in annotation["segments_info"])


def leftovers(root: Path) -> list[Path]:
    """Temporary files that an atomic writer left behind."""
    return [path for path in root.rglob("*") if ".part" in path.name]


def content(root: Path) -> dict[str, bytes]:
    """The bytes of every file below a folder."""
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in files}


@pytest.fixture
def run(tmp_path: Path):
    """run(script, *words): the exit code of a prepare script on `tmp_path`."""
    return lambda script, *words: run_prepare(script, tmp_path, *words)
