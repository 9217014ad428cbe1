"""The options of `demo/demo.py`; imports nothing heavy."""

from __future__ import annotations

import argparse
from collections.abc import Callable

TASKS = ("panoptic", "semantic", "instance")
PRECISIONS = ("float32", "bfloat16", "float16")
KINDS = ("overlay", "sheet", "labels", "json")


def add_inputs(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("what is segmented")
    group.add_argument(
        "--input",
        nargs="+",
        default=[],
        metavar="PATH",
        help="image and video files, folders (the images and videos directly in them), patterns",
    )
    group.add_argument(
        "--webcam",
        nargs="?",
        type=_count(0),
        const=0,
        metavar="INDEX",
        help="record a camera, 0 (the first) if no number is given; q or Ctrl-C ends it",
    )
    group.add_argument(
        "--vocabulary",
        metavar="WORDS",
        help="the words, a .txt/.tsv/.json file, or a benchmark's name such as ade20k_150; "
        "default: the classes of the model's test set",
    )
    group.add_argument(
        "--background",
        metavar="WORDS",
        help='a word for everything else, such as "background, other": there is no segment where '
        "it fits best",
    )
    group.add_argument(
        "--task", choices=TASKS, help="default: panoptic; semantic for Fusioner, which has no other"
    )
    group.add_argument(
        "--score-threshold",
        type=_probability,
        metavar="P",
        help="lowest score of a segment, 0 to 1; default: the config's for panoptic, 0.5 for "
        "instance",
    )
    group.add_argument(
        "--every",
        type=_count(1),
        default=1,
        metavar="N",
        help="of a video segment every N-th frame; the frames between show the last result",
    )
    group.add_argument(
        "--max-frames", type=_count(1), metavar="N", help="at most N frames of a video or camera"
    )


def add_model(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the model")
    which = group.add_mutually_exclusive_group()
    which.add_argument(
        "--model",
        default="",
        metavar="NAME",
        help="a name of the table in README.md, such as fcclip-convnext-large",
    )
    which.add_argument("--config-file", default="", metavar="YAML", help="config of a model")
    group.add_argument(
        "--weights",
        metavar="FILE",
        help='trained weights; default: the named model\'s own, or MODEL.WEIGHTS; "": none, the '
        "mask decoder is random",
    )
    group.add_argument(
        "--device", default="auto", help="cpu, cuda, cuda:1, or auto: a GPU if any (default)"
    )
    group.add_argument(
        "--precision",
        choices=PRECISIONS,
        default="float32",
        help="half precision saves time and memory on a GPU; results change a little",
    )
    group.add_argument(
        "--batch-size",
        type=_count(1),
        default=1,
        metavar="N",
        help="images or frames that go through the model together; only images of one size do, so "
        "that results are those of N = 1 up to rounding",
    )
    group.add_argument(
        "--opts", nargs="*", default=[], metavar="KEY VALUE", help="config keys to change"
    )


def add_results(parser: argparse.ArgumentParser) -> None:
    group = parser.add_argument_group("the results")
    group.add_argument(
        "--output", default="output/demo", metavar="FOLDER", help="default: %(default)s"
    )
    group.add_argument(
        "--write",
        nargs="+",
        choices=KINDS,
        default=KINDS,
        metavar="KIND",
        help=f"which of {', '.join(KINDS)}; default: all. Videos have overlay and json. Without "
        "json nothing tells what is done already",
    )
    group.add_argument(
        "--overwrite", action="store_true", help="segment again what is there already"
    )


def _probability(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


def _count(least: int) -> Callable[[str], int]:
    """A whole number from `least` on."""

    def number(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"{text} is below {least}")
        return value

    return number
