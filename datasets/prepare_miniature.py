#!/usr/bin/env python
"""Write the miniature world to disk: train and dev (seen classes only) and val (all classes).

COCO panoptic format under <root>/miniature. With --folds instead the episodes for Fusioner:
miniature_folds/ (train and val with all classes, of which each of four folds holds out some) and
miniature_mosaic_4/ (mosaics of four single things). About 20 ms and 50 KB an image; a stopped run
goes on where it stopped, finished splits are left alone.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from frozenseg.cli import program as cli

SCENES = {"train": 2000, "dev": 100, "val": 200}
FOLDS = {"train": 2000, "val": 300, "mosaics": 200}


def main(args: argparse.Namespace) -> None:
    """Writes the splits that are not there yet. Raises: ValueError for a size of the other kind."""
    from frozenseg.data.catalog.lookup import datasets_root
    from frozenseg.data.miniature.dataset import write_miniature
    from frozenseg.data.miniature.folds import write_folds

    root = (args.root or datasets_root()).absolute()
    given = {key: getattr(args, key) for key in (*SCENES, "mosaics")}
    known = FOLDS if args.folds else SCENES
    foreign = [key for key, number in given.items() if number is not None and key not in known]
    if foreign:
        raise ValueError(f"--{foreign[0]} goes {'without' if args.folds else 'with'} --folds only")
    counts = {key: default if given[key] is None else given[key] for key, default in known.items()}
    if args.folds:
        write_folds(root, counts, seed=args.seed)
    else:
        root /= "miniature"
        write_miniature(root, counts, seed=args.seed)
    print(f"{root}: " + ", ".join(f"{number} {split}" for split, number in counts.items()))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--root", type=Path, help="folder of all data sets (default: $DETECTRON2_DATASETS)"
    )
    parser.add_argument("--folds", action="store_true", help="write the episodes for Fusioner")
    parser.add_argument("--train", type=int, help="training scenes (2000; seen classes, or all)")
    parser.add_argument("--dev", type=int, help="held-out scenes of seen classes (100)")
    parser.add_argument("--val", type=int, help="validation scenes of all classes (200, 300)")
    parser.add_argument("--mosaics", type=int, help="with --folds: mosaics (200)")
    parser.add_argument("--seed", type=int, default=0, help="another number, another world")
    cli.add_debug_flag(parser)
    cli.run(main, parser.parse_args())
