"""Trains and scores a grid of Fusioner pairings, and draws the table.

    frozenseg data prepare miniature --folds
    frozenseg pairings --grid miniature --seeds 0 1 2
    frozenseg pairings --grid miniature-novel --seeds 0 1 --output output/pairings_novel
    frozenseg pairings --grid paper --folds 0 1 2 3 --num-gpus 1
    frozenseg pairings --configs mine.yaml --methods early late --opts SOLVER.EPOCHS 50

A cell is a config, a method, a fold and a seed: a run of `frozenseg train` in a folder of its own
below --output. Cells that are done are not run again, one that was interrupted goes on;
--table-only draws what is there. It writes table.md, table.json and table.png: mean and deviation
over the seeds of the mean over the folds. Where early and late fusion were run, table.md has the
difference of their mIoU, too, with its interval (a paired bootstrap over the pictures).
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from frozenseg.cli.options import SEED, add_shared, whole
from frozenseg.cli.pairings_cells import GRIDS, PairingGrid, check_names, grid_of, run_cells

METHODS = ("early", "late", "spnet", "zs3net")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    add = parser.add_argument
    add("--grid", choices=GRIDS, help="the pairings of configs/, or what to train --configs on")
    add("--configs", nargs="+", type=Path, metavar="YAML", help="pairings")
    add("--methods", nargs="+", choices=METHODS, default=["early", "late"], help="(early late)")
    every = "0 to 3 (default: 0; of miniature-novel all)"
    add("--folds", nargs="+", type=whole(0, 3), metavar="I", help=every)
    add("--seeds", nargs="+", type=SEED, default=[0], metavar="N", help="(default: 0)")
    add("--output", type=Path, default=Path("output/pairings"), metavar="FOLDER")
    add("--jobs", type=whole(1), default=1, help="cells that run at the same time (default: 1)")
    add("--threads", type=whole(0), default=0, help="CPU threads of a cell; 0: all (default)")
    add_shared(parser, "--num-gpus", default=0, help="of each cell; 0 uses the CPU (default)")
    add("--table-only", action="store_true", help="run nothing")
    add("--opts", nargs="*", default=[], metavar="KEY VALUE", help="config keys for all cells")


def main(args: argparse.Namespace) -> int:
    """Runs the cells and draws the table; 1 if a cell failed or is missing."""
    from frozenseg.cli.pairings_differences import difference_table
    from frozenseg.cli.pairings_table import collect, draw, write_tables

    if not args.grid and not args.configs:
        raise ValueError("give --grid, --configs or both: nothing says which pairings to train")
    configs = args.configs or grid_of(args.grid)
    check_names(configs)
    grid = GRIDS[args.grid] if args.grid else PairingGrid()
    cells = [
        (config, method, fold, seed)
        for seed in args.seeds  # a whole table as soon as possible
        for fold in args.folds or grid.folds
        for config in configs
        for method in args.methods
    ]
    failed = 0
    if not args.table_only:
        failed = run_cells(
            cells,
            args.output,
            opts=[*grid.keys, *args.opts],
            jobs=args.jobs,
            threads=args.threads,
            num_gpus=args.num_gpus,
        )
    found = collect(cells, args.output)
    if not found.scores:
        raise ValueError(f"{args.output}: no cell has results yet; run without --table-only")
    print("\n" + write_tables(found, args.output, difference_table(cells, args.output)))
    draw(found, args.output / "table.png")
    print(f"{args.output}/table.md, table.json, table.png")
    for cell in found.missing:
        print(f"no results yet: {cell}", file=sys.stderr)
    return int(bool(failed or found.missing))
