"""Writes results as one HTML page that needs no network: tables, charts, the worst images.

    frozenseg report output/r50/results.json --output report.html
    frozenseg report mine/results.json theirs/results.json --output report.html

RESULTS is a results.json of `frozenseg train` or `evaluate`, or a folder with one. Of two runs the
page has the differences, with 95 % intervals (paired bootstrap over images) where both were
evaluated with --per-image. Pictures need the predictions (--save-predictions) and the dataset on
this disk.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from frozenseg.cli.options import SEED, whole

MEGABYTE = 1e6


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    add = parser.add_argument
    add("results", nargs="+", type=Path, metavar="RESULTS", help="one or two")
    add(
        "--output",
        type=Path,
        default=Path("report.html"),
        metavar="FILE",
        help="default: %(default)s",
    )
    add(
        "--worst",
        type=whole(0, 100),
        default=6,
        metavar="N",
        help="images that are shown of a dataset (default: %(default)s)",
    )
    add("--seed", type=SEED, default=0, help="of the bootstrap (default: %(default)s)")


def main(args: argparse.Namespace) -> None:
    """Writes the page; prints its name and size."""
    from frozenseg.files import write_text
    from frozenseg.reporting.report import report_page

    if len(args.results) > 2:
        raise ValueError(f"{len(args.results)} results are given: a report is of one or two runs")
    if args.output.is_dir():
        raise ValueError(f"--output: {args.output} is a folder: name a file, such as report.html")
    if args.output.suffix.lower() not in (".html", ".htm"):
        raise ValueError(
            f"--output: {args.output} is not an HTML file: name one, such as report.html"
        )
    write_text(args.output, report_page(args.results, worst=args.worst, seed=args.seed))
    print(f"{args.output}: {args.output.stat().st_size / MEGABYTE:.2f} MB")
