#!/usr/bin/env python
"""Prepares PASCAL VOC 2012: images and masks with and without the background class.

    python datasets/prepare_pascal_voc.py

Below pascal_voc_d2/: images/<split>/*.jpg, annotations_pascal21/<split>/*.png (0..20, 255 ignored)
and annotations_pascal20/<split>/*.png (0..19, 255 ignored, background too).

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
    cli.add_debug_flag(parser)
    return parser


def main(args: argparse.Namespace) -> int:
    """Makes what is not there yet; 1 if an image could not be converted."""
    from frozenseg.data.preparation.pascal import prepare_pascal_voc

    return prepare(args, prepare_pascal_voc)


if __name__ == "__main__":
    cli.run(main, build_parser().parse_args())
