#!/usr/bin/env python
"""How far the exported image graph of a model is from the model: a table for docs/export.md.

    python tools/export_deviation.py miniature-frozenseg --output output/deviation/frozenseg
    python tools/export_deviation.py configs/fcclip/r50.yaml --weights "" \\
        --opts MODEL.FC_CLIP.CLIP_PRETRAINED_WEIGHTS "" --output output/deviation/r50

Two sizes, two numbers of words and a batch of 2, with the masks that the model finds and with empty
ones. The largest absolute differences of log-probabilities, mask logits and CLIP's embeddings, and
how many percent of the queries have the same class and of the mask logits the same sign. An
image.onnx that lies in the folder is not written again. Without weights all are random, from
seed 0, biases too, and mask logits are scaled to a standard deviation of 5, as trained models have
them.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from frozenseg.cli import program as cli
from frozenseg.cli.options import add_shared

SPREAD = 5.0


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("model", metavar="MODEL", help="such as fcclip-convnext-large, or a YAML file")
    add("--output", type=Path, required=True, metavar="FOLDER", help="made if needed")
    add_shared(parser, "--weights")
    add_shared(parser, "--opts")
    cli.add_debug_flag(parser)
    return parser


def main(args: argparse.Namespace) -> None:
    """Writes image.onnx where it is not there, and prints the table."""
    import torch
    from tabulate import tabulate

    from frozenseg.exporting.deviation import deviations
    from frozenseg.exporting.export import trace, write_onnx
    from frozenseg.exporting.graph import ImageGraph
    from frozenseg.mask_classification.model import MaskClassificationModel
    from frozenseg.predict.segmenter import load

    torch.manual_seed(0)
    model: Any = load(args.model, args.weights, "cpu", opts=args.opts).predictor.model
    if not isinstance(model, MaskClassificationModel):
        raise ValueError(f"{args.model} has no masks; `frozenseg export` prints its deviations")
    graph = ImageGraph(model, with_embeddings=True).eval()
    with torch.no_grad():
        if args.weights == "":
            randomise(graph)
        if not (args.output / "image.onnx").is_file():
            args.output.mkdir(parents=True, exist_ok=True)
            write_onnx(trace(graph), graph, args.output, int8=False)
    rows = deviations(graph, args.output / "image.onnx")
    print(tabulate(rows, headers="keys", tablefmt="github", floatfmt=".4g"))


def randomise(graph: Any) -> None:
    """Makes random weights more like trained ones.

    Biases start at 0, and an ONNX file keeps equal tensors once: here every one is different.
    The last layer of the mask embeddings is scaled to mask logits of the deviation `SPREAD`.
    """
    import torch

    for name, weight in graph.named_parameters():
        if name.endswith("bias"):
            weight.add_(0.01 * torch.randn_like(weight))
    inputs = graph.random_inputs(**graph.cases[2])
    masks = dict(zip(graph.outputs, graph(*inputs), strict=True))["mask_logits"]
    last = graph.model.sem_seg_head.predictor.mask_embed.layers[-1]
    scale = SPREAD / masks.std().item()
    last.weight *= scale
    last.bias *= scale


if __name__ == "__main__":
    cli.run(main, build_parser().parse_args())
