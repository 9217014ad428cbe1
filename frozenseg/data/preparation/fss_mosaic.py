"""Mosaic-4: 2x2 mosaics of pictures of four different test classes of FSS-1000.

Published are fewshot_data/<class>/<number>.jpg and .png (the mask of the object, white), 224 x 224,
ten of each class, and the list of the 240 test classes. The mosaics are made in rounds: in each,
one picture of every class, in random order, four to a mosaic. So no picture is used twice, and a
mosaic has four classes. The label of a class is its place in the sorted list, from 1.
Of the release are reported (issues 8 and 25 of its repository) masks of other sizes (crt_screen/6,
screw/8), so both files are stretched to the tile, and files too many (peregine_falcon/8.png), so
those without a partner are left out.
Source: Li et al., CVPR 2020, arXiv:1907.12347 (FSS-1000).
Legend: H and W pixels.
"""

from __future__ import annotations

import logging
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from frozenseg.data.catalog.episode_rows import MOSAIC_CLASSES
from frozenseg.data.episodes import describe, index_content
from frozenseg.data.preparation.prepared_files import text_in, write_mask
from frozenseg.data.preparation.raw_files import (
    AGAIN,
    Source,
    listed_stems,
    read_labels,
    read_raw,
    require_tree,
    stems,
)
from frozenseg.data.preparation.work import Done, Preparation
from frozenseg.data.reading import read_image
from frozenseg.files import write_text

logger = logging.getLogger(__name__)

SOURCE = Source("FSS-1000", "https://github.com/HKUSTCV/FSS-1000", "Mosaic-4")
RAW, MADE, LIST = "fewshot_data", "fss_mosaic_4", "fss_test_set.txt"
TILE = 224
_TEXT_KEY = "frozenseg mosaic 1"  # of a chunk of the PNG that names its pictures
_MODES = ("1", "L", "RGB", "RGBA")


class Quarter(NamedTuple):
    """A picture of a single object, its mask, and the label of its class."""

    image: Path
    mask: Path
    label: int


class MosaicJob(NamedTuple):
    """Four pictures (top left, top right, bottom left, bottom right) and the mosaic's name."""

    quarters: tuple[Quarter, ...]
    name: str


def prepare_fss_mosaic(preparation: Preparation, class_list: Path | None, seed: int = 0) -> None:
    """Makes fss_mosaic_4/: images/*.png, labels/*.png, classes.txt and test.json.

    Args:
        class_list: names of the test classes, one per line; by default fewshot_data/LIST.
        seed: another number, other mosaics.
    """
    root = preparation.root
    require_tree(SOURCE, root, [f"{RAW}/"])
    names = read_classes(class_list or root / RAW / LIST)
    jobs = mosaics(root / RAW, names, seed)
    lines = "".join(f"{label}: {name.replace('_', ' ')}\n" for label, name in enumerate(names, 1))
    write_text(root / MADE / "classes.txt", lines)
    convert = partial(convert_mosaic, root=root, overwrite=preparation.overwrite)
    index = root / MADE / "test.json"
    preparation.write_index(index, index_content, "Mosaic-4", convert, jobs)


def read_classes(path: Path) -> list[str]:
    """The names of the test classes, sorted. Raises: FileNotFoundError, or ValueError if they are
    not 240 different ones.
    """
    if not path.is_file():
        raise FileNotFoundError(
            f"{path} does not exist: it lists the {MOSAIC_CLASSES} test classes, one per line. It "
            f"is {LIST} of {SOURCE.page}; give its place with --classes"
        )
    names = sorted(set(listed_stems(path)))
    if len(names) != MOSAIC_CLASSES:
        raise ValueError(
            f"{path}: lists {len(names)} classes, FSS-1000 has {MOSAIC_CLASSES} for tests; get "
            f"{LIST} from {SOURCE.page}"
        )
    return names


def mosaics(folder: Path, names: list[str], seed: int) -> list[MosaicJob]:
    """Mosaics of the pictures in folder/<name>; as many rounds as the smallest class allows."""
    missing = [name for name in names if not (folder / name).is_dir()]
    if missing:
        raise FileNotFoundError(
            f"{folder} lacks {len(missing)} folders of test classes: {', '.join(missing[:5])}; "
            f"{AGAIN}"
        )
    generator = np.random.default_rng(seed)
    pictures = []
    for label, name in enumerate(names, 1):
        quarters = pictures_of(folder / name, label)
        pictures.append([quarters[i] for i in generator.permutation(len(quarters))])
    jobs: list[MosaicJob] = []
    for round_ in zip(*pictures, strict=False):
        order = generator.permutation(len(round_))
        for place in range(0, len(order) - 3, 4):
            chosen = tuple(round_[i] for i in order[place : place + 4])
            jobs.append(MosaicJob(chosen, f"{len(jobs):06d}"))
    return jobs


def pictures_of(folder: Path, label: int) -> list[Quarter]:
    """The pictures of a class that have a mask, sorted by name; the log names the other files.

    Raises: FileNotFoundError if there is none.
    """
    images, masks = (set(stems(folder, suffix)) for suffix in (".jpg", ".png"))
    alone = sorted(images ^ masks)
    if alone:
        logger.warning("%s: left out, no pair of .jpg and .png: %s", folder, ", ".join(alone))
    if not images & masks:
        raise FileNotFoundError(f"{folder}: holds no picture (.jpg) with a mask (.png); {AGAIN}")
    return [
        Quarter(folder / f"{stem}.jpg", folder / f"{stem}.png", label)
        for stem in sorted(images & masks)
    ]


def convert_mosaic(job: MosaicJob, *, root: Path, overwrite: bool = False) -> Done:
    """Writes a mosaic and its labels unless they are there; its value is its entry in the index.

    Files of a mosaic of other pictures (another seed or list of classes) are replaced.
    """
    image, labels = f"{MADE}/images/{job.name}.png", f"{MADE}/labels/{job.name}.png"
    recipe = " ".join(f"{q.label}:{q.image.parent.name}/{q.image.stem}" for q in job.quarters)
    if not overwrite and all(text_in(root / path, _TEXT_KEY) == recipe for path in (image, labels)):
        return Done(made=False, value=describe(image, labels, read_labels(root / labels)))
    canvas_HW3 = np.zeros((2 * TILE, 2 * TILE, 3), np.uint8)
    labels_HW = np.zeros((2 * TILE, 2 * TILE), np.uint8)
    for number, quarter in enumerate(job.quarters):
        y, x = (TILE * n for n in divmod(number, 2))
        mask_HW = read_foreground(quarter.mask)
        picture = Image.fromarray(read_image(quarter.image))
        canvas_HW3[y : y + TILE, x : x + TILE] = picture.resize((TILE, TILE))
        object_HW = Image.fromarray(mask_HW).resize((TILE, TILE), Image.Resampling.NEAREST)
        labels_HW[y : y + TILE, x : x + TILE][np.asarray(object_HW)] = quarter.label
    for path, array in ((image, canvas_HW3), (labels, labels_HW)):
        write_mask(root / path, array, {_TEXT_KEY: recipe})
    return Done(made=True, value=describe(image, labels, labels_HW))


def read_foreground(path: Path) -> NDArray[np.bool_]:
    """The mask (H, W) bool of a picture's object: what is brighter than half white."""
    values = read_raw(path, _MODES)
    if values.ndim == 3:
        values = values[..., :3].max(axis=-1)
    mask_HW = values if values.dtype == bool else values > 127
    if not mask_HW.any():
        raise ValueError(f"{path}: the mask is empty; {AGAIN}")
    return mask_HW
