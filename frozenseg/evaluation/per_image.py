"""per_image/DATASET.json beside results.json: what an evaluation counted of every image.

Sums over the images give the scores of results.json again, so that a sample of the images can be
scored without a model (`bootstrap`), and the worst images found.

Legend: C classes, N images, R rows: one for each class that an image, or its prediction, has.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import msgspec
import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from frozenseg.data.schemas import Id
from frozenseg.files import read_typed, write_json

FORMAT = 1
FOLDER = "per_image"
AGAIN = "evaluate again with --per-image (TEST.SAVE_PER_IMAGE True)"
# What has to be the same in an entry of results.json and in the file beside it.
IDENTITY = ("benchmark", "dataset", "split", "config_hash", "checkpoint_hash")

Array = NDArray[Any]


class Kind(NamedTuple):
    """A score that is a mean over classes of what is counted.

    Attributes:
        score: its name in `results.COLUMNS`.
        columns: what is counted of a class; sums over images are counts, too.
        values: of summed counts (..., K) the score of a class in 0..1 (...).
        counted: of summed counts (..., K) whether a class takes part in the mean (...).
    """

    score: str
    columns: tuple[str, ...]
    values: Callable[[Array], Array]
    counted: Callable[[Array], Array]


def _quality(counts: Array) -> Array:
    tp, fp, fn, iou = np.moveaxis(counts, -1, 0)
    return iou / np.maximum(tp + fp / 2 + fn / 2, 0.5)


def pixel_iou(correct: Array, truth: Array, predicted: Array) -> Array:
    """IoU in 0..1 of counts of pixels, which may be fractions; 0 where there are none."""
    return np.asarray(correct / np.maximum(truth + predicted - correct, 1e-9))


KINDS: dict[str, Kind] = {
    "panoptic": Kind(
        "PQ", ("tp", "fp", "fn", "iou"), _quality, lambda counts: counts[..., :3].any(-1)
    ),
    "semantic": Kind(
        "mIoU",
        ("right", "truth", "predicted"),
        lambda counts: pixel_iou(*np.moveaxis(counts, -1, 0)),
        lambda counts: counts[..., 1] > 0,
    ),
    "episodes": Kind(
        "mIoU of items",
        ("intersection", "union", "items"),
        lambda counts: counts[..., 0] / np.maximum(counts[..., 1], 1),
        lambda counts: counts[..., 1] > 0,
    ),
}


class Rows(NamedTuple):
    """Counts of one kind, sorted by class, then by image.

    Attributes:
        image: index of each row's image (R,); `classes`: of its class (R,).
        counts: (R, K), as the columns of the kind.
    """

    image: Array
    classes: Array
    counts: Array


@dataclass(frozen=True)
class PerImage:
    """The counts of a dataset's images.

    Attributes:
        about: `IDENTITY` of the entry that they belong to.
        classes: names; `groups`: name -> indices of its classes.
        images: ids; `files`: names of the image files.
        rows: by kind, see `KINDS`.
    """

    about: dict[str, Any]
    classes: list[str]
    groups: dict[str, list[int]]
    images: list[Id]
    files: list[str]
    rows: dict[str, Rows]

    def image_scores(self, kind: str) -> Array:
        """Percent of every image (N,), the mean over its classes; NaN for one without any."""
        image, _, counts = self.rows[kind]
        which = KINDS[kind]
        counted = which.counted(counts)
        sums, numbers = (
            np.bincount(image[counted], weights, minlength=len(self.images))
            for weights in (which.values(counts[counted]), np.ones(int(counted.sum())))
        )
        return 100 * np.divide(sums, numbers, out=np.full(len(sums), np.nan), where=numbers > 0)


_Index = Annotated[int, Meta(ge=0)]
_Number = Annotated[float, Meta(ge=0)]


class _Kind(msgspec.Struct):
    image: list[_Index]
    classes: list[_Index]
    counts: dict[str, list[_Number]]


class _File(msgspec.Struct):
    format: Annotated[int, Meta(ge=FORMAT, le=FORMAT)]
    benchmark: str
    dataset: str
    split: str
    config_hash: str
    checkpoint_hash: str | None
    classes: list[str]
    groups: dict[str, list[_Index]]
    images: list[Id]
    files: list[str]
    kinds: dict[str, _Kind]


def per_image_file(folder: Path, dataset: str) -> Path:
    """Where the counts of a dataset lie. Args: folder: of results.json."""
    return folder / FOLDER / f"{dataset}.json"


def sorted_rows(image: Array, classes: Array, counts: Array) -> Rows:
    """The rows in their order, so that equal counts have equal sums to the last digit."""
    order = np.lexsort((image, classes))
    return Rows(image[order], classes[order], counts[order])


def keep_images(evaluators: Sequence[Any]) -> list[Any]:
    """Those of the evaluators that count what `KINDS` has; they keep every image from now on."""
    counting = [one for one in evaluators if getattr(one, "kind", None) in KINDS]
    for one in counting:
        one.keep_images()
    return counting


def per_image_of(evaluators: Sequence[Any], about: Mapping[str, Any]) -> PerImage | None:
    """What counting evaluators kept, see `CountingEvaluator.keep_images`; None if none did.

    Args: about: has the entries `IDENTITY`.
    """
    kept = [one for one in evaluators if getattr(one, "per_image", None) is not None]
    if not kept:
        return None
    first, every = kept[0], range(len(kept[0].class_names))
    keys = sorted(first.per_image, key=lambda key: (isinstance(key, str), key))
    rows = {}
    for one in kept:
        parts = [one.per_image[key] for key in keys]
        image = np.repeat(np.arange(len(keys)), [len(part.classes) for part in parts])
        classes, counts = (
            np.concatenate([getattr(part, name) for part in parts]) for name in ("classes", "rows")
        )
        rows[one.kind] = sorted_rows(image, classes, counts)
    return PerImage(
        about={key: about[key] for key in IDENTITY},
        classes=list(first.class_names),
        groups={name: np.flatnonzero(mask).tolist() for name, mask in first.groups.items()}
        or {"all": list(every)},
        images=keys,
        files=[first.per_image[key].file for key in keys],
        rows=rows,
    )


def write_per_image(path: Path, record: PerImage) -> None:
    """Writes a file, whole or not at all. Raises: NotWrittenError."""
    kinds = {
        kind: {
            "image": rows.image.tolist(),
            "classes": rows.classes.tolist(),
            "counts": {
                name: [_short(value) for value in values]
                for name, values in zip(KINDS[kind].columns, rows.counts.T.tolist(), strict=True)
            },
        }
        for kind, rows in record.rows.items()
    }
    content = {"format": FORMAT, **record.about, "classes": record.classes, "groups": record.groups}
    lists = {"images": record.images, "files": record.files, "kinds": kinds}
    write_json(path, {**content, **lists}, indent=None, allow_nan=False)


def _short(value: float) -> float | int:
    return int(value) if value == int(value) else value


def read_per_image(path: Path) -> PerImage:
    """The content of a file. Raises: FileNotFoundError; ValueError with the place and remedy."""
    file = read_typed(path, _File, AGAIN)
    _check(file, path)
    rows = {
        kind: sorted_rows(
            np.array(one.image, dtype=np.int64),
            np.array(one.classes, dtype=np.int64),
            np.array([one.counts[name] for name in KINDS[kind].columns]).T.reshape(
                len(one.image), len(KINDS[kind].columns)
            ),
        )
        for kind, one in file.kinds.items()
    }
    about = {key: getattr(file, key) for key in IDENTITY}
    return PerImage(about, file.classes, file.groups, file.images, file.files, rows)


def _check(file: _File, path: Path) -> None:
    """Raises ValueError for lists that do not fit each other."""
    classes, images = len(file.classes), len(file.images)
    wrong = ""
    if len(set(file.images)) != images or len(file.files) != images:
        wrong = "images and files must be lists of the same length, every id once"
    if any(index >= classes for group in file.groups.values() for index in group):
        wrong = f"groups: an index of a class is not below {classes}"
    for kind, one in file.kinds.items():
        wrong = wrong or _problem(kind, one, images, classes)
    if wrong:
        raise ValueError(f"{path}: {wrong}; {AGAIN}")


def _problem(kind: str, one: _Kind, images: int, classes: int) -> str:
    """What is wrong with the counts of a kind, "" if nothing is."""
    if kind not in KINDS:
        return f"kinds: {kind} is none of {', '.join(KINDS)}"
    if set(one.counts) != set(KINDS[kind].columns):
        return f"kinds: {kind}: counts must be {', '.join(KINDS[kind].columns)}"
    if {len(one.classes), *map(len, one.counts.values())} != {len(one.image)}:
        return f"kinds: {kind}: its lists differ in length"
    if max(one.image, default=-1) >= images or max(one.classes, default=-1) >= classes:
        return f"kinds: {kind}: an index is not below {images} images or {classes} classes"
    if not all(math.isfinite(value) for column in one.counts.values() for value in column):
        return f"kinds: {kind}: a count is not finite"
    return ""


class Beside(NamedTuple):
    """The counts of an entry of results.json; None with the reason where there are none."""

    counts: PerImage | None
    reason: str = ""


def counts_beside(results: Path, entry: Mapping[str, Any]) -> Beside:
    """The counts of every image that were kept with an entry, and are still its own.

    Args: results: results.json, or its folder.
    Raises: ValueError for a damaged file.
    """
    folder = results if results.is_dir() else results.parent
    path = per_image_file(folder, entry["dataset"])
    if not path.is_file():
        return Beside(None, f"no counts of every image were kept: {AGAIN}")
    counts = read_per_image(path)
    try:
        check_belongs(counts, entry, path)
    except ValueError as error:
        return Beside(None, str(error))
    return Beside(counts)


def check_belongs(record: PerImage, entry: Mapping[str, Any], path: Path) -> None:
    """Raises ValueError unless counts are those of an entry of results.json."""
    differing = [key for key in IDENTITY if record.about[key] != entry.get(key)]
    if not differing and len(record.images) != entry["images"]:
        raise ValueError(
            f"{path}: has {len(record.images)} images, the results beside it {entry['images']}; "
            f"{AGAIN}"
        )
    if differing:
        raise ValueError(
            f"{path}: belongs to another evaluation than the results beside it (its "
            f"{differing[0]} is {record.about[differing[0]]}, theirs {entry.get(differing[0])}); "
            f"{AGAIN}"
        )
