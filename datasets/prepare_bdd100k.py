#!/usr/bin/env python
"""Prepares BDD100K panoptic: bitmasks to COCO's panoptic format.

    python datasets/prepare_bdd100k.py

Below bdd100k/labels/pan_seg/: panoptic_<split>.json and folder (category ids 1..40). The semantic
masks of BDD100K are published ready-made.

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
    from frozenseg.data.preparation.bdd100k import prepare_bdd100k

    return prepare(args, prepare_bdd100k)


if __name__ == "__main__":
    cli.run(main, build_parser().parse_args())
