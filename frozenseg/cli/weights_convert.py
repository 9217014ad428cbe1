"""Rewrites a weights file as .safetensors, which any program can read without running code.

    frozenseg weights convert model_final.pth model.safetensors

Read are .pth, .pt, .bin, .ckpt and .safetensors files of tensors, and detectron2's .pkl files of
numpy arrays. Nothing in a file is ever run: of a pickle only containers, numbers, texts, arrays and
tensors are made; objects of other classes (a trainer's settings, callbacks) are left out.
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    parser.add_argument("source", type=Path, metavar="IN")
    parser.add_argument("target", type=Path, metavar="OUT", help="ends in .safetensors")


def main(args: argparse.Namespace) -> None:
    """Writes the file, and says what is in it."""
    from frozenseg.checkpoints.convert import convert_weights

    names, left_out = convert_weights(args.source, args.target)
    others = f"; left out, as they are no tensors: {', '.join(left_out)}" if left_out else ""
    print(f"{args.target}: {len(names)} tensors, the first {names[0]}{others}")
