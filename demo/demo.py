"""Segments images and videos with your own words.

    python demo/demo.py --input photo.jpg --vocabulary "cat, kitten; dog; sky:stuff"
    python demo/demo.py --model fcclip-convnext-large --input photos/ "more/*.png" clip.mp4 \\
        --vocabulary words.txt --output output/demo
    python demo/demo.py --webcam --vocabulary "person; chair; wall:stuff" --max-frames 300

Commas separate synonyms, semicolons classes; ":stuff" marks what cannot be counted. Without
--model, the small model of this repository is used: it knows coloured shapes, no photographs.

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
Segments are found anew in every frame: their ids do not follow an object.

The same command again skips what is there already, made from the same file with the same model,
words, task and settings (NAME.json tells; --overwrite starts over).
Exit code: 0; 1 if a file could not be read, or not to its end (it is named; the others are done);
2 for wrong arguments; 130 after Ctrl-C, which keeps the frames of a video so far.
"""

from __future__ import annotations

import argparse
import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from demo.command_line.arguments import KINDS, add_inputs, add_model, add_results
from demo.command_line.job import Counts, Job
from frozenseg.cli import program as cli

if TYPE_CHECKING:
    from frozenseg.predict.video import Video

EXIT_SOME_SKIPPED = 1


def build_parser() -> argparse.ArgumentParser:
    """The command line; imports nothing heavy."""
    description, _, epilog = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add_inputs(parser)
    add_model(parser)
    add_results(parser)
    cli.add_debug_flag(parser)
    return parser


class Inputs(NamedTuple):
    """Files and the names of their results, and inputs that are nothing."""

    images: dict[Path, str]
    videos: dict[Path, str]
    unmatched: tuple[str, ...]


def main(args: argparse.Namespace) -> int:
    """Runs the demo; returns the exit code."""
    if args.score_threshold is not None and args.task == "semantic":
        raise ValueError("--score-threshold has no meaning for --task semantic: leave it out")
    if not args.input and args.webcam is None:
        raise ValueError("nothing to segment: give --input PATH or --webcam")
    found = _find(args)
    if (found.videos or args.webcam is not None) and not {"overlay", "json"} & set(args.write):
        raise ValueError("--write: a video has only overlay and json: add one of them")
    for text in found.unmatched:
        print(f"skipped {text}: no such file, folder or match", file=sys.stderr)
    from frozenseg.predict.video import open_webcam

    # Before the model: an answer at once if there is no such camera.
    with contextlib.nullcontext() if args.webcam is None else open_webcam(args.webcam) as camera:
        return _run(_prepare(args), found, camera)


def _find(args: argparse.Namespace) -> Inputs:
    """What the inputs stand for. Raises: ValueError for none, or an output among them or a file."""
    from frozenseg.data.image_files import IMAGE_SUFFIXES, find_images, output_names
    from frozenseg.predict.video import VIDEO_SUFFIXES

    output = Path(args.output)
    if output.resolve() in [Path(each).resolve() for each in args.input]:
        raise ValueError(f"--output {output} is also an input folder: choose another one")
    if output.exists() and not output.is_dir():
        raise ValueError(f"--output {output} is a file: name a folder, which is made if needed")
    found = find_images(args.input, IMAGE_SUFFIXES | VIDEO_SUFFIXES)
    if args.input and not found.files:
        raise ValueError(f"--input {' '.join(args.input)}: no image or video file found there")
    names = dict(zip(found.files, output_names(found.files), strict=True))
    made = {f"{name}_{kind}" for name in names.values() for kind in KINDS}
    for path in found.files:
        if path.stem in made and path.parent.resolve() == output.resolve():
            raise ValueError(f"--input {path} would be overwritten by a result: change --output")
    videos = {path: name for path, name in names.items() if path.suffix.lower() in VIDEO_SUFFIXES}
    images = {path: name for path, name in names.items() if path not in videos}
    return Inputs(images, videos, found.unmatched)


def _prepare(args: argparse.Namespace) -> Job:
    """The model with the user's words."""
    from frozenseg.checkpoints.named_models import DEFAULT_MODEL
    from frozenseg.predict.segmenter import load
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
        args.background,
        args.score_threshold,
        folder=Path(args.output),
        kinds=frozenset(args.write),
        batch_size=args.batch_size,
        every=args.every,
        max_frames=args.max_frames,
        overwrite=args.overwrite,
    )


def _run(job: Job, found: Inputs, camera: Video | None) -> int:
    """Segments everything; the exit code."""
    from demo.command_line.clips import record, segment_videos
    from demo.command_line.images import segment_images
    from frozenseg.device import retry_out_of_memory

    with retry_out_of_memory(job.segmenter.predictor.model):  # type: ignore[arg-type]
        images = segment_images(job, found.images) + Counts(bad=len(found.unmatched))
        videos = segment_videos(job, found.videos)
        if camera is not None:
            videos += record(job, camera)
    for counts, what in ((images, "images"), (videos, "videos")):
        if counts.total:
            kept = f", {counts.kept} there already (--overwrite: again)" if counts.kept else ""
            print(
                f"{counts.done} of {counts.total} {what} segmented{kept}, results in {job.folder}"
            )
    return EXIT_SOME_SKIPPED if images.bad + videos.bad else 0


if __name__ == "__main__":
    cli.run(main, build_parser().parse_args())
