#!/usr/bin/env python3
"""Trains and measures the frozen foundation models of the miniature world, on a CPU.

    python tools/pretrain_miniature.py clip --minutes 30 --output output/miniature
    python tools/pretrain_miniature.py sam --minutes 40 --output output/miniature
    python tools/pretrain_miniature.py vision --minutes 20 --output output/miniature
    python tools/pretrain_miniature.py language --minutes 5 --output output/miniature
    python tools/pretrain_miniature.py evaluate --weights output/miniature

`vision` sees pictures alone and `language` reads text alone; `clip` has pictures with captions,
`sam` pictures with masks. Each writes miniature_{clip,sam,vit,bert}.safetensors, log, curves and
facts; `evaluate` without --weights measures the models shipped in frozenseg/weights. A stopped
training goes on with --resume. --steps instead of --minutes makes a run exactly repeatable.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from frozenseg.cli import program as cli
from frozenseg.cli.options import SEED, number, whole
from frozenseg.config.ranges import POSITIVE

REPOSITORY = Path(__file__).resolve().parents[1]
_TRAININGS = (
    ("clip", 30.0, "CLIP"),
    ("sam", 40.0, "SAM"),
    ("vision", 20.0, "vision-only encoder, self-supervised"),
    ("language", 5.0, "language-only encoder"),
)


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name, minutes, what in _TRAININGS:
        part = commands.add_parser(name, help=f"train the miniature {what}")
        part.add_argument("--output", type=Path, default=REPOSITORY / "output" / "miniature")
        part.add_argument("--seed", type=SEED, default=0)
        part.add_argument(
            "--minutes", type=number(POSITIVE), default=minutes, help="time of the training"
        )
        part.add_argument("--steps", type=whole(0), default=0, help="length in steps instead")
        part.add_argument("--resume", action="store_true", help="go on from --output's checkpoint")
        if name == "language":  # sees no pictures
            _add_common(part)
            continue
        part.add_argument(
            "--pool",
            type=Path,
            default=Path(tempfile.gettempdir()) / "frozenseg_miniature",
            help="folder of the drawn scenes, 2.5 GB (default: %(default)s)",
        )
        part.add_argument("--scenes", type=whole(1), default=8000, help="scenes of the pool")
        part.add_argument("--crops", type=whole(1), default=12000, help="single-thing pictures")
        _add_common(part)
    part = commands.add_parser("evaluate", help="measure the models")
    part.add_argument("--weights", type=Path, default=REPOSITORY / "frozenseg" / "weights")
    models = [name for name, *_ in _TRAININGS]
    part.add_argument("--models", nargs="+", choices=models, default=models)
    part.add_argument("--sizes", type=whole(1), nargs="+", default=[256], help="CLIP's input sizes")
    part.add_argument("--scenes", type=whole(1), default=200, help="held-out scenes")
    part.add_argument("--crops", type=whole(1), default=1000, help="held-out single-thing pictures")
    part.add_argument("--seed", type=SEED, default=5, help="world of the held-out scenes")
    part.add_argument(
        "--record", action="store_true", help="add the figures to the JSON files of the weights"
    )
    _add_common(part)
    return parser.parse_args(argv)


def _add_common(part: argparse.ArgumentParser) -> None:
    part.add_argument("--threads", type=whole(1), default=2, help="CPU threads (default 2)")
    cli.add_debug_flag(part)


def main(args: argparse.Namespace) -> None:
    import torch

    from tools.miniature import runs

    if args.threads < 1:
        raise ValueError(f"--threads is {args.threads}; at least 1 is needed")
    torch.set_num_threads(args.threads)
    if args.command == "evaluate":
        runs.evaluate(args)
    else:
        runs.pretrain(args)


if __name__ == "__main__":
    arguments = parse_args()
    cli.run(main, arguments)
