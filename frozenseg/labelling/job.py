"""A job: blocks of images through workers into parts; the same job again goes on behind them."""

from __future__ import annotations

import gc
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count, islice
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import msgspec

from frozenseg.errors import describe
from frozenseg.files import NotWrittenError, remove_stale_parts
from frozenseg.labelling.engine import Counts, Engine, Outcome
from frozenseg.labelling.inputs import Member, Store, members, plan
from frozenseg.labelling.parts import (
    IMAGES_OF_BLOCK,
    PARTS,
    Manifest,
    PartWriter,
    check_same,
    claim,
    counts_of_all,
    existing_parts,
    part_of,
    read_block,
    read_manifest,
    write_plan,
)
from frozenseg.labelling.segment_batch import SegmentBatch

WINDOW = 4  # batches that are read together, so that images of one size find each other
T = TypeVar("T")
U = TypeVar("U")


class Job(NamedTuple):
    """What is asked for.

    Attributes:
        input: see `inputs.plan`. column: of Parquet files.
        output: the folder.
        model: arguments of `SegmentBatch`.
        block_size: images of a part, where files do not say it themselves.
        shard: (i, n): every n-th block from the i-th of 0 to n - 1.
        again: compute parts with errors again.
    """

    input: str
    output: Path
    model: dict[str, Any]
    column: str = ""
    block_size: int = 256
    shard: tuple[int, int] = (0, 1)
    again: bool = False


class BlockWorker:
    """Segments the images of blocks into parts: an `engine.Worker`."""

    def __init__(self, job: Job, make: Callable[..., Any] = SegmentBatch) -> None:
        """Loads the model. `make`: called with `job.model` and `source`, as `SegmentBatch` is."""
        self.job, self.batch = job, make(**job.model, source=job.input)
        self._manifest: Manifest | None = None

    def identity(self) -> dict[str, Any]:
        """See `SegmentBatch.identity`."""
        return self.batch.identity()

    def run(self, block: int) -> Outcome:
        """See `engine.Worker`."""
        try:
            return Outcome(block, self._run(block))
        except NotWrittenError as error:
            return Outcome(block, Counts(), str(error), error.is_about_folder)
        except Exception as error:  # noqa: BLE001  # of one block: the others go on
            return Outcome(block, Counts(), describe(error))
        finally:
            gc.collect(0)

    def _run(self, block: int) -> Counts:
        if self._manifest is None:  # of an actor that was restarted, too
            self._manifest = read_manifest(self.job.output)
            if self._manifest is None:
                raise ValueError(f"{self.job.output}: its manifest.json is gone")
            check_same(self._manifest, self.identity(), self.job.output)
        manifest, output = self._manifest, self.job.output
        items = read_block(output, manifest.plan, block)
        images = members(manifest.kind, manifest.column, items, Store(self.job.input))
        writer = PartWriter(part_of(output, block))
        windows = _windows(images, block, WINDOW * self.batch.batch_size)
        for decoded in _ahead(self.batch.read, windows):
            writer.add(self.batch.segment(decoded))
        return writer.close()


def _windows(images: Iterable[Member], block: int, size: int) -> Iterator[dict[str, list[Any]]]:
    """Columns of `size` images at a time."""
    numbers, stream = count(block * IMAGES_OF_BLOCK), iter(images)
    while group := list(islice(stream, size)):
        ids = [next(numbers) for _ in group]
        if ids[-1] >= (block + 1) * IMAGES_OF_BLOCK:
            raise ValueError(f"{group[-1].path}: more than {IMAGES_OF_BLOCK:,} images: split it")
        yield {
            "image_id": ids,
            "path": [each.path for each in group],
            "bytes": [each.data for each in group],
            "error": [each.error for each in group],
        }


def _ahead(function: Callable[[T], U], values: Iterable[T]) -> Iterator[U]:
    """`map` that computes the next value while the caller uses the last one; no further."""
    stream = iter(values)

    def following() -> list[U]:
        return [function(value) for value in islice(stream, 1)]

    with ThreadPoolExecutor(1) as thread:
        pending = thread.submit(following)
        while found := pending.result():
            pending = thread.submit(following)
            yield found[0]


class Report(NamedTuple):
    """What is in the output now, of this call's shard, and what is missing.

    Attributes:
        kept: of parts that were there. done: of those of this call.
        failed: blocks without a part, with the reason.
    """

    kept: Counts
    done: Counts
    failed: dict[int, str]

    @property
    def total(self) -> Counts:
        """All parts together."""
        return self.kept + self.done


def prepare(job: Job, engine: Engine) -> Manifest:
    """The manifest of the output, written with its plan if there is none.

    Raises: ValueError for an output of another job, and for an input that stands for nothing.
    """
    found = read_manifest(job.output)
    if found is not None:
        check_same(found, {"input": job.input}, job.output)
        for unused in job.output.glob("plan-*"):
            remove_stale_parts(unused)
    wanted = engine.identity()
    if found is None:
        kind, column, blocks = plan(job.input, job.block_size, job.column)
        sizes: list[int] = [0]

        def counted() -> Iterator[Any]:
            for block in blocks:
                sizes[0] += len(block)
                yield block

        name, number = write_plan(job.output, counted())
        images = sizes[0] if kind == "images" else None
        new = Manifest(
            **wanted,
            input=job.input,
            kind=kind,
            column=column,
            plan=name,
            blocks=number,
            images=images,
        )
        found = claim(job.output, new)
    check_same(found, {"input": job.input, **_plain(wanted)}, job.output)
    return found


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """As they are after JSON."""
    return msgspec.json.decode(msgspec.json.encode(values))


class Missing(NamedTuple):
    """The blocks of a job's shard that have no part yet, and what is kept of the others."""

    blocks: Iterable[int]
    kept: Counts


def missing(job: Job, manifest: Manifest) -> Missing:
    """What is left to do; also what has errors, where the job asks for it again."""
    index, of = job.shard
    for folder in (job.output / PARTS).glob("*"):
        remove_stale_parts(folder)  # of processes that were killed
    there = {b: p for b, p in existing_parts(job.output).items() if b % of == index}
    counts = dict(zip(there, counts_of_all(there.values()), strict=True))
    if job.again:
        counts = {block: each for block, each in counts.items() if not each.errors}
    blocks = (b for b in range(index, manifest.blocks, of) if b not in counts)
    return Missing(blocks, sum(counts.values(), Counts()))


def run(engine: Engine, todo: Missing, seen: Callable[[Outcome], object] | None = None) -> Report:
    """Computes the blocks that are missing.

    Args: seen: called with every outcome; it may print.
    Raises: OSError where nothing can be written, with what is kept.
    """
    done, failed = Counts(), {}
    for outcome in engine.run(todo.blocks):
        if seen is not None:
            seen(outcome)
        if outcome.stop:
            have = (todo.kept + done).images
            raise OSError(f"{outcome.error}; the rows of {have} images are kept")
        if outcome.error:
            failed[outcome.block] = outcome.error
        done += outcome.counts
    return Report(todo.kept, done, failed)
