"""Options that several commands share, and the kinds of numbers that they take."""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from frozenseg.config.ranges import FRACTION, LARGEST, Range
from frozenseg.device import PRECISIONS
from frozenseg.predict.tasks import TASKS


def number(accepted: Range) -> Callable[[str], float]:
    """A number of a range, as the `type` of an option; NaN and infinities are none."""

    def read(text: str) -> float:
        try:
            value: float = int(text) if accepted.whole else float(text)
        except ValueError:
            value = math.nan
        if value not in accepted:
            raise argparse.ArgumentTypeError(f"expects {accepted}, got {text}")
        return value

    return read


def whole(least: int, most: int = LARGEST) -> Callable[[str], float]:
    """A whole number from `least` to `most`, as the `type` of an option."""
    return number(Range(least, most, whole=True))


probability = number(FRACTION)
SEED = whole(0, 2**32 - 1)
WORDS_HELP = (
    "names of a benchmark's classes: own (default), fcclip (the lists of the published scores; "
    "`frozenseg data words get fcclip` fetches them), or a file with the names of every class"
)

SHARED: dict[str, dict[str, Any]] = {
    "--model": {
        "default": "",
        "metavar": "NAME",
        "help": "a name of `frozenseg weights list`, such as fcclip-convnext-large; a model's "
        "folder; hf:OWNER/NAME@REVISION, one of the Hugging Face hub",
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
        "help": "half precision saves time and memory on a GPU; results change a little. auto: "
        "bfloat16 for the frozen encoders on a GPU and on processors with instructions for it",
    },
    "--num-gpus": {
        "type": whole(0, 1024),
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
