r"""Scores one model zero-shot on many benchmarks, each with its own words.

    frozenseg evaluate --config-file configs/fcclip/convnext_large.yaml --weights fcclip.pth \
        --benchmarks ade20k_150 cityscapes pascal_context_459
    frozenseg evaluate --config-file ... --weights ... --benchmarks all

A name is a benchmark (`frozenseg data list` shows them), a dataset or an alias of it, a YAML file
with datasets of your own, mess (the sets of MESS), or all; without names the config's DATASETS.TEST
is scored. The model is built once. Results are kept after every benchmark: the same command goes on
where it stopped, and scores nothing twice. Benchmarks whose data are missing are named with the
remedy and skipped; the exit code is then 1.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from frozenseg.cli.options import WORDS_HELP, add_shared


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options."""
    add = parser.add_argument
    which = parser.add_mutually_exclusive_group(required=True)
    add_shared(which, "--model", "--config-file")
    add_shared(parser, "--weights")
    add("--words", metavar="SET", help=f"{WORDS_HELP}: DATASETS.WORDS")
    add("--benchmarks", nargs="+", metavar="NAME", help="what to score, mess, or all")
    add(
        "--output",
        type=Path,
        metavar="FOLDER",
        help="for results.json and results.md (default: zero_shot/WEIGHTS below OUTPUT_DIR)",
    )
    add(
        "--save-predictions",
        action="store_true",
        help="keep them, in COCO's formats and as label maps (TEST.SAVE_PREDICTIONS)",
    )
    add(
        "--per-image",
        action="store_true",
        help="keep what was counted of every image, for `report` and `compare` "
        "(TEST.SAVE_PER_IMAGE)",
    )
    add("--diagnose", action="store_true", help="also say where the model fails (TEST.DIAGNOSE)")
    add("--overwrite", action="store_true", help="forget the results that are there")
    add_shared(parser, "--num-gpus", "--opts")


def main(args: argparse.Namespace) -> int:
    """Runs the evaluation in as many processes as wished; 1 if a benchmark was skipped."""
    from frozenseg.data.catalog.register import register_datasets
    from frozenseg.device import usable_device
    from frozenseg.engine.processes import launch, process_rank
    from frozenseg.engine.zero_shot import RESULTS, dataset_names, table
    from frozenseg.evaluation.results import read_results, read_skipped
    from frozenseg.exporting.manifest import FILE_NAME
    from frozenseg.predict.model_folder import open_model
    from frozenseg.predict.model_manifest import MANIFEST

    given = Path(args.model or "").expanduser()
    if (given / FILE_NAME).is_file() and not (given / MANIFEST).is_file():
        raise ValueError(
            f"--model {args.model} is an exported model, which only segments: evaluate the model "
            "that it was made from (in a checkout, tools/evaluate_export.py scores exports)"
        )
    opened = open_model(args.model or args.config_file, args.weights, args.opts)
    cfg, args.weights, args.training = opened.cfg, opened.weights, opened.training
    if args.words is not None:
        cfg.DATASETS.WORDS = args.words
    if args.save_predictions:
        cfg.TEST.SAVE_PREDICTIONS = True
    if args.per_image:
        cfg.TEST.SAVE_PER_IMAGE = True
    if args.diagnose:
        cfg.TEST.DIAGNOSE = True
    register_datasets(cfg)
    names = dataset_names(
        args.benchmarks or cfg.DATASETS.TEST, cfg.DATASETS.WORDS, cfg.DATASETS.TRAIN
    )
    default = Path(cfg.OUTPUT_DIR) / "zero_shot" / Path(args.weights).stem
    folder = (args.output or default).expanduser().absolute()
    if folder.is_file():
        raise ValueError(f"--output: {folder} is a file: name a folder")
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
    from frozenseg.data.catalog.register import register_datasets
    from frozenseg.engine.run import set_up_logging
    from frozenseg.engine.zero_shot import dataset_names, score_benchmarks
    from frozenseg.predict.model_folder import use_words

    set_up_logging(str(folder), debug=args.debug)
    register_datasets(cfg)  # in this process, as in the one before
    use_words(args.training)
    dataset_names(args.benchmarks or (), cfg.DATASETS.WORDS, cfg.DATASETS.TRAIN)
    score_benchmarks(cfg, args.weights, names, folder)
