#!/usr/bin/env python
"""Prepares COCO-20i: label maps of the objects of COCO 2014, and the index of episodes.

    python datasets/prepare_coco_20i.py --splits train val

Below coco/: annotations_coco_20i/<split>2014/*.png (0 background, 1..80), and
coco_20i/{train,val}.json. Smaller objects lie on larger ones. Which items a fold has follows from
the index; nothing is drawn at random.

An image whose label map is complete is not made again, so a stopped run goes on where it stopped.
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
    from frozenseg.data.preparation.coco_20i import prepare_coco_20i

    return prepare(args, prepare_coco_20i)


if __name__ == "__main__":
    cli.run(main, build_parser().parse_args())
