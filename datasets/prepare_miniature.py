#!/usr/bin/env python
"""Write the miniature world to disk: train and dev (seen classes only) and val (all classes).

COCO panoptic format under <root>/miniature. About 20 ms and 50 KB an image; a stopped run goes on
where it stopped, finished splits are left alone.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from frozenseg import cli


def main(args: argparse.Namespace) -> None:
    """Writes the splits that are not there yet."""
    from frozenseg.data.catalog import datasets_root
    from frozenseg.data.miniature_files import write_miniature

    root = (args.root or datasets_root()).absolute() / "miniature"
    counts = {"train": args.train, "dev": args.dev, "val": args.val}
    write_miniature(root, counts, seed=args.seed)
    print(f"{root}: " + ", ".join(f"{number} {split}" for split, number in counts.items()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--root", type=Path, help="folder of all data sets (default: $DETECTRON2_DATASETS)"
    )
    parser.add_argument("--train", type=int, default=2000, help="training scenes (seen classes)")
    parser.add_argument("--dev", type=int, default=100, help="held-out scenes of seen classes")
    parser.add_argument("--val", type=int, default=200, help="validation scenes (all classes)")
    parser.add_argument("--seed", type=int, default=0, help="another number, another world")
    cli.add_debug_flag(parser)
    cli.run(main, parser.parse_args())
