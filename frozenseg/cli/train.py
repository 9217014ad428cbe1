"""Trains or evaluates a model from a YAML config.

frozenseg train --config-file configs/fcclip/r50.yaml --num-gpus 4 OUTPUT_DIR output/r50
frozenseg train --config-file ... --recipe configs/recipes/1x24gb.yaml
torchrun --nproc-per-node 4 -m frozenseg train --config-file ...
frozenseg train --config-file ... --resume
frozenseg train --config-file ... --eval-only MODEL.WEIGHTS output/r50/model_final.pth
"""

from __future__ import annotations

import argparse

from frozenseg.cli.options import add_shared, whole


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    add = parser.add_argument
    add("--config-file", required=True, metavar="FILE", help="YAML config, see configs/")
    add("--recipe", metavar="FILE", help="keys on top of the config, see configs/recipes/")
    add("--resume", action="store_true", help="continue from the last checkpoint in OUTPUT_DIR")
    add("--eval-only", action="store_true", help="evaluate MODEL.WEIGHTS on DATASETS.TEST")
    add_shared(parser, "--num-gpus")
    add("--num-machines", type=whole(1, 65_536), default=1, help="number of machines (default: 1)")
    add(
        "--machine-rank",
        type=whole(0, 65_535),
        default=0,
        help="number of this machine, from 0 (default: 0)",
    )
    add("--dist-url", default="auto", help="where processes meet, such as tcp://10.0.0.1:29500")
    add("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="config keys and their values")


def main(args: argparse.Namespace) -> None:
    """Reads the config and runs it; torch is imported only from here on."""
    from frozenseg.engine.run import run

    run(args)
