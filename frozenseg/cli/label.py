r"""Segments any number of images into Parquet files: resumes, and runs on one process or on Ray.

    frozenseg label photos/ --words "cat, kitten; dog; sky:stuff" --output labels/
    frozenseg label "s3://bucket/photos/" --words words.txt --output /shared/labels \
        --engine ray --address auto --workers 8 --gpus 1
    frozenseg label shards/ --words words.txt --output labels/ --shard 3/16

INPUT: a folder with all below it, a pattern, a list of paths (.txt, one a line), WebDataset tars,
or .parquet files with a column of paths or bytes; each here or at an address such as s3:// or gs://.

--output gets
    parts/BLOCK/NUMBER.parquet   a row per segment (docs/label.md has the columns); an image without
                                 segments, or that could not be read, has one row
    manifest.json                model, words, task, settings; plan-*/ the images of every block
    coco/                        with --coco
With --search WORDS, INPUT is such a folder, and --output the picture of what is nearest to them:
    frozenseg label labels/ --search "red heart" --top 20 --output hearts.png
The same command again computes what is missing. Another model, other words or another input need
another --output. The list of images is that of the first call.
Exit code: 0; 1 if there are images with errors, or blocks without a part; 2 for wrong arguments, or
where results cannot be written; 130 after Ctrl-C or SIGTERM.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
from contextlib import closing, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frozenseg.cli.options import SHARED, add_shared, number, probability, whole
from frozenseg.config.ranges import Range
from frozenseg.predict.tasks import check_threshold

if TYPE_CHECKING:
    from frozenseg.labelling.engine import Engine, Outcome
    from frozenseg.labelling.job import Job, Report

EXIT_WITH_ERRORS = 1
COCO_KINDS = ("panoptic", "instance")
MOST_NAMED = 5  # blocks that failed


def shard(text: str) -> tuple[int, int]:
    """I/N as the `type` of an option: 0 <= I < N."""
    found = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    if found is None or int(found[1]) >= int(found[2]):
        raise argparse.ArgumentTypeError(f"expects I/N with I from 0 to N - 1, got {text}")
    return int(found[1]), int(found[2])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument("input", metavar="INPUT", help="folder, pattern, list, tars or Parquet")
    group = parser.add_argument_group("what is segmented")
    add = group.add_argument
    add("--words", "--vocabulary", dest="vocabulary", **SHARED["--vocabulary"])
    add_shared(group, "--task")
    add("--background", metavar="WORDS", help="words for everything else: no segment there")
    add("--score-threshold", type=probability, metavar="P", help="lowest score of a segment")
    column = "of .parquet files: paths or bytes of images; default: bytes, image or path"
    add("--column", default="", metavar="NAME", help=column)
    group = parser.add_argument_group("the model")
    add_shared(group.add_mutually_exclusive_group(), "--model", "--config-file")
    add_shared(group, "--weights", "--device", "--precision", "--opts")
    add = group.add_argument
    size = "images of one size that go through the model together (default %(default)s)"
    add("--batch-size", type=whole(1), default=4, metavar="N", help=size)
    threads = "that read and decode images beside the model (default %(default)s)"
    add("--threads", type=whole(1, 32), default=4, metavar="N", help=threads)
    group = parser.add_argument_group("the work")
    add = group.add_argument
    engines = "local: this process (default); ray: workers of a cluster"
    add("--engine", choices=("local", "ray"), default="local", help=engines)
    address = "of a running Ray cluster, or auto; default: one is started on this machine"
    add("--address", default="local", help=address)
    add("--workers", type=whole(1), default=2, metavar="N", help="of Ray (default %(default)s)")
    for name, default, more in (("--cpus", 1, ""), ("--gpus", 0, "; with 0 it sees no GPU")):
        kind = number(Range(0, 1024))
        each = f"of each worker of Ray (default %(default)s{more})"
        add(name, type=kind, default=default, metavar="N", help=each)
    every = "compute the I-th of N shares only: N commands, I = 0 ... N - 1, fill one --output"
    add("--shard", type=shard, default=(0, 1), metavar="I/N", help=every)
    group = parser.add_argument_group("the results")
    add = group.add_argument
    add("--output", type=Path, required=True, metavar="DIR", help="made if needed")
    size = "images of a part (default %(default)s); a tar or row group of bytes is a part"
    add("--block-size", type=whole(1, 1_000_000), default=256, metavar="N", help=size)
    add("--embeddings", action="store_true", help="CLIP's embedding of every segment, too")
    add("--retry-errors", action="store_true", help="compute parts that have errors again")
    add("--coco", choices=COCO_KINDS, help="write a COCO file of all parts at the end")
    group = parser.add_argument_group("search in the results of a job with --embeddings")
    add = group.add_argument
    add("--search", metavar="WORDS", help="INPUT: its --output; --output: a picture, sheet.png")
    add("--top", type=whole(1, 1000), default=20, metavar="N", help="segments (%(default)s)")


def main(args: argparse.Namespace) -> int:
    """Labels everything; the exit code."""
    from frozenseg.labelling.job import missing, prepare, run
    from frozenseg.progress import Progress, lines_on_stderr

    if args.search is not None:
        from frozenseg.cli.label_search import main as search

        return search(args)
    check_threshold(args.task, args.score_threshold)
    job = _job(args)
    with lines_on_stderr(), _engine(args, job) as engine:
        manifest = prepare(job, engine)
        total = None
        if manifest.images is not None:
            total = -(-manifest.images // job.shard[1])
        todo = missing(job, manifest)
        with Progress(total, "labelled", "image", done=todo.kept.images) as progress:

            def seen(outcome: Outcome) -> None:
                progress.advance(outcome.counts.images, errors=outcome.counts.errors)

            report = run(engine, todo, seen)
    code = _say(report, job)
    if args.coco:
        from frozenseg.labelling.coco import export_coco

        print(f"COCO: {export_coco(job.output, manifest, args.coco)}")
    return code


def _job(args: argparse.Namespace) -> Job:
    """The job with absolute paths, as workers have other working directories."""
    from frozenseg.labelling.job import Job
    from frozenseg.predict.words import read_words

    output = args.output.expanduser().absolute()
    if output.exists() and not output.is_dir():
        raise ValueError(f"--output {output} is a file: name a folder, which is made if needed")
    if (output / "parts").exists() and not (output / "manifest.json").exists():
        raise ValueError(f"--output {output} has parts but no manifest.json: choose another one")
    model = args.model or args.config_file
    settings: dict[str, Any] = {
        **({"model": _absolute(model)} if model else {}),
        "vocabulary": None if args.vocabulary is None else read_words(args.vocabulary),
        "weights": _absolute(args.weights),
        **{name: getattr(args, name) for name in ("task", "device", "precision", "opts")},
        **{name: getattr(args, name) for name in ("background", "score_threshold")},
        **{name: getattr(args, name) for name in ("batch_size", "threads", "embeddings")},
    }
    return Job(
        input=args.input if "://" in args.input else os.path.abspath(Path(args.input).expanduser()),
        output=output,
        model=settings,
        column=args.column,
        block_size=args.block_size,
        shard=args.shard,
        again=args.retry_errors,
    )


def _absolute(name: str | None) -> str | None:
    return os.path.abspath(name) if name and Path(name).exists() else name


def _engine(args: argparse.Namespace, job: Job) -> Any:
    """The engine as a context manager."""
    from frozenseg.labelling.job import BlockWorker

    make = partial(BlockWorker, job)
    if args.engine == "local":
        from frozenseg.labelling.engine import LocalEngine

        engine: Engine = LocalEngine(make)
        return nullcontext(engine)
    from frozenseg.labelling.ray_engine import RayEngine

    return closing(
        RayEngine(make, workers=args.workers, address=args.address, cpus=args.cpus, gpus=args.gpus)
    )


def _say(report: Report, job: Job) -> int:
    """Prints what is there; the exit code."""
    total, kept = report.total, report.kept
    there = f", {kept.images} of them before" if kept.images else ""
    print(f"{total.images} images{there}: {total.segments} segments, {total.errors} errors")
    print(f"in {job.output}")
    for block, reason in list(report.failed.items())[:MOST_NAMED]:
        print(f"block {block} has no part: {reason}", file=sys.stderr)
    if report.failed:
        more = "run the same command again for them"
        print(f"{len(report.failed)} blocks have no part; {more}", file=sys.stderr)
    return EXIT_WITH_ERRORS if report.failed or total.errors else 0
