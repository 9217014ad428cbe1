"""Runs the conversion of every image of a split: in processes, with progress, counting failures.

A conversion is a function of one job (both picklable) that returns a `Done`, or raises ValueError
or OSError with a sentence for the user. It writes its files atomically and leaves those alone that
are complete, so that a run which was stopped, however, goes on where it stopped.
"""

from __future__ import annotations

import multiprocessing
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from frozenseg.data.catalog.split import FOLDERS
from frozenseg.data.preparation.raw_files import Source, missing_from, require_tree
from frozenseg.files import write_json
from frozenseg.progress import Progress

EXIT_SOME_FAILED = 1
NAMED_FAILURES = 20
_JOBS_PER_PROCESS = 8  # fewer are done before a second process has started


class Done(NamedTuple):
    """A converted image: whether it was made now (or was there), and what its conversion says."""

    made: bool
    value: Any = None


class Failed(NamedTuple):
    """An image that could not be converted, and why."""

    message: str


Convert = Callable[[Any], Done]


@dataclass
class Preparation:
    """What was asked for, and what has come of it.

    Attributes:
        root: folder of all datasets, absolute.
        splits: "train", "val".
        workers: number of processes.
        overwrite: make files again that are there.
        allow_empty: accept annotations without a labelled pixel.
    """

    root: Path
    splits: tuple[str, ...] = ("val",)
    workers: int = 1
    overwrite: bool = False
    allow_empty: bool = False
    lines: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)

    @property
    def choices(self) -> dict[str, Any]:
        """What conversions of single images need to know."""
        return {"overwrite": self.overwrite, "allow_empty": self.allow_empty}

    def path(self, pattern: str, split: str) -> Path:
        """A path below the root, {split} in it being "val" and {folder} "validation"."""
        return self.root / pattern.format(split=split, folder=FOLDERS[split])

    def require(self, source: Source, *patterns: str) -> None:
        """`require_tree` of the patterns (see `path`) for all splits."""
        require_tree(source, self.root, self._paths(patterns))

    def _paths(self, patterns: Sequence[str]) -> list[str]:
        paths = [p.format(split=s, folder=FOLDERS[s]) for s in self.splits for p in patterns]
        return list(dict.fromkeys(paths))

    def convert(self, title: str, convert: Convert, jobs: Sequence[Any]) -> list[Any] | None:
        """The values of all jobs in their order, or None if one of them failed."""
        results = []
        with Progress(len(jobs), title, "image") as progress:
            for result in _results(convert, jobs, self.workers):
                results.append(result)
                progress.advance()
        failures = [result.message for result in results if isinstance(result, Failed)]
        done = [result for result in results if isinstance(result, Done)]
        made = sum(result.made for result in done)
        counts = f"{made} made, {len(done) - made} already there, {len(failures)} failed"
        self.lines.append(f"{title}: {len(jobs)} images: {counts}")
        self.failures += failures
        return None if failures else [result.value for result in done]

    def write_index(
        self,
        path: Path,
        content: Callable[[list[Any]], dict[str, Any]],
        title: str,
        convert: Convert,
        jobs: Sequence[Any],
    ) -> None:
        """Converts all jobs and writes the JSON file that describes them, last, if none failed.

        An older one is removed first: it may describe other files than those that are made.
        """
        path.unlink(missing_ok=True)
        values = self.convert(title, convert, jobs)
        if values is None:
            self.lines.append(f"{path}: not written, because images failed")
        else:
            write_json(path, content(values), indent=None, separators=(",", ":"))

    def finish(self) -> int:
        """Prints what was made and what failed; returns the exit code."""
        for line in self.lines:
            print(line)
        sys.stdout.flush()
        for failure in self.failures[:NAMED_FAILURES]:
            print(f"failed: {' '.join(failure.split())}", file=sys.stderr)
        if len(self.failures) > NAMED_FAILURES:
            print(f"... and {len(self.failures) - NAMED_FAILURES} more", file=sys.stderr)
        if self.failures:
            print(
                f"{len(self.failures)} failed. Repair what is named above and run the same command "
                "again: what is complete is kept.",
                file=sys.stderr,
            )
        return EXIT_SOME_FAILED if self.failures else 0


class Inspection(Preparation):
    """Ends a conversion where it asks for its published files: raises `InspectedError`."""

    def require(self, source: Source, *patterns: str) -> None:
        """Raises `InspectedError`."""
        raise InspectedError(missing_from(self.root, self._paths(patterns)))


class InspectedError(Exception):
    """No error: which published files and folders are not there."""

    def __init__(self, missing: Sequence[str]) -> None:
        """`missing`: paths below the root."""
        super().__init__(missing)
        self.missing = tuple(missing)


def _results(convert: Convert, jobs: Sequence[Any], workers: int) -> Iterator[Done | Failed]:
    """The result of every job, in order."""
    guarded = partial(_guarded, convert)
    workers = min(workers, len(jobs) // _JOBS_PER_PROCESS)
    if workers < 2:
        yield from map(guarded, jobs)
        return
    pool = ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), initializer=_leave_interrupts_to_parent
    )
    try:
        yield from pool.map(guarded, jobs, chunksize=_JOBS_PER_PROCESS)
    except BrokenProcessPool as error:
        raise OSError(
            "a process ended abruptly (is there enough memory?): run the same command again with "
            "fewer --workers; what is complete is kept"
        ) from error
    finally:
        pool.shutdown(cancel_futures=True)


def _guarded(convert: Convert, job: Any) -> Done | Failed:
    try:
        return convert(job)
    except (ValueError, OSError) as error:
        return Failed(str(error))


def _leave_interrupts_to_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
