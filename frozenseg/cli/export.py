"""Writes a model as a folder that runs without this code: ONNX or torch.export.

    frozenseg export fcclip-convnext-large --output exported/fcclip
    frozenseg export configs/fcclip/r50.yaml --weights model.pth --output exported/r50 --int8

MODEL is a name of `frozenseg weights list`, or the path of a YAML config. The folder has image.onnx
(or image.pt2, and beside it an AOTInductor package where a C++ compiler is there), text.onnx and
tokenizer.json, so that new words need no torch, and export.json. Images may have any size that is a
multiple of the divisor, and words any number. SAM's proposals (mask ensemble) are not part of it.

Afterwards the files are run and compared with the model, on several sizes, numbers of words and a
batch: the table has the largest absolute differences.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from frozenseg.cli.options import add_shared
from frozenseg.exporting.manifest import FORMATS


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    add = parser.add_argument
    add("model", metavar="MODEL", help="such as fcclip-convnext-large, or a YAML file")
    add("--output", type=Path, required=True, metavar="FOLDER", help="made if needed")
    add_shared(parser, "--weights")
    add("--format", choices=FORMATS, default="onnx", help="default: %(default)s")
    add_shared(
        parser,
        "--precision",
        help="of the weights in the files (half the size); all is computed in float32",
    )
    add(
        "--int8",
        action="store_true",
        help="8 bit weights of matrix products, by onnxruntime's dynamic quantisation",
    )
    add(
        "--with-embeddings",
        action="store_true",
        help="CLIP's embeddings of the masks are an output, too",
    )
    add_shared(parser, "--opts")


def main(args: argparse.Namespace) -> None:
    """Writes the folder and prints the deviations."""
    from tabulate import tabulate

    from frozenseg.exporting.export import export
    from frozenseg.predict.segmenter import load
    from frozenseg.progress import lines_on_stderr

    if args.output.exists() and not args.output.is_dir():
        raise ValueError(f"--output {args.output} is a file: name a folder")
    with lines_on_stderr():
        segmenter = load(args.model, args.weights, "cpu", opts=args.opts)
        manifest = export(
            segmenter,
            args.output,
            format=args.format,
            precision=args.precision,
            int8=args.int8,
            with_embeddings=args.with_embeddings,
        )
    print("largest differences from the model:")
    print(tabulate(manifest.deviation, headers="keys", floatfmt=".1e"))
    for path in sorted(args.output.iterdir()):
        print(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
