#!/usr/bin/env python
"""Train or evaluate a model from a YAML config.

python train_net.py --config-file configs/fcclip/r50.yaml --num-gpus 4 OUTPUT_DIR output/r50
python train_net.py --config-file ... --recipe configs/recipes/1x24gb.yaml
torchrun --nproc-per-node 4 train_net.py --config-file ...
python train_net.py --config-file ... --resume
python train_net.py --config-file ... --eval-only MODEL.WEIGHTS output/r50/model_final.pth
"""

from __future__ import annotations

import argparse

from frozenseg.cli import program as cli


def build_parser() -> argparse.ArgumentParser:
    """detectron2's usual flags; words at the end change config keys."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--config-file", required=True, metavar="FILE", help="YAML config, see configs/")
    add("--recipe", metavar="FILE", help="keys on top of the config, see configs/recipes/")
    add("--resume", action="store_true", help="continue from the last checkpoint in OUTPUT_DIR")
    add("--eval-only", action="store_true", help="evaluate MODEL.WEIGHTS on DATASETS.TEST")
    add("--num-gpus", type=int, default=1, help="GPUs per machine; 0 uses the CPU (default: 1)")
    add("--num-machines", type=int, default=1, help="number of machines (default: 1)")
    add("--machine-rank", type=int, default=0, help="number of this machine, from 0 (default: 0)")
    add("--dist-url", default="auto", help="where processes meet, such as tcp://10.0.0.1:29500")
    cli.add_debug_flag(parser)
    add("opts", nargs=argparse.REMAINDER, metavar="KEY VALUE", help="config keys and their values")
    return parser


def main(args: argparse.Namespace) -> None:
    """Reads the config and runs it; torch is imported only from here on."""
    from frozenseg.engine.run import run

    run(args)


if __name__ == "__main__":
    cli.run(main, build_parser().parse_args())
