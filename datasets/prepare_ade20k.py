#!/usr/bin/env python
"""Prepares ADE20K with 150 classes: semantic masks, panoptic and instance annotations.

    python datasets/prepare_ade20k.py                        # validation, all three
    python datasets/prepare_ade20k.py --parts semantic       # needs no instance annotations

Below ADEChallengeData2016/: annotations_detectron2/<split>/*.png (0..149, 255 ignored),
ade20k_panoptic_<split>.json and folder, ade20k_instance_<split>.json.

An image whose output is complete is not made again, so a stopped run goes on where it stopped.
Exit code: 0; 1 if an image could not be converted (each is named, nothing half-written stays);
2 if the published files are missing; 130 after Ctrl-C. What must lie where: datasets/README.md.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from frozenseg.cli import program as cli
from frozenseg.data.preparation.arguments import make_parser, prepare


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = make_parser(__doc__)
    parts = ("semantic", "panoptic", "instance")
    parser.add_argument("--parts", nargs="+", choices=parts, default=parts, help="default: all")
    cli.add_debug_flag(parser)
    return parser


def main(args: argparse.Namespace) -> int:
    """Makes what is not there yet; 1 if an image could not be converted."""
    from frozenseg.data.preparation.ade20k import prepare_ade20k

    return prepare(args, prepare_ade20k, tuple(args.parts))


if __name__ == "__main__":
    cli.run(main, build_parser().parse_args())
