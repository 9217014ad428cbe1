"""Checks datasets on disk, and says what repairs them.

Looked at are missing files, their number against the official one, sizes, label ranges, images
without masks and masks without images, and the consistency of the annotation files. Every problem
comes with the command that repairs it.

NAME is a dataset or an alias of it (openvocab_ade20k_panoptic_val), a benchmark (ade20k_150: all
of its datasets), a YAML file with datasets of your own, or all: everything that is on disk.

Exit code: 0 in order (or warnings only), 1 a problem was found, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

from frozenseg.cli.options import add_shared, whole


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    add = parser.add_argument
    add("names", nargs="+", metavar="NAME", help="dataset, benchmark, file, all")
    images = "images to read with their masks, spread evenly; 0: all (default: 200)"
    add("--images", type=whole(0), default=200, metavar="N", help=images)
    add("--subset", action="store_true", help="the files may be a part of the official split")
    add_shared(parser, "--allow-empty")
    add_shared(parser, "--root", type=Path)
    add("--json", action="store_true", help="print JSON")


def main(args: argparse.Namespace) -> int:
    """Prints a report for each dataset; 1 if one has a problem."""
    from frozenseg.data.verify.run import root_of, rows_named, verify

    root = root_of(args.names, args.root)
    rows = rows_named(args.names, root)
    if not rows:
        print(f"{root}: no dataset here (`frozenseg data list` shows all)", file=sys.stderr)
        return 1
    reports, chosen = [], {key: getattr(args, key) for key in ("images", "subset", "allow_empty")}
    for row in rows:
        report = verify(row, root, **chosen)
        reports.append(report)
        if not args.json:
            print(report.text(), flush=True)
    if args.json:
        print(json.dumps([report.as_dict() for report in reports], indent=1))
    errors = any(report.errors for report in reports)
    if errors and args.root and not args.json:
        print(f"The commands need the root, too: --root {root}")
    return int(errors)
