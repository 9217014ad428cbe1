"""Image files: segmented in batches of one size, each with its result files."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from frozenseg.cli.segment_job import Counts, Job
from frozenseg.errors import describe
from frozenseg.files import NotWrittenError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST_WAITING = 4  # times the batch size: images in memory that wait for others of their size


class Item(NamedTuple):
    """An image, its file and the name of its results."""

    path: Path
    name: str
    image_HW3: NDArray[np.uint8]


@dataclass
class Batches:
    """Groups images of one size, as padding to a common size would change results."""

    size: int
    _waiting: dict[tuple[int, ...], list[Item]] = field(default_factory=dict)

    def add(self, item: Item) -> Iterator[list[Item]]:
        """The batches that are ready with this image, at most one."""
        group = self._waiting.setdefault(item.image_HW3.shape, [])
        group.append(item)
        waiting = sum(map(len, self._waiting.values()))
        if len(group) == self.size or waiting >= MOST_WAITING * self.size:
            largest = max(self._waiting, key=lambda shape: len(self._waiting[shape]))
            yield self._waiting.pop(largest)

    def rest(self) -> Iterator[list[Item]]:
        """The images that still wait."""
        while self._waiting:
            yield self._waiting.popitem()[1]


def segment_images(job: Job, files: Mapping[Path, str]) -> Counts:
    """Writes the results of all readable files; files that are not images are named and counted.

    Args: files: the name of the results of every file.
    After Ctrl-C what was written is whole, and the same call goes on behind it.
    """
    from tqdm import tqdm

    counts, batches = Counts(), Batches(job.batch_size)
    off = None if sys.stderr.isatty() else True
    with tqdm(total=len(files), unit="image", disable=off) as progress:
        try:
            for path, name in files.items():
                for batch in _next_batches(job, batches, path, name, counts, progress):
                    _segment_batch(job, batch, counts, progress)
            for batch in batches.rest():
                _segment_batch(job, batch, counts, progress)
        except KeyboardInterrupt:
            progress.write(f"stopped after {counts.total} of {len(files)} images")
            raise
        except NotWrittenError as error:
            kept = f"the results of {counts.done + counts.kept} of {len(files)} images are kept"
            raise OSError(f"{error}; {kept}") from error
    return counts


def _next_batches(
    job: Job, batches: Batches, path: Path, name: str, counts: Counts, progress: Any
) -> Iterator[list[Item]]:
    """Reads a file; the batches that are ready with it."""
    from frozenseg.data.reading import read_rgb
    from frozenseg.predict.segmentation_files import all_paths

    paths = all_paths(job.folder, name, job.kinds)
    if job.is_done(paths.values(), job.folder / f"{name}.json", job.about_image(path)):
        counts.kept += 1
        progress.update()
        return
    try:
        image_HW3 = read_rgb(path)
    except (OSError, ValueError) as error:
        counts.bad += 1
        progress.update()
        progress.write(f"skipped {describe(error)}", file=sys.stderr)
        return
    yield from batches.add(Item(path, name, image_HW3))


def _segment_batch(job: Job, batch: list[Item], counts: Counts, progress: Any) -> None:
    from frozenseg.predict.segmentation_files import save_all

    start = time.perf_counter()
    found = job.segment([item.image_HW3 for item in batch])
    for item, result in zip(batch, found, strict=True):
        about = job.about_image(item.path)
        progress.update()
        try:
            written = save_all(result, job.folder, item.name, item.image_HW3, about, job.kinds)
        except NotWrittenError as error:
            if error.is_about_folder:
                raise
            counts.bad += 1
            progress.write(f"skipped {item.path}: {error}", file=sys.stderr)
            continue
        counts.done += 1
        now = time.perf_counter()
        count = f"{len(result.segments)} segment{'' if len(result.segments) == 1 else 's'}"
        shown = written[next(kind for kind in ("sheet", *written) if kind in written)]
        progress.write(f"{item.path}: {count} in {now - start:.1f} s -> {shown}")
        start = now
