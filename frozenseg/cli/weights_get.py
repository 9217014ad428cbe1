"""Downloads weights by name into the cache, or says where to get them.

    frozenseg weights get sam-vit-b fcclip-convnext-large

What is here already is left alone; a stopped download goes on where it stopped; checksums are
checked. $FROZENSEG_CACHE chooses the folder.
"""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument("names", nargs="+", metavar="NAME", help="of `frozenseg weights list`")


def main(args: argparse.Namespace) -> None:
    """Prints the path of every file."""
    from frozenseg.checkpoints.lookup import locate
    from frozenseg.progress import lines_on_stderr

    with lines_on_stderr():
        for name in args.names:
            print(f"{name}: {locate(name)}", flush=True)
