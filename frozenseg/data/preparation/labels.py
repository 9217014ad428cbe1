"""Semantic annotations: a table from published values to class indices, applied to whole files.

Legend: H and W pixels, V published values.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from frozenseg.data.preparation.prepared_files import is_complete, place_image, write_mask
from frozenseg.data.preparation.raw_files import (
    check_range,
    check_sizes,
    empty_annotation,
    paired_stems,
    read_labels,
)
from frozenseg.data.preparation.work import Done, Preparation

IGNORED_8, IGNORED_16 = 255, 65535
_VOID, _INVALID = -1, -2


@dataclass(frozen=True)
class LabelTable:
    """Which class each published value stands for.

    Attributes:
        classes_V: the class index of a value, -1 for one that is not scored, -2 for none.
        ignored: what is written for values that are not scored: 255 (8 bits) or 65535 (16 bits).
        meaning: the published values in words, for messages.
    """

    classes_V: NDArray[np.int32]
    ignored: int
    meaning: str

    @classmethod
    def of(
        cls,
        classes: Mapping[int, int],
        void: Sequence[int],
        meaning: str,
        ignored: int = IGNORED_8,
    ) -> LabelTable:
        """From value -> class index; the values `void` are not scored, all others are wrong."""
        table = np.full(max(*classes, *void, 0) + 1, _INVALID, dtype=np.int32)
        table[list(void)] = _VOID
        for value, index in classes.items():
            table[value] = index
        if table.max() >= ignored:
            raise ValueError(f"{table.max() + 1} classes do not fit below {ignored}")
        return cls(table, ignored, meaning)

    def __call__(
        self, path: Path, values_HW: NDArray[np.integer[Any]]
    ) -> NDArray[np.unsignedinteger[Any]]:
        """Class indices (H, W), uint8 or uint16; ValueError if a value stands for none."""
        size, values_HW = len(self.classes_V), values_HW.astype(np.int32)
        classes_HW = self.classes_V[np.minimum(values_HW, size - 1)]
        wrong_HW = (values_HW >= size) | (classes_HW == _INVALID)
        doubt = "Is this the benchmark's own file? Unpack the archive of the dataset again"
        check_range(path, "label {}", values_HW, wrong_HW, f"{self.meaning}. {doubt}")
        dtype: type[np.unsignedinteger[Any]] = np.uint8 if self.ignored == IGNORED_8 else np.uint16
        return np.where(classes_HW == _VOID, self.ignored, classes_HW).astype(dtype)

    def has_class(self, path: Path, values_HW: NDArray[np.integer[Any]]) -> bool:
        """Whether any pixel has a class that is scored."""
        return bool((self(path, values_HW) != self.ignored).any())


class LabelJob(NamedTuple):
    """One annotation file: its image, the masks to make of it, and where the image is placed."""

    image: Path
    labels: Path
    masks: tuple[Path, ...]
    placed: Path | None = None


Reader = Callable[[Path], NDArray[np.integer[Any]]]


def convert_labels(
    job: LabelJob,
    *,
    read: Reader,
    tables: tuple[LabelTable, ...],
    labelled: LabelTable,
    overwrite: bool = False,
    allow_empty: bool = False,
) -> Done:
    """Writes masks[i] = tables[i] of the annotation, unless all are there.

    An annotation in which `labelled` finds no class is an error unless `allow_empty`.
    """
    outputs = [*job.masks, *([job.placed] if job.placed else [])]
    if not overwrite and all(is_complete(path) for path in outputs):
        return Done(made=False)
    values_HW = read(job.labels)
    check_sizes(job.labels, values_HW, job.image)
    masks = [table(job.labels, values_HW) for table in tables]
    if not (allow_empty or labelled.has_class(job.labels, values_HW)):
        raise empty_annotation(job.labels)
    for path, mask_HW in zip(job.masks, masks, strict=True):
        write_mask(path, mask_HW)
    if job.placed:
        place_image(job.image, job.placed)
    return Done(made=True)


def prepare_labels(
    preparation: Preparation,
    title: str,
    jobs: Sequence[LabelJob],
    read: Reader,
    tables: Sequence[LabelTable],
    labelled: LabelTable | None = None,
) -> None:
    """Converts the annotations of a split; `labelled` (see above) is by default the first table."""
    convert = partial(
        convert_labels,
        read=read,
        tables=tuple(tables),
        labelled=labelled or tables[0],
        **preparation.choices,
    )
    preparation.convert(title, convert, jobs)


def prepare_folders(
    preparation: Preparation, title: str, images: str, labels: str, masks: str, table: LabelTable
) -> None:
    """`prepare_labels` for every split of folders (see `Preparation.path`) of .jpg and .png whose
    names agree.
    """
    for split in preparation.splits:
        image, label, mask = (preparation.path(each, split) for each in (images, labels, masks))
        jobs = [
            LabelJob(image / f"{stem}.jpg", label / f"{stem}.png", (mask / f"{stem}.png",))
            for stem in paired_stems(image, label)
        ]
        prepare_labels(preparation, f"{title} {split}", jobs, read_labels, [table])
