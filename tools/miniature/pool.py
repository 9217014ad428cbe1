"""Scenes drawn once into memory-mapped files: training steps cannot wait for the generator.

A pool is a folder; it is filled in order, can be stopped and goes on where it stopped.
Legend: N pictures, S segments of a scene (at most MAX_SEGMENTS), H and W pixels.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from frozenseg.data.miniature.scenes import SIZE, THINGS, draw_crop, draw_scene
from frozenseg.files import read_json, write_json

MAX_SEGMENTS = 2 + THINGS[1]
CROP_SIZE = 96
_VERSION = 1
_SAVE_EVERY = 250


@dataclass(frozen=True)
class ScenePool:
    """images (N, H, W, 3), ids (N, H, W) uint8; categories (N, S) int16 of id - 1, -1: none."""

    images: np.ndarray
    ids: np.ndarray
    categories: np.ndarray


@dataclass(frozen=True)
class CropPool:
    """images (N, CROP_SIZE, CROP_SIZE, 3) uint8, things and stuff (N,) int16: their classes."""

    images: np.ndarray
    things: np.ndarray
    stuff: np.ndarray


def open_scenes(folder: Path, *, seed: int, count: int) -> ScenePool:
    """The scenes (seed, 0) .. (seed, count - 1) of all classes; draws those that are missing."""
    shapes = {
        "images": ((count, SIZE, SIZE, 3), np.uint8),
        "ids": ((count, SIZE, SIZE), np.uint8),
        "categories": ((count, MAX_SEGMENTS), np.int16),
    }

    def draw(arrays: dict[str, np.ndarray], i: int) -> None:
        scene = draw_scene(seed, i)
        arrays["images"][i], arrays["ids"][i] = scene.image, scene.ids
        arrays["categories"][i] = -1
        for segment in scene.segments:
            arrays["categories"][i, segment["id"] - 1] = segment["category"]

    return ScenePool(**_open(folder / f"scenes_{seed}_{count}", shapes, draw, count))


def open_crops(folder: Path, *, seed: int, count: int) -> CropPool:
    """The single-thing pictures (seed, 0) .. (seed, count - 1) of all classes."""
    shapes = {
        "images": ((count, CROP_SIZE, CROP_SIZE, 3), np.uint8),
        "things": ((count,), np.int16),
        "stuff": ((count,), np.int16),
    }

    def draw(arrays: dict[str, np.ndarray], i: int) -> None:
        image, _, thing, stuff = draw_crop(seed, i, size=CROP_SIZE)
        arrays["images"][i], arrays["things"][i], arrays["stuff"][i] = image, thing, stuff

    return CropPool(**_open(folder / f"crops_{seed}_{count}", shapes, draw, count))


def _open(
    folder: Path,
    shapes: Mapping[str, tuple[tuple[int, ...], type]],
    draw: Callable[[dict[str, np.ndarray], int], None],
    count: int,
) -> dict[str, np.ndarray]:
    folder.mkdir(parents=True, exist_ok=True)
    state_file = folder / f"done_v{_VERSION}.json"
    done = read_json(state_file) if state_file.is_file() else 0
    arrays: dict[str, np.ndarray] = {
        name: np.lib.format.open_memmap(
            folder / f"{name}.npy", mode="r+" if done else "w+", dtype=dtype, shape=shape
        )
        for name, (shape, dtype) in shapes.items()
    }
    start, first = time.monotonic(), done
    for i in range(done, count):
        draw(arrays, i)
        if (i + 1) % _SAVE_EVERY == 0 or i + 1 == count:
            write_json(state_file, i + 1)
            rate = (i + 1 - first) / (time.monotonic() - start)
            left = (count - i - 1) / rate
            print(f"{folder.name}: {i + 1}/{count}, {rate:.0f}/s, {left:.0f} s left", flush=True)
    return arrays
