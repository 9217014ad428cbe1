"""What one training iteration takes, by stage, and what the data mapper does (`--training`)."""

from __future__ import annotations

import sys
import tempfile
import time
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
from detectron2.config import CfgNode
from PIL import Image

from frozenseg.benchmarking.clock import StageClock, medians
from frozenseg.benchmarking.measures import waiting
from frozenseg.data.loader import TrainLoader
from frozenseg.data.mappers.masks import SegmentationMapper
from frozenseg.data.reading import rgb_of_ids
from frozenseg.engine.optimizer import build_optimizer

STAGES = (
    *("mapper", "frozen encoders", "decoder forward", "matching", "losses", "backward"),
    *("optimizer", "other"),
)
FILE_SIZE = (480, 640)  # of a usual COCO image
SEGMENTS = 12
LOADED = 24  # images that the loader's rate is taken of


def measure_training(
    model: Any, cfg: CfgNode, crop: int, *, runs: int, warmup: int, device: str
) -> dict[str, Any]:
    """Median wall and processor seconds of the stages of an iteration with one image.

    The image is noise in blocks, 640 x 480, with a panoptic map of 12 segments; the crop is square.
    Returns: {"seconds": {stage: wall}, "processor seconds": ..., "images/s of the loader": ...}.
    """
    model.train()
    optimizer, kept = build_optimizer(cfg, model), []
    with tempfile.TemporaryDirectory() as folder:
        record = write_sample(Path(folder), len(model.train_vocabulary))
        mapper = SegmentationMapper(is_train=True, image_size=crop)
        for run in range(warmup + runs):
            clock = StageClock(waiting(device))
            torch.manual_seed(run)
            with ExitStack() as stack, clock.stage("other"):
                for owner, name, stage in _timed(model):
                    timed = clock.wrap(stage, getattr(owner, name))
                    stack.enter_context(mock.patch.object(owner, name, timed))
                with clock.stage("mapper"):
                    sample = mapper(record, np.random.default_rng(run))
                losses = model([sample])
                with clock.stage("backward"):
                    sum(losses.values()).backward()
                with clock.stage("optimizer"):
                    optimizer.step()
                    optimizer.zero_grad()
            kept.append({**clock.own, "total": clock.whole["other"]})
            print(f"\rrun {run + 1}/{warmup + runs}", end="", file=sys.stderr)
        print(file=sys.stderr)
        rates = {workers: loader_rate(record, mapper, workers) for workers in (0, 2)}
    seconds = {name: each.seconds for name, each in medians(kept[warmup:]).items()}
    return {
        **{
            unit: {name: seconds[name][unit] for name in (*STAGES, "total")}
            for unit in ("seconds", "processor seconds")
        },
        "images/s of the loader": rates,
    }


def write_sample(folder: Path, classes: int) -> dict[str, Any]:
    """A record of an image and its panoptic map, both written to the folder."""
    generator = np.random.default_rng(0)
    height, width = FILE_SIZE
    blocks = generator.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    Image.fromarray(blocks).resize((width, height)).save(folder / "image.jpg")
    centres = generator.uniform(0, FILE_SIZE, (SEGMENTS, 2))
    pixels = np.moveaxis(np.mgrid[:height, :width], 0, -1)
    ids = np.linalg.norm(pixels[..., None, :] - centres, axis=-1).argmin(-1) + 1
    Image.fromarray(rgb_of_ids(ids)).save(folder / "panoptic.png")
    segments = [
        {"id": number + 1, "category_id": int(generator.integers(classes)), "iscrowd": 0}
        for number in range(SEGMENTS)
    ]
    return {
        "file_name": str(folder / "image.jpg"),
        "pan_seg_file_name": str(folder / "panoptic.png"),
        "segments_info": segments,
    }


def loader_rate(record: dict[str, Any], mapper: SegmentationMapper, workers: int) -> float:
    """Samples a second of the training loader after its first, which starts the workers."""
    loader = TrainLoader([record] * LOADED, mapper, batch_size=1, seed=0, num_workers=workers)
    batches = iter(loader)
    next(batches)
    start = time.perf_counter()
    for _ in islice(batches, LOADED):
        pass
    return LOADED / (time.perf_counter() - start)


def _timed(model: Any) -> list[tuple[Any, str, str]]:
    """(owner, attribute, stage) of every function whose time counts."""
    return [
        (model, "encode", "frozen encoders"),
        (model, "_decode", "decoder forward"),
        (model.criterion.matcher, "forward", "matching"),
        (model.criterion, "forward", "losses"),
    ]
