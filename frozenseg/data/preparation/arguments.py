"""The command line that all prepare scripts share."""

from __future__ import annotations

import argparse
import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from frozenseg.data.preparation.work import Preparation

MOST_WORKERS = 8  # more rarely help: the disk is busy by then


SPLITS = ("train", "val")


def make_parser(
    description: str | None, splits: tuple[str, ...] = SPLITS
) -> argparse.ArgumentParser:
    """A parser with the options of every prepare script; no --splits if there are none."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--root", type=Path, help="folder of all data sets (default: $DETECTRON2_DATASETS)"
    )
    if splits:
        parser.add_argument(
            "--splits",
            nargs="+",
            choices=splits,
            default=["val"],
            help="default: val, which is what an evaluation needs",
        )
    parser.add_argument(
        "--workers",
        type=_positive,
        default=min(MOST_WORKERS, os.cpu_count() or 1),
        help="processes: %(default)s",
    )
    parser.add_argument("--overwrite", action="store_true", help="make files that are there again")
    parser.add_argument(
        "--allow-empty",
        action="store_true",
        help="accept annotations without a single labelled pixel",
    )
    return parser


def start(args: argparse.Namespace) -> Preparation:
    """What the options ask for; progress goes to the log (stderr)."""
    from frozenseg.data.catalog.lookup import datasets_root
    from frozenseg.data.preparation.work import Preparation

    logging.basicConfig(level=logging.INFO, format="%(message)s")
    return Preparation(
        root=(args.root or datasets_root()).expanduser().absolute(),
        splits=tuple(dict.fromkeys(getattr(args, "splits", ()))),
        workers=args.workers,
        overwrite=args.overwrite,
        allow_empty=args.allow_empty,
    )


def prepare(args: argparse.Namespace, convert: Callable[..., None], *options: Any) -> int:
    """Makes what the options ask for and is not there yet.

    Args: convert: one of the functions `prepare_*`; `options`: what it takes after the preparation.
    Returns: the exit code, 1 if an image could not be converted.
    """
    preparation = start(args)
    convert(preparation, *options)
    return preparation.finish()


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError
    return number
