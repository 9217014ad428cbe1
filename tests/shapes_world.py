"""A tiny dataset for tests in COCO panoptic format: coloured shapes on textured stuff.

Everything is a function of (seed, split, image number). Some segments are crowds, some pixels are
unlabelled, and the training split lacks three classes of the validation split.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from frozenseg.data.catalog.lookup import load_vocabulary
from frozenseg.data.catalog.register import register_splits
from frozenseg.data.catalog.split import DatasetSplit, Origin
from frozenseg.data.reading import rgb_of_ids
from frozenseg.files import write_atomically, write_json

COLORS = {"red": (205, 50, 45), "green": (60, 175, 70), "blue": (55, 80, 205)}
STUFF_COLORS = {"grass": (110, 150, 70), "brick": (160, 105, 85), "water": (90, 150, 190)}
SHAPES: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
    "disk": lambda y, x: y**2 + x**2 < 1,
    "square": lambda y, x: np.maximum(abs(y), abs(x)) < 0.85,
    "triangle": lambda y, x: (y < 0.8) & (abs(x) < (y + 1) * 0.55),
}
SHAPES_SEEN_IDS = (1, 2, 3, 4, 5, 6, 9, 10)
SHAPES_CLASSES = (
    "red disk, scarlet disk; green disk; red square, red box; blue square, blue box;"
    "green triangle; blue triangle; blue disk; red triangle; grass:stuff; brick:stuff; water:stuff"
)
CROWD_PROBABILITY, UNLABELLED_PROBABILITY = 0.15, 0.3


def _row(split: str, category_ids: tuple[int, ...]) -> DatasetSplit:
    classes = SHAPES_CLASSES.split(";")
    return DatasetSplit(
        name=f"shapes_{split}_panoptic",
        benchmark="shapes",
        split=split,
        tasks=("panoptic", "instance", "semantic"),
        vocabulary=";".join(classes[i - 1] for i in category_ids),
        images=f"shapes/{split}",
        panoptic_json=f"shapes/panoptic_{split}.json",
        panoptic_masks=f"shapes/panoptic_{split}",
        semantic_masks=f"shapes/semantic_{split}",
        category_ids=category_ids,
        origin=Origin("python make_shapes.py", made_folder="shapes", images_made=True),
        evaluator="coco_panoptic_seg",
    )


TRAIN, VAL = ROWS = (_row("train", SHAPES_SEEN_IDS), _row("val", tuple(range(1, 12))))
FILE = "shapes.yaml"


def register_shapes(root: Path) -> None:
    """Registers both splits, whose files are below `root`/shapes."""
    register_splits(ROWS, root)


@dataclass
class Scene:
    """One picture: image (H, W, 3) uint8, ids (H, W) int32 (0 unlabelled), COCO segments."""

    image: np.ndarray
    ids: np.ndarray
    segments: list[dict[str, Any]]


def draw_scene(
    generator: np.random.Generator, category_ids: tuple[int, ...], size: tuple[int, int]
) -> Scene:
    """A scene of 1-2 stuff regions and 2-5 things of the given categories, some of them a crowd."""
    names = load_vocabulary(SHAPES_CLASSES).names
    stuff = [c for c in category_ids if names[c - 1] in STUFF_COLORS]
    things = [c for c in category_ids if c not in stuff]
    height, width = size
    y, x = np.mgrid[:height, :width].astype(np.float32)
    image, ids = np.zeros((height, width, 3), np.float32), np.zeros(size, np.int32)
    segments: list[dict[str, Any]] = []

    def paint(mask: np.ndarray, category: int, color: np.ndarray, iscrowd: int = 0) -> None:
        image[mask] = color[mask]
        ids[mask] = len(segments) * 1009 + 77  # spread over the three bytes of the PNG
        entry = {"id": len(segments) * 1009 + 77, "category_id": category, "iscrowd": iscrowd}
        segments.append(entry)

    horizon = generator.uniform(0.3, 0.7) * height + generator.uniform(-0.2, 0.2) * (x - width / 2)
    picked = generator.permutation(stuff)[:2]
    for category, mask in zip(picked, (y < horizon, y >= horizon), strict=False):
        paint(mask, int(category), _texture(names[category - 1], y, x))
    for _ in range(generator.integers(2, 6)):
        category = int(generator.choice(things))
        color_name, shape = names[category - 1].split()
        crowd = generator.random() < CROWD_PROBABILITY
        mask = np.zeros(size, bool)
        for _ in range(4 if crowd else 1):
            radius = generator.uniform(0.10, 0.22) * min(size) * (0.5 if crowd else 1)
            cy, cx = generator.uniform(radius, np.array(size) - radius)
            mask |= SHAPES[shape]((y - cy) / radius, (x - cx) / radius)
        shade = generator.uniform(0.8, 1.15) * np.array(COLORS[color_name], np.float32)
        paint(mask, category, np.broadcast_to(shade, image.shape), int(crowd))
    if generator.random() < UNLABELLED_PROBABILITY:
        ids[: height // 12] = 0
    image += generator.normal(0, 8, image.shape)
    return Scene(image.clip(0, 255).astype(np.uint8), ids, _with_boxes(ids, segments))


def _texture(name: str, y: np.ndarray, x: np.ndarray) -> np.ndarray:
    waves = {
        "grass": np.sin(x * 1.9 + 3 * np.sin(y * 0.7)) * np.sin(y * 2.3),
        "brick": np.where((y % 10 < 2) | ((x + 9 * (y // 10 % 2)) % 18 < 2), 1.0, -0.4),
        "water": np.sin(y * 0.6 + 1.5 * np.sin(x * 0.12)),
    }
    return np.array(STUFF_COLORS[name], np.float32) + 28 * waves[name][..., None]


def _with_boxes(ids: np.ndarray, segments: list[dict[str, Any]]) -> list[dict[str, Any]]:
    visible = []
    for segment in segments:
        rows, columns = np.nonzero(ids == segment["id"])
        if len(rows):
            x0, y0 = int(columns.min()), int(rows.min())
            box = [x0, y0, int(columns.max()) - x0 + 1, int(rows.max()) - y0 + 1]
            visible.append({**segment, "area": len(rows), "bbox": box})
    return visible


def write_shapes(
    root: Path, *, train: int, val: int, size: tuple[int, int] = (128, 160), seed: int = 0
) -> None:
    """Writes `root`/{train,val}, panoptic_*, semantic_*, panoptic_*.json and `FILE`.

    Only the seen classes occur in the training split. Files are written under a temporary name,
    the JSON last; a split whose JSON has the same settings is left alone.
    """
    seen_and_unseen = tuple(range(1, len(load_vocabulary(SHAPES_CLASSES)) + 1))
    splits = (("train", train, SHAPES_SEEN_IDS), ("val", val, seen_and_unseen))
    for number, (split, count, ids) in enumerate(splits):
        info = {"seed": seed, "images": count, "size": list(size), "version": 1}
        index = root / f"panoptic_{split}.json"
        if index.is_file() and json.loads(index.read_text(encoding="utf-8"))["info"] == info:
            continue
        index.unlink(missing_ok=True)
        content: dict[str, Any] = {"info": info, "images": [], "annotations": [], **_categories()}
        for i in tqdm(range(count), desc=f"shapes {split}", unit="image", disable=None):
            scene = draw_scene(np.random.default_rng((seed, number, i)), ids, size)
            name = f"{i:06d}"
            _write_scene(scene, ids, root, split, name)
            image = {"id": i, "file_name": f"{name}.jpg", "height": size[0], "width": size[1]}
            content["images"].append(image)
            content["annotations"].append(
                {"image_id": i, "file_name": f"{name}.png", "segments_info": scene.segments}
            )
        write_json(index, content)
    write_json(root / FILE, [_own_row(row) for row in ROWS])  # JSON is YAML


def _write_scene(
    scene: Scene, category_ids: tuple[int, ...], root: Path, split: str, name: str
) -> None:
    labels = np.full(scene.ids.shape, 255, np.uint8)
    for segment in scene.segments:
        labels[scene.ids == segment["id"]] = category_ids.index(segment["category_id"])
    _write_image(root / split / f"{name}.jpg", scene.image, quality=95)
    _write_image(root / f"panoptic_{split}" / f"{name}.png", rgb_of_ids(scene.ids))
    _write_image(root / f"semantic_{split}" / f"{name}.png", labels)


def _categories() -> dict[str, Any]:
    vocabulary = load_vocabulary(SHAPES_CLASSES)
    rows = zip(vocabulary.names, vocabulary.thing_mask, vocabulary.colors, strict=True)
    return {
        "categories": [
            {"id": i, "name": name, "isthing": int(thing), "color": list(color)}
            for i, (name, thing, color) in enumerate(rows, start=1)
        ]
    }


def _write_image(path: Path, array: np.ndarray, **options: Any) -> None:
    write_atomically(path, lambda part: Image.fromarray(array).save(part, **options))


def _own_row(row: DatasetSplit) -> dict[str, Any]:
    """The row as an entry of a dataset file beside the folders, for programs of their own."""
    paths = ("images", "panoptic_json", "panoptic_masks", "semantic_masks")
    return {
        **{field: getattr(row, field).removeprefix("shapes/") for field in paths},
        **{field: getattr(row, field) for field in ("name", "benchmark", "split", "category_ids")},
        "classes": row.vocabulary,
        "prepare": row.origin.command,
    }
