#!/usr/bin/env python
"""Prepares PASCAL Context: images and masks of 59 and 459 classes.

    python datasets/prepare_pascal_context.py                 # both
    python datasets/prepare_pascal_context.py --classes 59

Below pascal_ctx_d2/: images/<split>/*.jpg, annotations_ctx59/<split>/*.png (0..58, 255 ignored),
annotations_ctx459/<split>/*.tif (16 bits, 0..458, 65535 ignored).

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
    parser.add_argument("--classes", nargs="+", type=int, choices=(59, 459), default=(59, 459))
    cli.add_debug_flag(parser)
    return parser


def main(args: argparse.Namespace) -> int:
    """Makes what is not there yet; 1 if an image could not be converted."""
    from frozenseg.data.preparation.pascal import prepare_pascal_context

    return prepare(args, prepare_pascal_context, tuple(dict.fromkeys(args.classes)))


if __name__ == "__main__":
    cli.run(main, build_parser().parse_args())
