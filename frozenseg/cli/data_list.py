"""Shows the datasets of the catalog and which of them are on disk."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from frozenseg.cli.options import add_shared


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument("names", nargs="*", metavar="NAME", help="only these (as `data verify`)")
    add_shared(parser, "--root", type=Path)
    parser.add_argument("--json", action="store_true", help="print JSON")


def main(args: argparse.Namespace) -> None:
    """Prints a table, or JSON."""
    from tabulate import tabulate

    from frozenseg.data.catalog.lookup import DATASET_SPLITS
    from frozenseg.data.verify.run import root_of, rows_named, state

    root = root_of(args.names, args.root)
    rows = rows_named(args.names, root) if args.names else DATASET_SPLITS
    if args.json:
        keys = ("name", "aliases", "benchmark", "split", "tasks")
        lines = [{key: getattr(row, key) for key in keys} for row in rows]
        for line, row in zip(lines, rows, strict=True):
            line["on_disk"] = state(row, root)
        print(json.dumps(lines, indent=1))
        return
    print(f"Root: {root}")
    table = [
        (row.name, row.benchmark, row.split, ", ".join(row.tasks), state(row, root)) for row in rows
    ]
    print(tabulate(table, headers=("name", "benchmark", "split", "tasks", "on disk")))
