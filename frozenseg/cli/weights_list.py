"""Shows the weights that have a name, and which of them are on this machine."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """There are none."""


def main(args: argparse.Namespace) -> None:
    """Prints the table."""
    from tabulate import tabulate

    from frozenseg.checkpoints.lookup import path_of
    from frozenseg.checkpoints.named_models import MODELS
    from frozenseg.checkpoints.table import WEIGHTS

    rows = []
    for name, row in WEIGHTS.items():
        path = path_of(row) if row.file else None
        here = "open_clip" if path is None else "yes" if path.is_file() else "no"
        if path and path.with_name(f"{path.name}.download").is_dir():
            here = "in part"
        size = path.stat().st_size if path and path.is_file() else row.size
        megabytes = f"{size / 1e6:,.0f}" if size else ""
        kind = "model" if name in MODELS else ""
        rows.append((name, kind, here, megabytes, row.licence, path or ""))
    print(tabulate(rows, headers=("name", "", "here", "MB", "licence", "file")))
