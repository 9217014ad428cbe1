"""SAM's automatic masks of images, one a block: a worker for the engines of labelling."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from frozenseg.data.proposals.writer import append_record
from frozenseg.data.reading import read_rgb
from frozenseg.encoders.sam.automatic_masks import MaskGeneration, SamMasks
from frozenseg.encoders.sam.model import load_sam
from frozenseg.errors import describe
from frozenseg.files import NotWrittenError, file_digest
from frozenseg.labelling.engine import Counts, Outcome


@dataclass(frozen=True)
class SamJob:
    """What a process needs to know.

    Attributes:
        root: the folder of the images. output: that of the export.
        sam, weights, precision: as `load_sam` takes them. device: as PyTorch names it.
        threads: of the CPU, for this process.
        images: block -> image below the root, and its shard.
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
    images: Mapping[int, tuple[str, int]]


class SamWorker:
    """Makes and keeps the masks of images: an `engine.Worker`."""

    def __init__(self, job: SamJob) -> None:
        """Loads SAM."""
        import torch

        torch.set_num_threads(job.threads)
        sam = load_sam(job.sam, job.weights, job.device, precision=job.precision)
        self.job = job
        self._generate = SamMasks(sam, job.settings, points_per_batch=job.points_per_batch)
        self._run = f"{os.getpid()}-{uuid.uuid4().hex[:12]}"

    def identity(self) -> dict[str, Any]:
        """See `engine.Worker`; the index of an export says what made it."""
        return {}

    def run(self, block: int) -> Outcome:
        """See `engine.Worker`: an image that cannot be read is an error that is kept, too."""
        key, shard = self.job.images[block]
        try:
            record = make_record(self._generate, self.job.root, key)
        except Exception as error:  # noqa: BLE001  # of one image: the others go on
            return Outcome(block, Counts(), describe(error))
        try:
            append_record(self.job.output, shard, self._run, record)
        except OSError as error:
            said = NotWrittenError(self.job.output, error)
            return Outcome(block, Counts(), str(said), stop=True)
        reason = record.get("error", "")
        return Outcome(block, Counts(1, len(record.get("masks", ())), bool(reason)), reason)


def make_record(generate: SamMasks, root: Path, key: str) -> dict[str, Any]:
    """The line of an image (frozenseg/data/proposals/reader.py); with `error` where it is bad."""
    import torch

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
