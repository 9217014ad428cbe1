"""Image files: segmented in batches of one size, each with its result files."""

from __future__ import annotations

import sys
import time
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from frozenseg.cli.segment_job import Counts, Job
from frozenseg.errors import describe
from frozenseg.files import NotWrittenError
from frozenseg.progress import StageSeconds

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from frozenseg.predict.segmentation import Segmentation

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

    off = None if sys.stderr.isatty() else True
    with tqdm(total=len(files), unit="image", disable=off) as progress:
        run = _Run(job, progress)
        try:
            with run.reader, run.writer:  # what was segmented is written, whatever ends the block
                run.segment(files)
        except KeyboardInterrupt:
            progress.write(f"stopped after {run.counts.total} of {len(files)} images")
            raise
        except NotWrittenError as error:
            kept = run.counts.done + run.counts.kept
            hint = f"the results of {kept} of {len(files)} images are kept"
            raise OSError(f"{error}; {hint}") from error
    if run.counts.done:
        print(run.clock.line(run.counts.done, "image"))
    return run.counts


class _Run:
    """One run over image files: while a batch is segmented, the next image is read and the results
    of the last batch are drawn and written, each by a thread of its own.
    """

    def __init__(self, job: Job, progress: Any) -> None:
        self.job, self.progress = job, progress
        self.clock = StageSeconds()
        self._met, self._tried = Counts(), Counts()  # by the calling thread, by the writing one
        self.reader, self.writer = ThreadPoolExecutor(1), ThreadPoolExecutor(1)
        self._written: list[Future[None]] = []

    @property
    def counts(self) -> Counts:
        """The files by what became of them so far."""
        return self._met + self._tried

    def segment(self, files: Mapping[Path, str]) -> None:
        """Raises: NotWrittenError where no result can be written."""
        batches, waiting = Batches(self.job.batch_size), deque[Future[Item]]()
        for path, name in files.items():
            if self._is_done(path, name):
                continue
            waiting.append(self.reader.submit(self._read, path, name))
            if len(waiting) > self.job.batch_size:
                self._segment_with(batches, waiting.popleft())
        while waiting:
            self._segment_with(batches, waiting.popleft())
        for batch in batches.rest():
            self._segment_batch(batch)
        self._wait_for_writing()

    def _is_done(self, path: Path, name: str) -> bool:
        from frozenseg.predict.segmentation_files import all_paths

        job = self.job
        paths = all_paths(job.folder, name, job.kinds).values()
        done = job.is_done(paths, job.folder / f"{name}.json", job.about_image(path))
        self._met.kept += done
        self.progress.update(int(done))
        return done

    def _read(self, path: Path, name: str) -> Item:
        from frozenseg.data.reading import read_rgb

        with self.clock.running("reading"):
            return Item(path, name, read_rgb(path))

    def _segment_with(self, batches: Batches, read: Future[Item]) -> None:
        """Adds an image to the batches; one that cannot be read is named and counted."""
        try:
            item = read.result()
        except (OSError, ValueError) as error:
            self._met.bad += 1
            self.progress.update()
            self.progress.write(f"skipped {describe(error)}", file=sys.stderr)
            return
        for batch in batches.add(item):
            self._segment_batch(batch)

    def _segment_batch(self, batch: list[Item]) -> None:
        start = time.perf_counter()
        with self.clock.running("model"):
            found = self.job.segment([item.image_HW3 for item in batch])
        seconds = (time.perf_counter() - start) / len(batch)
        self._wait_for_writing()
        self._written = [
            self.writer.submit(self._write, item, result, seconds)
            for item, result in zip(batch, found, strict=True)
        ]

    def _wait_for_writing(self) -> None:
        for each in self._written:
            each.result()

    def _write(self, item: Item, result: Segmentation, seconds: float) -> None:
        from frozenseg.predict.segmentation_files import save_all

        job, start = self.job, time.perf_counter()
        about = job.about_image(item.path)
        self.progress.update()
        try:
            with self.clock.running("drawing and writing"):
                written = save_all(result, job.folder, item.name, item.image_HW3, about, job.kinds)
        except NotWrittenError as error:
            if error.is_about_folder:
                raise
            self._tried.bad += 1
            self.progress.write(f"skipped {item.path}: {error}", file=sys.stderr)
            return
        self._tried.done += 1
        seconds += time.perf_counter() - start
        count = f"{len(result.segments)} segment{'' if len(result.segments) == 1 else 's'}"
        shown = written[next(kind for kind in ("sheet", *written) if kind in written)]
        self.progress.write(f"{item.path}: {count} in {seconds:.1f} s -> {shown}")
