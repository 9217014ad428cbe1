"""Label maps of an episodic benchmark, and the index of its images (frozenseg/data/episodes.py).

Legend: H and W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from frozenseg.data.episodes import IGNORE_LABEL, describe, index_content
from frozenseg.data.preparation.prepared_files import is_complete, write_mask
from frozenseg.data.preparation.raw_files import (
    AGAIN,
    check_range,
    check_sizes,
    empty_annotation,
    read_labels,
)
from frozenseg.data.preparation.work import Done, Preparation


class EpisodeJob(NamedTuple):
    """An image, the label map to make (both relative to the root), and what it is made from."""

    image: str
    labels: str
    source: Any


Draw = Callable[[EpisodeJob], NDArray[np.integer[Any]]]


def prepare_episodes(
    preparation: Preparation,
    title: str,
    jobs: Sequence[EpisodeJob],
    draw: Draw,
    index: Path,
    classes: int,
    *,
    allow_empty: bool = False,
) -> None:
    """Makes the label maps of a split and, last, its index.

    Args:
        draw: gives the label map (H, W) uint8 of a job: 0 background, 1 to `classes`, 255.
        classes: the largest label.
        allow_empty: images without a class are in order, whatever the preparation says.
    """
    convert = partial(
        convert_episode,
        root=preparation.root,
        draw=draw,
        classes=classes,
        overwrite=preparation.overwrite,
        allow_empty=allow_empty or preparation.allow_empty,
    )
    preparation.write_index(index, index_content, title, convert, jobs)


def convert_episode(
    job: EpisodeJob,
    *,
    root: Path,
    draw: Draw,
    classes: int,
    overwrite: bool = False,
    allow_empty: bool = False,
) -> Done:
    """Writes the label map unless it is there; its value is the image's entry in the index."""
    path = root / job.labels
    there = not overwrite and is_complete(path)
    labels_HW = read_labels(path) if there else draw(job)
    check_sizes(path, labels_HW, root / job.image)
    wrong_HW = (labels_HW > classes) & (labels_HW != IGNORE_LABEL)
    remedy = "make it again with --overwrite" if there else AGAIN
    rest = f"0 (background), 1 to {classes} and {IGNORE_LABEL} are expected; {remedy}"
    check_range(path, "label {}", labels_HW, wrong_HW, rest)
    entry = describe(job.image, job.labels, labels_HW)
    if not (entry.pixels or allow_empty):
        raise empty_annotation(path)
    if not there:
        write_mask(path, labels_HW)
    return Done(made=not there, value=entry)
