#!/usr/bin/env python
"""Prepares ADE20K-Full with 847 classes (A-847): images and 16-bit semantic masks.

    python datasets/prepare_ade20k_full.py --classes register_ade20k_full.py

Below ADE20K_2021_17_01/: images_detectron2/<split>/*.jpg, annotations_detectron2/<split>/*.tif
(0..846, 65535 ignored), classes_847.tsv. The release's index is a pickle and is not loaded; the
list of the 847 is given with --classes: the file register_ade20k_full.py that Mask2Former publishes
(mask2former/data/datasets/), which is read and not run, or a .tsv with the columns id, trainId and
name, or a .json with a list of such objects. id is the number in the pixels, R // 10 * 256 + G.

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
    parser.add_argument(
        "--classes", type=Path, required=True, metavar="FILE", help="class list, see above"
    )
    parser.add_argument(
        "--short-edge",
        type=int,
        choices=(0, 512),
        default=512,
        help="larger images are scaled to it, as for the published scores; 0: none is",
    )
    cli.add_debug_flag(parser)
    return parser


def main(args: argparse.Namespace) -> int:
    """Makes what is not there yet; 1 if an image could not be converted."""
    from frozenseg.data.preparation.ade20k_full import prepare_ade20k_full

    return prepare(args, prepare_ade20k_full, args.classes, args.short_edge)


if __name__ == "__main__":
    cli.run(main, build_parser().parse_args())
