r"""Writes SAM's automatic masks of a folder of images or of a dataset, as proposals.

    frozenseg sam-masks --dataset openvocab_ade20k_panoptic_val \
        --sam vit_b --weights sam_vit_b_01ec64.pth --output output/proposals/ade20k_val
    frozenseg sam-masks --images photos/ --sam configs/miniature/miniature_sam.json \
        --weights frozenseg/weights/miniature_sam.safetensors --output output/proposals/photos \
        --points-per-side 16 --pred-iou-thresh 0.4 --stability-score-thresh 0.5 \
        --stability-score-offset 0.5

It may be stopped at any time; the same command continues, and the files are then, byte for byte,
those of a run that was not stopped, whatever the number of processes (with the same hardware and
--threads, on which the last digits of floating-point sums depend). On several machines with a
common folder give all the same command with --rank 0 --world-size 4, --rank 1 --world-size 4, ...
--output holds index.json and compressed shards (see frozenseg/data/proposals/).
Exit code: 0; 1 if an image could not be read (it is named; the same command tries it again); 2 for
wrong arguments; 130 after Ctrl-C.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections import Counter
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frozenseg.cli.options import add_shared, number, whole
from frozenseg.config.keys import KEYS
from frozenseg.config.ranges import Range
from frozenseg.encoders.sam.automatic_masks import MaskGeneration

if TYPE_CHECKING:
    from contextlib import ExitStack

    from frozenseg.data.proposals.writer import ProposalWriter
    from frozenseg.labelling.engine import Engine
    from frozenseg.labelling.sam_masks import SamJob

EXIT_SOME_FAILED = 1
NAMED_FAILURES = 20


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    images = parser.add_mutually_exclusive_group(required=True)
    images.add_argument("--images", type=Path, metavar="FOLDER", help="also folders in it")
    images.add_argument("--dataset", metavar="NAME", help="a registered dataset")
    add = parser.add_argument
    add("--sam", required=True, metavar="NAME", help="vit_b, vit_l, vit_h, vit_t or a .json file")
    add("--weights", required=True, metavar="FILE", help="SAM's: a file, or a name")
    add("--output", required=True, type=Path, metavar="FOLDER")
    add("--shard-size", type=whole(1), default=500, metavar="N", help="images: %(default)s")
    group = parser.add_argument_group("machine")
    add = group.add_argument
    processes = "default: one per GPU, one on the CPU; several are workers of Ray"
    add("--processes", type=whole(1), metavar="N", help=processes)
    address = "of a running Ray cluster, whose workers share the folders; auto: this machine's"
    add("--address", default="local", help=address)
    add("--rank", type=whole(0), default=0, metavar="I", help="of this command, from 0")
    add("--world-size", type=whole(1), default=1, metavar="N", help="of commands")
    add_shared(group, "--device")
    add_shared(group, "--threads", default=None, help="per process; default: the cores shared out")
    add_shared(group, "--precision", choices=("float32", "bfloat16"), help="of the encoder")
    add("--points-per-batch", type=whole(1), default=64, metavar="N", help="fewer: less memory")
    group = parser.add_argument_group("which masks (frozenseg/encoders/sam/automatic_masks.py)")
    for key in KEYS:
        section, _, name = key.name.rpartition(".")
        if section == "TEST.SAM_MASK_GENERATION" and isinstance(key.accepted, Range):
            group.add_argument(
                f"--{name.lower().replace('_', '-')}",
                type=number(key.accepted),
                default=key.default,
                metavar="X",
                help=f"{key.meaning}; default: %(default)s",
            )


def main(args: argparse.Namespace) -> int:
    """Runs the export; returns the exit code."""
    if args.rank >= args.world_size:
        raise ValueError(f"--rank {args.rank}: must be from 0 to --world-size - 1")
    settings = MaskGeneration(**{f.name: getattr(args, f.name) for f in fields(MaskGeneration)})
    import logging

    from frozenseg.checkpoints.lookup import resolve
    from frozenseg.data.proposals.images import images_of_dataset, images_of_folder
    from frozenseg.data.proposals.writer import ProposalWriter

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    args.weights = resolve(args.weights, "--weights")
    source = describe_source(args, settings)
    images = images_of_dataset(args.dataset) if args.dataset else images_of_folder(args.images)
    writer = ProposalWriter(args.output, images.keys, source, args.shard_size)
    mine = set(writer.keys[args.rank :: args.world_size])
    todo = [key for key in writer.missing() if key in mine]
    print(f"{len(mine)} images of {images.root}, {len(mine) - len(todo)} done before", flush=True)
    failures = export(args, settings, images.root, writer, todo) if todo else {}
    return report(writer, len(mine), failures)


def describe_source(args: argparse.Namespace, settings: MaskGeneration) -> dict[str, Any]:
    """What the masks depend on, for the index; without paths, which may change."""
    from dataclasses import asdict

    from frozenseg.encoders.sam.config import read_sam_config
    from frozenseg.encoders.sam.weights import where_to_get
    from frozenseg.files import file_digest

    config = read_sam_config(args.sam)
    weights = Path(args.weights).expanduser()
    if not weights.is_file():
        raise FileNotFoundError(f"--weights {weights} does not exist. {where_to_get(config)}")
    return {
        "sam": Path(args.sam).name,
        "weights_sha256": file_digest(weights),
        "precision": args.precision,
        "generation": asdict(settings),
    }


def export(
    args: argparse.Namespace,
    settings: MaskGeneration,
    root: Path,
    writer: ProposalWriter,
    keys: list[str],
) -> dict[str, str]:
    """Makes the masks, writes each shard when its last image is done; the images that failed."""
    from contextlib import ExitStack

    import torch

    from frozenseg.labelling.sam_masks import SamJob
    from frozenseg.progress import Progress

    processes, gpus, device = share_out(args, len(keys))
    job = SamJob(
        root=root.absolute(),
        output=args.output.absolute(),
        sam=os.path.abspath(args.sam) if Path(args.sam).is_file() else args.sam,
        weights=os.path.abspath(Path(args.weights).expanduser()),
        precision=args.precision,
        device=device,
        threads=args.threads or max(1, torch.get_num_threads() // processes),
        points_per_batch=args.points_per_batch,
        settings=settings,
        images={number: (key, writer.shard_of(key)) for number, key in enumerate(keys)},
    )
    left = Counter(shard for _, shard in job.images.values())
    failures: dict[str, str] = {}
    with ExitStack() as ends, Progress(len(keys), "SAM masks", "image") as progress:
        for outcome in _engine(args, job, processes, gpus, ends).run(job.images):
            if outcome.stop:
                raise OSError(outcome.error)
            key, shard = job.images[outcome.block]
            if outcome.error:
                failures[key] = outcome.error
            left[shard] -= 1
            if not left[shard]:
                writer.seal(shard)
            progress.advance(1)
    return failures


def share_out(args: argparse.Namespace, images: int) -> tuple[int, float, str]:
    """The number of processes, the share of a GPU that each gets, and its device."""
    import torch

    from frozenseg.device import pick_device

    device = pick_device(args.device)
    gpus = torch.cuda.device_count() if device == "cuda" else 0
    processes = min(args.processes or gpus or 1, images)
    return processes, 1 / -(-processes // gpus) if gpus else 0, device


def _engine(
    args: argparse.Namespace, job: SamJob, processes: int, gpus: float, ends: ExitStack
) -> Engine:
    """One worker here, or several of Ray, which `ends` ends."""
    from functools import partial

    from frozenseg.labelling.sam_masks import SamWorker

    make = partial(SamWorker, job)
    if processes == 1 and args.address == "local":
        from frozenseg.labelling.engine import LocalEngine

        return LocalEngine(make)
    from frozenseg.labelling.ray_engine import RayEngine

    cpus = 0 if args.address == "local" else 1  # here --processes says how many run, not Ray
    engine = RayEngine(make, workers=processes, address=args.address, cpus=cpus, gpus=gpus)
    ends.callback(engine.close)
    return engine


def report(writer: ProposalWriter, images: int, own_failures: Mapping[str, str]) -> int:
    """Finishes the export if no other rank has work left; says what there is; the exit code."""
    index = writer.finish()
    failures = index.failures if index else own_failures
    for key, reason in list(failures.items())[:NAMED_FAILURES]:
        print(f"no masks of {key}: {reason}", file=sys.stderr)
    if len(failures) > NAMED_FAILURES:
        print(f"and {len(failures) - NAMED_FAILURES} more, see index.json", file=sys.stderr)
    if index is None:
        print(
            f"{images - len(failures)} of the {images} images of this rank done; the rank that "
            "ends last writes the index"
        )
    else:
        places = [place for place in index.images.values() if place is not None]
        print(
            f"{sum(place.masks for place in places)} masks of {len(places)} of "
            f"{len(index.images)} images in {writer.folder}"
        )
    return EXIT_SOME_FAILED if failures else 0
