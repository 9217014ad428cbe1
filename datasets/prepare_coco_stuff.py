#!/usr/bin/env python
"""Prepares COCO-Stuff 164k: labels without gaps.

    python datasets/prepare_coco_stuff.py

Below coco/: stuffthingmaps_detectron2/<split>2017/*.png (0..170, 255 ignored).

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
    from frozenseg.data.preparation.coco import prepare_coco_stuff

    return prepare(args, prepare_coco_stuff)


if __name__ == "__main__":
    cli.run(main, build_parser().parse_args())
