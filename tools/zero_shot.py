#!/usr/bin/env python
"""Scores one model zero-shot on many benchmarks, each with its own words.

python tools/zero_shot.py --config-file configs/fcclip/convnext_large.yaml --weights fcclip.pth \\
    --benchmarks ade20k_150 cityscapes pascal_context_459
python tools/zero_shot.py --config-file ... --weights ... --benchmarks all

A name is a benchmark (python -m frozenseg.data list shows them), a data set or an alias of it, a
YAML file with data sets of your own, or all. The model is built once. Results are kept after every
benchmark: the same command goes on where it stopped, and scores nothing twice. Benchmarks whose
data are missing are named with the remedy and skipped; the exit code is then 1.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from frozenseg.cli import program as cli


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--config-file", required=True, metavar="FILE", help="YAML config of the model")
    add("--weights", required=True, metavar="FILE", help="checkpoint: a file or a name")
    add("--benchmarks", required=True, nargs="+", metavar="NAME", help="what to score, or all")
    add(
        "--output",
        type=Path,
        metavar="FOLDER",
        help="for results.json and results.md (default: zero_shot/WEIGHTS below OUTPUT_DIR)",
    )
    add("--overwrite", action="store_true", help="forget the results that are there")
    add("--num-gpus", type=int, default=1, help="0 uses the CPU (default: 1)")
    add("--opts", nargs="*", default=[], metavar="KEY VALUE", help="config keys to change")
    cli.add_debug_flag(parser)
    return parser


def main(args: argparse.Namespace) -> int:
    """Runs the evaluation in as many processes as wished; 1 if a benchmark was skipped."""
    from frozenseg.checkpoints.lookup import resolve, resolve_names
    from frozenseg.config import load_config
    from frozenseg.device import usable_device
    from frozenseg.engine.launch import launch, process_rank
    from frozenseg.engine.zero_shot import RESULTS, data_sets, table
    from frozenseg.evaluation.results import read_results, read_skipped

    cfg = load_config(args.config_file, args.opts)
    resolve_names(cfg)
    args.weights = resolve(args.weights, "--weights")
    names = data_sets(args.benchmarks)
    default = Path(cfg.OUTPUT_DIR) / "zero_shot" / Path(args.weights).stem
    folder = (args.output or default).expanduser().absolute()
    if args.overwrite and process_rank() == 0:
        (folder / RESULTS).unlink(missing_ok=True)
    cfg.MODEL.DEVICE = usable_device(cfg.MODEL.DEVICE, args.num_gpus)
    cfg.freeze()
    launch(score, (cfg, args, names, folder), device=cfg.MODEL.DEVICE, num_gpus=args.num_gpus)
    if process_rank() != 0:
        return 0
    skipped = read_skipped(folder / RESULTS)
    print(f"\n{table(read_results(folder / RESULTS), skipped)}\n{folder / RESULTS}")
    return int(bool(skipped))


def score(cfg: Any, args: argparse.Namespace, names: tuple[str, ...], folder: Path) -> None:
    """One process."""
    from frozenseg.engine.run import set_up_logging
    from frozenseg.engine.zero_shot import data_sets, score_benchmarks

    set_up_logging(str(folder), debug=args.debug)
    data_sets(args.benchmarks)  # registers them in this process
    score_benchmarks(cfg, args.weights, names, folder)


if __name__ == "__main__":
    cli.run(main, build_parser().parse_args())
