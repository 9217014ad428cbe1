#!/usr/bin/env python
"""Write the synthetic shapes data set (COCO panoptic format) that make quickstart trains on."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from frozenseg.cli import program as cli


def main(args: argparse.Namespace) -> None:
    """Writes both splits; does nothing if they are there with the same settings."""
    from frozenseg.data.catalog.lookup import datasets_root
    from frozenseg.data.shapes import write_shapes

    root = (args.root or datasets_root()).absolute() / "shapes"
    size = (args.height, args.width)
    write_shapes(root, train=args.train, val=args.val, size=size, seed=args.seed)
    print(f"{root}: {args.train} training and {args.val} validation images")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--root", type=Path, help="folder of all data sets (default: $DETECTRON2_DATASETS)"
    )
    parser.add_argument("--train", type=int, default=64, help="training images")
    parser.add_argument("--val", type=int, default=16, help="validation images")
    parser.add_argument("--height", type=int, default=128, help="pixels")
    parser.add_argument("--width", type=int, default=160, help="pixels")
    parser.add_argument("--seed", type=int, default=0, help="another number, other pictures")
    cli.add_debug_flag(parser)
    cli.run(main, parser.parse_args())
