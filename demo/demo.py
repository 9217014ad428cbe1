"""Segments images with your own words.

    python demo/demo.py --config-file configs/fcclip/convnext_large.yaml --weights fcclip.pth \
        --input photos/ holiday.jpg "more/*.png" --vocabulary "cat, kitten; dog; sky:stuff" \
        --output output/demo

Commas separate synonyms, semicolons classes; ":stuff" marks what cannot be counted.

For each image it writes to --output
    NAME_overlay.png   the segments over the image, at its size
    NAME_sheet.png     image and prediction side by side with a legend
    NAME_labels.png    16-bit PNG: the id of the segment of every pixel, 0 for none
    NAME.json          segments (id, name, score, area, box, RLE mask), words, model
Exit code: 0; 1 if an image could not be read (it is named and skipped); 2 for wrong arguments.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from frozenseg import cli  # imports no torch

if TYPE_CHECKING:
    from frozenseg.engine.predictor import Predictor

EXIT_SOME_SKIPPED = 1


def build_parser() -> argparse.ArgumentParser:
    """The command line; imports nothing heavy."""
    description, _, epilog = (__doc__ or "").partition("\n\n")
    parser = argparse.ArgumentParser(
        description=description,
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config-file", required=True, metavar="YAML", help="config of the model")
    parser.add_argument(
        "--weights", default="", metavar="FILE", help="trained weights; default: MODEL.WEIGHTS"
    )
    parser.add_argument(
        "--input",
        nargs="+",
        required=True,
        metavar="PATH",
        help="image files, folders and glob patterns",
    )
    parser.add_argument(
        "--vocabulary",
        metavar="WORDS",
        help="the words, a .txt/.tsv/.json file, or a benchmark's name such as ade20k_150; "
        "default: the classes of the config's test set",
    )
    parser.add_argument("--task", choices=("panoptic", "semantic", "instance"), default="panoptic")
    parser.add_argument(
        "--output", default="output/demo", metavar="FOLDER", help="default: %(default)s"
    )
    parser.add_argument(
        "--score-threshold",
        type=_probability,
        metavar="P",
        help="lowest score of a segment, 0 to 1; default: the config's for panoptic, 0.5 for "
        "instance",
    )
    parser.add_argument(
        "--device", default="auto", help="cpu, cuda, cuda:1, or auto: a GPU if any (default)"
    )
    parser.add_argument(
        "--opts", nargs="*", default=[], metavar="KEY VALUE", help="config keys to change"
    )
    cli.add_debug_flag(parser)
    return parser


def main(args: argparse.Namespace) -> int:
    """Runs the demo; returns the exit code."""
    if args.score_threshold is not None and args.task == "semantic":
        raise ValueError("--score-threshold has no meaning for --task semantic: leave it out")
    from frozenseg.data.image_files import find_images

    found = find_images(args.input)
    if not found.files:
        raise ValueError(f"--input {' '.join(args.input)}: no image file found there")
    output = Path(args.output)
    if output.resolve() in [Path(each).resolve() for each in args.input]:
        raise ValueError(f"--output {output} is also an input folder: choose another one")
    for text in found.unmatched:
        print(f"skipped {text}: no such file, folder or match", file=sys.stderr)
    predictor, about = _prepare(args)
    bad = len(found.unmatched) + _segment_all(predictor, found.files, output, about)
    done = len(found.files) + len(found.unmatched) - bad
    print(f"{done} of {done + bad} images segmented, results in {output}")
    return EXIT_SOME_SKIPPED if bad else 0


def _prepare(args: argparse.Namespace) -> tuple[Predictor, dict[str, Any]]:
    """The model with the user's words, and what the JSON files say about it."""
    from frozenseg.config import config_hash, load_config
    from frozenseg.engine.predictor import build_predictor, pick_device, read_vocabulary

    vocabulary = None if args.vocabulary is None else read_vocabulary(args.vocabulary)
    cfg = load_config(args.config_file, args.opts)
    cfg.MODEL.DEVICE = pick_device(args.device)
    predictor, report = build_predictor(
        cfg, task=args.task, weights=args.weights, score_threshold=args.score_threshold
    )
    if vocabulary is not None:
        predictor.set_vocabulary(vocabulary)
    if report is None:
        print("warning: no --weights: the mask decoder is random, its segments mean nothing")
    return predictor, {
        "model": {
            "architecture": cfg.MODEL.META_ARCHITECTURE,
            "config_file": str(args.config_file),
            "config_hash": config_hash(cfg),
            "weights": str(args.weights or cfg.MODEL.WEIGHTS) or None,
        }
    }


def _segment_all(
    predictor: Predictor, files: tuple[Path, ...], output: Path, about: dict[str, Any]
) -> int:
    """Writes the results of all readable files; returns the number of others."""
    from tqdm import tqdm

    from frozenseg.data.image_files import output_names, read_rgb

    bad = 0
    progress = tqdm(files, unit="image", disable=None if sys.stderr.isatty() else True)
    for path, name in zip(progress, output_names(files), strict=True):
        try:
            image = read_rgb(path)
        except (OSError, ValueError) as error:
            bad += 1
            progress.write(f"skipped {cli.describe(error)}", file=sys.stderr)
            continue
        start = time.perf_counter()
        segmentation = predictor(image)
        written = segmentation.save(output, name, image, {"image": str(path), **about})
        seconds = time.perf_counter() - start
        count = f"{len(segmentation.segments)} segments"
        if predictor.task == "instance":
            count += f" of score {predictor.score_threshold:g} or more"
        progress.write(f"{path}: {count} in {seconds:.1f} s -> {written['sheet']}")
    return bad


def _probability(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


if __name__ == "__main__":
    cli.run(main, build_parser().parse_args())
