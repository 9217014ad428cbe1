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
        rows.append((name, "model" if name in MODELS else "", here, row.licence, path or ""))
    print(tabulate(rows, headers=("name", "", "here", "licence", "file")))
