"""python -m frozenseg.data verify NAME ... | list: what is on disk, and what repairs it."""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from frozenseg.cli import program as cli

VERIFY_HELP = """\
Checks data sets on disk: missing files, their number against the official one, sizes, label
ranges, images without masks and masks without images, consistency of the annotation files. Every
problem comes with the command that repairs it.

NAME is a data set or an alias of it (openvocab_ade20k_panoptic_val), a benchmark (ade20k_150: all
of its data sets), a YAML file with data sets of your own, or all: everything that is on disk.

Exit code: 0 in order (or warnings only), 1 a problem was found, 2 wrong usage.
"""


def main(args: argparse.Namespace) -> int | None:
    """Runs the chosen command; the exit code of `verify` tells whether everything is in order."""
    root = _root(args)
    if args.command == "verify":
        return _verify(args, root)
    _list(args, root)
    return None


def _root(args: argparse.Namespace) -> Path:
    from frozenseg.data.catalog.lookup import datasets_root
    from frozenseg.data.catalog.own_datasets import is_dataset_file

    if args.root:
        return args.root.absolute()
    if args.names and all(map(is_dataset_file, args.names)):
        return Path.cwd()  # not used: their paths are relative to the file
    return datasets_root()


def _verify(args: argparse.Namespace, root: Path) -> int:
    from frozenseg.data.verify.run import rows_named, verify

    rows = rows_named(args.names, root)
    if not rows:
        print(f"{root}: no data set here (python -m frozenseg.data list)", file=sys.stderr)
        return 1
    reports = []
    for row in rows:
        report = verify(
            row, root, images=args.images, subset=args.subset, allow_empty=args.allow_empty
        )
        reports.append(report)
        if not args.json:
            print(report.text(), flush=True)
    if args.json:
        print(json.dumps([report.as_dict() for report in reports], indent=1))
    errors = any(report.errors for report in reports)
    if errors and args.root and not args.json:
        print(f"The commands need the root, too: --root {root}")
    return int(errors)


def _list(args: argparse.Namespace, root: Path) -> None:
    from tabulate import tabulate

    from frozenseg.data.catalog.lookup import DATASET_SPLITS
    from frozenseg.data.verify.run import rows_named, state

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


def _number(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{number} is negative; 0 means all images")
    return number


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m frozenseg.data", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    verify = commands.add_parser(
        "verify",
        help="check data sets on disk",
        description=VERIFY_HELP,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verify.add_argument("names", nargs="+", metavar="NAME", help="data set, benchmark, file, all")
    verify.add_argument(
        "--images",
        type=_number,
        default=200,
        metavar="N",
        help="images to read with their masks, spread evenly; 0: all (default: 200)",
    )
    verify.add_argument(
        "--subset", action="store_true", help="the files may be a part of the official split"
    )
    verify.add_argument(
        "--allow-empty",
        action="store_true",
        help="accept annotations without a single labelled pixel",
    )
    listing = commands.add_parser("list", help="show the data sets and which of them are on disk")
    listing.add_argument("names", nargs="*", metavar="NAME", help="only these (as for verify)")
    for command in (verify, listing):
        command.add_argument(
            "--root", type=Path, help="folder of all data sets (default: $DETECTRON2_DATASETS)"
        )
        command.add_argument("--json", action="store_true", help="print JSON")
        cli.add_debug_flag(command)
    return parser.parse_args(argv)


if __name__ == "__main__":
    cli.run(main, parse_args())
