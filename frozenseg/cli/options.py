"""Options that several commands share, and the kinds of numbers that they take."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

from frozenseg.device import PRECISIONS
from frozenseg.predict.tasks import TASKS


def whole(least: int) -> Callable[[str], int]:
    """A whole number from `least` on, as the `type` of an option."""

    def number(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"{text} is below {least}")
        return value

    number.__name__ = "whole number"  # how argparse calls it where `text` is not a number
    return number


def probability(text: str) -> float:
    """A number from 0 to 1."""
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


WORDS_HELP = (
    "names of a benchmark's classes: own (default), fcclip (the lists of the published scores; "
    "`frozenseg data words get fcclip` fetches them), or a file with the names of every class"
)

SHARED: dict[str, dict[str, Any]] = {
    "--model": {
        "default": "",
        "metavar": "NAME",
        "help": "a name of `frozenseg weights list`, such as fcclip-convnext-large",
    },
    "--config-file": {"default": "", "metavar": "YAML", "help": "config of a model"},
    "--weights": {
        "metavar": "FILE",
        "help": 'trained weights; default: the named model\'s own, or MODEL.WEIGHTS; "": none, the '
        "mask decoder is random",
    },
    "--vocabulary": {
        "metavar": "WORDS",
        "help": "the words, a .txt/.tsv/.json file, or a benchmark's name such as ade20k_150; "
        "default: the classes of the model's test set",
    },
    "--task": {
        "choices": TASKS,
        "help": "default: panoptic; semantic for Fusioner, which has no other",
    },
    "--device": {
        "default": "auto",
        "help": "cpu, cuda, cuda:1, or auto: a GPU if any (default)",
    },
    "--precision": {
        "choices": PRECISIONS,
        "default": "float32",
        "help": "half precision saves time and memory on a GPU; results change a little",
    },
    "--num-gpus": {
        "type": whole(0),
        "default": 1,
        "help": "GPUs per machine; 0 uses the CPU (default: 1)",
    },
    "--runs": {"type": whole(1), "default": 3, "help": "timed runs (default %(default)s)"},
    "--threads": {
        "type": whole(1),
        "default": 1,
        "metavar": "N",
        "help": "CPU threads (default %(default)s)",
    },
    "--json": {"type": Path, "metavar": "FILE", "help": "write the figures there"},
    "--opts": {
        "nargs": "*",
        "default": [],
        "metavar": "KEY VALUE",
        "help": "config keys to change",
    },
    "--allow-empty": {
        "action": "store_true",
        "help": "accept annotations without a single labelled pixel",
    },
    "--root": {"metavar": "FOLDER", "help": "of all datasets (default: $DETECTRON2_DATASETS)"},
}


def add_shared(parser: argparse._ActionsContainer, *names: str, **changes: Any) -> None:
    """Adds options of `SHARED`; `changes` replace what the table says of them all."""
    for name in names:
        parser.add_argument(name, **{**SHARED[name], **changes})
