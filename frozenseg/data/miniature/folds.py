"""The miniature world as episodes: four folds that hold out classes, and 2x2 mosaics.

Its scenes show all classes in both splits, as the images of PASCAL-5i do; a fold only decides which
classes are learned. Mosaics are four pictures of single things; the four classes of mosaic m are
all held out by fold m mod 4, so that a model trained on a fold has mosaics of its unseen classes.
Legend: H and W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from frozenseg.data.episodes import FORMAT, UNLABELLED, EpisodeImage, describe, index_content
from frozenseg.data.miniature.classes import (
    ALL,
    CLASSES,
    FOLDS,
    NOVEL_FOLDER,
    held_out,
    novel_things,
)
from frozenseg.data.miniature.dataset import JPEG_QUALITY, WORLDS, write_indexed
from frozenseg.data.miniature.scenes import SIZE, draw_crop, draw_scene
from frozenseg.data.preparation.prepared_files import write_picture
from frozenseg.data.reading import read_label_png

FOLDER, MOSAIC_FOLDER = "miniature_folds", "miniature_mosaic_4"
COUNTS = {"train": 2000, "val": 300, "mosaics": 200}
_WORLD_OF = {"train": 21, "val": 22, "mosaics": 23}
_STUFF = tuple(i for i, row in enumerate(CLASSES) if not row.is_thing)


class Labelled(NamedTuple):
    """A picture (H, W, 3) uint8 RGB and its label map (H, W) uint8: index of the class plus 1."""

    image: NDArray[np.uint8]
    labels: NDArray[np.uint8]


def write_folds(root: Path, counts: Mapping[str, int] | None = None, *, seed: int = 0) -> None:
    """Writes root/miniature_folds/ (splits train and val) and root/miniature_mosaic_4/ (val).

    Each has images, label maps and an index of episodes. A part whose index has the same settings
    is left alone; an interrupted one goes on with the first picture that lacks a file.

    Args:
        root: folder of all datasets.
        counts: pictures of "train", "val" and "mosaics"; the defaults of COUNTS where not given.
        seed: another number, another world.
    Raises: ValueError for an unknown part or a negative number.
    """
    counts = COUNTS | dict(counts or {})
    if set(counts) != set(COUNTS) or min(counts.values()) < 0:
        raise ValueError(f"counts {counts}: give train, val and mosaics numbers of at least 0")
    for part, count in counts.items():
        folder, split = (MOSAIC_FOLDER, "val") if part == "mosaics" else (FOLDER, part)
        world = WORLDS * seed + _WORLD_OF[part]
        draw = draw_mosaic if part == "mosaics" else draw_labelled_scene
        _write(root, f"{folder}/{split}", partial(draw, world), count, seed)


def write_novel_folds(root: Path, count: int, *, seed: int = 0) -> None:
    """Writes root/miniature_novel_folds/fold<i>_train/, without what fold i holds out.

    The tests of these folds ask of the pictures that `write_folds` makes. Finished and interrupted
    parts are treated as there. Args: count: scenes of each fold.
    """
    for fold in range(FOLDS):
        seen = (*novel_things(fold, new_shape=False, new_color=False), *_STUFF)
        draw = partial(draw_labelled_scene, WORLDS * seed + _WORLD_OF["train"], classes=seen)
        _write(root, f"{NOVEL_FOLDER}/fold{fold}_train", draw, count, seed)


def draw_labelled_scene(seed: int, index: int, *, classes: Sequence[int] = ALL) -> Labelled:
    """Scene number `index` of the world `seed` with these classes; every pixel has a class."""
    scene = draw_scene(seed, index, classes=classes)
    return Labelled(scene.image, scene.labels(lambda category: category + 1))


def draw_mosaic(seed: int, index: int) -> Labelled:
    """Four things of different classes, one in each quarter; all around them is background."""
    generator = np.random.default_rng((seed, index, 2))
    half = SIZE // 2
    image, labels = np.zeros((SIZE, SIZE, 3), np.uint8), np.full((SIZE, SIZE), UNLABELLED, np.uint8)
    for quarter, thing in enumerate(generator.choice(held_out(index % FOLDS), 4, replace=False)):
        place = tuple(slice(n * half, (n + 1) * half) for n in divmod(quarter, 2))
        image[place], mask, *_ = draw_crop(
            seed, 4 * index + quarter, classes=(int(thing), *_STUFF), size=half
        )
        labels[place][mask] = thing + 1
    return Labelled(image, labels)


def _write(root: Path, name: str, draw: Callable[[int], Labelled], count: int, seed: int) -> None:
    """Writes root/<name>/*.jpg, root/<name>_labels/*.png and root/<name>.json; nothing for 0."""
    if not count:
        return

    def write(i: int, keep: bool) -> EpisodeImage:
        image, labels = f"{name}/{i:06d}.jpg", f"{name}_labels/{i:06d}.png"
        if keep and (root / image).is_file() and (root / labels).is_file():
            return describe(image, labels, read_label_png(root / labels))
        picture = draw(i)
        write_picture(root / image, picture.image, quality=JPEG_QUALITY)
        write_picture(root / labels, picture.labels)
        return describe(image, labels, picture.labels)

    info = {"format": FORMAT, "seed": seed, "images": count, "size": SIZE}
    write_indexed(root / f"{name}.json", info, name, write, index_content)
