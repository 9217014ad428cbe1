r"""Segments images and videos with your own words.

    frozenseg segment --input photo.jpg --vocabulary "cat, kitten; dog; sky:stuff"
    frozenseg segment --model fcclip-convnext-large --input photos/ "more/*.png" clip.mp4 \
        --vocabulary words.txt --output output/demo
    frozenseg segment --webcam --vocabulary "person; chair; wall:stuff" --max-frames 300

Commas separate synonyms, semicolons classes; ":stuff" marks what cannot be counted. Without
--model, the shipped miniature model is used: it knows coloured shapes, not photographs.

For each image it writes to --output (--write chooses)
    NAME_overlay.png   the segments over the image, at its size
    NAME_sheet.png     image and prediction side by side with a legend
    NAME_labels.png    16-bit PNG: the id of the segment of every pixel, 0 for none
    NAME.json          segments (id, name, score, area, box, RLE mask), words, model
and for each video or recording
    NAME_overlay.mp4   the labelled clip, as long, fast and large as the video (an .avi for odd
                       sizes), without sound; a camera's plays at the rate of the first frames
    NAME.jsonl         a line for each frame: number, seconds, segments
    NAME.json          words, model, size, number of frames
Segments are found again in every frame: their ids do not follow an object.

The same command again skips what is there already, made from the same file with the same model,
words, task and settings (NAME.json tells; --overwrite starts over).
Exit code: 0; 1 if a file could not be read, or not to its end (it is named; the others are done);
2 for wrong arguments, or where results cannot be written; 130 after Ctrl-C or SIGTERM, which keeps
the frames of a video so far.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from frozenseg.cli.options import add_shared, probability, whole
from frozenseg.cli.segment_job import SETTINGS, Counts, Job
from frozenseg.predict.tasks import FILE_KINDS, check_threshold

if TYPE_CHECKING:
    from frozenseg.predict.video import Video

EXIT_SOME_SKIPPED = 1


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    group = parser.add_argument_group("what is segmented")
    add = group.add_argument
    files = "image and video files, folders (the images and videos directly in them), patterns"
    add("--input", nargs="+", default=[], metavar="PATH", help=files)
    camera = "record a camera, 0 (the first) if no number is given; q or Ctrl-C ends it"
    add("--webcam", nargs="?", type=whole(0), const=0, metavar="INDEX", help=camera)
    add_shared(group, "--vocabulary", "--task")
    add(
        "--background",
        metavar="WORDS",
        help='a word for everything else, such as "background, other": there is no segment where '
        "it fits best",
    )
    add(
        "--score-threshold",
        type=probability,
        metavar="P",
        help="lowest score of a segment, 0 to 1; default: the config's for panoptic, 0.5 for "
        "instance",
    )
    every = "of a video segment every N-th frame; the frames between show the last result"
    add("--every", type=whole(1), default=1, metavar="N", help=every)
    add("--max-frames", type=whole(1), metavar="N", help="at most N frames of a video or camera")
    group = parser.add_argument_group("the model")
    add_shared(group.add_mutually_exclusive_group(), "--model", "--config-file")
    add_shared(group, "--weights", "--device", "--precision", "--opts")
    group.add_argument(
        "--batch-size",
        type=whole(1),
        default=1,
        metavar="N",
        help="images or frames that go through the model together; only images of one size do, so "
        "that results are those of N = 1 up to rounding",
    )
    group = parser.add_argument_group("the results")
    add = group.add_argument
    add("--output", default="output/demo", metavar="FOLDER", help="default: %(default)s")
    add(
        "--write",
        nargs="+",
        choices=FILE_KINDS,
        default=FILE_KINDS,
        metavar="KIND",
        help=f"which of {', '.join(FILE_KINDS)}; default: all. Videos have overlay and json. "
        "Without json nothing tells what is done already",
    )
    add("--overwrite", action="store_true", help="segment again what is there already")


class Inputs(NamedTuple):
    """Files and the names of their results, and inputs that are nothing."""

    images: dict[Path, str]
    videos: dict[Path, str]
    unmatched: tuple[str, ...]


def main(args: argparse.Namespace) -> int:
    """Segments everything; returns the exit code."""
    check_threshold(args.task, args.score_threshold)
    if not args.input and args.webcam is None:
        raise ValueError("nothing to segment: give --input PATH or --webcam")
    found = _find(args)
    if (found.videos or args.webcam is not None) and not {"overlay", "json"} & set(args.write):
        raise ValueError("--write: a video has only overlay and json: add one of them")
    for text in found.unmatched:
        print(f"skipped {text}: no such file, folder or match", file=sys.stderr)
    from frozenseg.progress import lines_on_stderr

    # Before the model: an answer at once if there is no such camera.
    with _camera(args.webcam) as camera, lines_on_stderr():
        return _run(_prepare(args), found, camera)


def _camera(number: int | None) -> contextlib.AbstractContextManager[Video | None]:
    """The opened camera; None where none is asked for."""
    if number is None:
        return contextlib.nullcontext()
    from frozenseg.predict.video import open_webcam

    return open_webcam(number)


def _find(args: argparse.Namespace) -> Inputs:
    """What the inputs stand for. Raises: ValueError for none, or an output among them or a file."""
    from frozenseg.data.image_files import (
        IMAGE_SUFFIXES,
        VIDEO_SUFFIXES,
        find_images,
        is_address,
        output_names,
    )

    output = Path(args.output)
    if output.resolve() in [Path(each).resolve() for each in args.input]:
        raise ValueError(f"--output {output} is also an input folder: choose another one")
    if output.exists() and not output.is_dir():
        raise ValueError(f"--output {output} is a file: name a folder, which is made if needed")
    for text in filter(is_address, args.input):
        raise ValueError(f"--input {text}: addresses are not fetched: download the file first")
    found = find_images(args.input, IMAGE_SUFFIXES | VIDEO_SUFFIXES)
    left_out = found.say_left_out()
    if args.input and not found.files:
        others = f"; {left_out}" if left_out else ""
        given = " ".join(args.input)
        raise ValueError(f"--input {given}: no image or video file found there{others}")
    if left_out:
        print(left_out, file=sys.stderr)
    names = dict(zip(found.files, output_names(found.files), strict=True))
    made = {f"{name}_{kind}" for name in names.values() for kind in FILE_KINDS}
    for path in found.files:
        if path.stem in made and path.parent.resolve() == output.resolve():
            raise ValueError(f"--input {path} would be overwritten by a result: change --output")
    videos = {path: name for path, name in names.items() if path.suffix.lower() in VIDEO_SUFFIXES}
    images = {path: name for path, name in names.items() if path not in videos}
    return Inputs(images, videos, found.unmatched)


def _prepare(args: argparse.Namespace) -> Job:
    """The model with the user's words."""
    from frozenseg.checkpoints.named_models import DEFAULT_MODEL
    from frozenseg.loading import load
    from frozenseg.predict.words import read_words

    vocabulary = None if args.vocabulary is None else read_words(args.vocabulary)
    segmenter = load(
        args.model or args.config_file or DEFAULT_MODEL,
        args.weights,
        args.device,
        args.task,
        precision=args.precision,
        opts=args.opts,
    )
    return Job(
        segmenter,
        segmenter.vocabulary if vocabulary is None else vocabulary,
        segmenter.task,
        settings={name: getattr(args, name) for name in SETTINGS},
        folder=Path(args.output),
        kinds=frozenset(args.write),
        batch_size=args.batch_size,
        every=args.every,
        max_frames=args.max_frames,
        overwrite=args.overwrite,
    )


def _run(job: Job, found: Inputs, camera: Video | None) -> int:
    """Segments everything; the exit code."""
    from frozenseg.cli.segment_clips import record, segment_videos
    from frozenseg.cli.segment_images import segment_images
    from frozenseg.device import retry_out_of_memory

    with retry_out_of_memory(job.segmenter.predictor.model):
        images = segment_images(job, found.images) + Counts(bad=len(found.unmatched))
        videos = segment_videos(job, found.videos) if found.videos else Counts()
        if camera is not None:
            videos += record(job, camera)
    for counts, what in ((images, "images"), (videos, "videos")):
        if counts.total:
            kept = f", {counts.kept} there already (--overwrite: again)" if counts.kept else ""
            print(
                f"{counts.done} of {counts.total} {what} segmented{kept}, results in {job.folder}"
            )
    return EXIT_SOME_SKIPPED if images.bad + videos.bad else 0
