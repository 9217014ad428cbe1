"""Makes the masks of images: in this process, or in several that each have a share."""

from __future__ import annotations

import os
import signal
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import connection, get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import torch

from frozenseg.data.proposals.writer import append_record
from frozenseg.data.reading import read_rgb
from frozenseg.encoders.sam.automatic_masks import MaskGeneration, SamMasks
from frozenseg.encoders.sam.model import load_sam
from frozenseg.errors import describe, is_user_error
from frozenseg.files import file_digest

Done = Callable[[str, str | None], None]  # an image, and why it has no masks


@dataclass(frozen=True)
class Job:
    """What a process needs to know.

    Attributes:
        root: the folder of the images. output: that of the export.
        sam, weights, precision: as `load_sam` takes them. device: as PyTorch names it.
        threads: of the CPU, for this process.
        shards: image -> its shard, for the images of this process.
    """

    root: Path
    output: Path
    sam: str
    weights: str
    precision: str
    device: str
    threads: int
    points_per_batch: int
    settings: MaskGeneration
    shards: Mapping[str, int]


def work(job: Job, done: Done) -> None:
    """Makes and keeps the masks of the images of a job; calls `done` after each."""
    torch.set_num_threads(job.threads)
    sam = load_sam(job.sam, job.weights, job.device, precision=job.precision)
    generate = SamMasks(sam, job.settings, points_per_batch=job.points_per_batch)
    run = f"{os.getpid()}-{uuid.uuid4().hex[:12]}"
    for key, shard in job.shards.items():
        record = make_record(generate, job.root, key)
        append_record(job.output, shard, run, record)
        done(key, record.get("error"))


def make_record(generate: SamMasks, root: Path, key: str) -> dict[str, Any]:
    """The line of an image (frozenseg/data/proposals/reader.py); with `error` where it is bad."""
    path = root / key
    try:
        digest, image_HW3 = file_digest(path), read_rgb(path)
    except (OSError, ValueError) as error:
        reason = describe(error).replace(str(path), key).removeprefix(f"{key}: ")
        return {"image": key, "error": reason}
    try:
        masks = generate(image_HW3)
    except torch.cuda.OutOfMemoryError:
        torch.cuda.empty_cache()
        return {"image": key, "error": "out of GPU memory: try a smaller --points-per-batch"}
    height, width = image_HW3.shape[:2]
    return {"image": key, "sha256": digest, "height": height, "width": width, "masks": masks}


def work_in_processes(jobs: Sequence[Job], done: Done) -> None:
    """`work` for every job in a process of its own; with one job in this process.

    Raises: what a process raised, as ValueError or RuntimeError; the others are ended then, as they
        are by Ctrl-C. What they made is kept.
    """
    if len(jobs) == 1:
        return work(jobs[0], done)
    context = get_context("spawn")
    processes: dict[Connection, BaseProcess] = {}
    try:
        for job in jobs:
            ours, theirs = context.Pipe(duplex=False)
            processes[ours] = context.Process(target=_serve, args=(job, theirs), daemon=True)
            with _no_interrupt():
                processes[ours].start()
            theirs.close()
        _listen(dict(processes), done)
    finally:
        for process in processes.values():
            if process.pid is not None:
                process.terminate()
                process.join()
    return None


def _listen(processes: dict[Connection, BaseProcess], done: Done) -> None:
    """Passes on what processes say, until all have ended."""
    while processes:
        for pipe in connection.wait(list(processes)):
            assert isinstance(pipe, Connection)
            try:
                message = pipe.recv()
            except EOFError:
                process = processes.pop(pipe)
                process.join()
                if process.exitcode:
                    raise RuntimeError(
                        f"a process ended with exit code {process.exitcode} (-9: killed, perhaps "
                        "for want of memory); the same command continues what is done"
                    ) from None
                continue
            if isinstance(message, Exception):
                raise message
            done(*message)


def _serve(job: Job, pipe: Connection) -> None:
    """A process: works, and says so; ends when nobody listens any more."""
    try:
        work(job, lambda key, error: pipe.send((key, error)))
    except BrokenPipeError:
        pass
    except Exception as error:  # noqa: BLE001 - passed on to the process that shows it
        kind = ValueError if is_user_error(error) else RuntimeError
        pipe.send(kind(describe(error)))


@contextmanager
def _no_interrupt() -> Iterator[None]:
    """A process started herein leaves Ctrl-C to this one, which ends it."""
    handler = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
