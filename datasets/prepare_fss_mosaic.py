#!/usr/bin/env python
"""Prepares Mosaic-4: 2x2 mosaics of pictures of four test classes of FSS-1000.

    python datasets/prepare_fss_mosaic.py

fss_mosaic_4/images/*.png, labels/*.png (0 background, 1..240), classes.txt and test.json, from
fewshot_data/<class>/{1..10}.{jpg,png} and the list of the 240 test classes. No picture is used
twice; the same seed gives the same mosaics. Files without a partner are left out, with a message.

A mosaic that is complete is not made again, so a stopped run goes on where it stopped.
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
    parser = make_parser(__doc__, splits=())
    parser.add_argument(
        "--classes",
        type=Path,
        metavar="FILE",
        help="names of the test classes, one per line (default: fewshot_data/fss_test_set.txt)",
    )
    parser.add_argument("--seed", type=int, default=0, help="another number, other mosaics")
    cli.add_debug_flag(parser)
    return parser


def main(args: argparse.Namespace) -> int:
    """Makes what is not there yet; 1 if an image could not be converted."""
    from frozenseg.data.preparation.fss_mosaic import prepare_fss_mosaic

    return prepare(args, prepare_fss_mosaic, args.classes, args.seed)


if __name__ == "__main__":
    cli.run(main, build_parser().parse_args())
