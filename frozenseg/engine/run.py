"""What `frozenseg train` does: train, or evaluate weights; one process per GPU, or torchrun's."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.utils import comm
from detectron2.utils.logger import setup_logger

from frozenseg.build import load_model
from frozenseg.checkpoints.lookup import resolve_names
from frozenseg.checkpoints.reading import require_weights
from frozenseg.config import load_config
from frozenseg.data.catalog.register import register_datasets, registered_split
from frozenseg.device import retry_out_of_memory, usable_device
from frozenseg.engine.evaluate import evaluate
from frozenseg.engine.inputs import check_datasets
from frozenseg.engine.processes import launch, process_rank
from frozenseg.engine.trainer import Trainer
from frozenseg.engine.wandb_sync import require_wandb
from frozenseg.files import write_text

logger = logging.getLogger(__name__)


def run(args: argparse.Namespace) -> None:
    """Runs `train_or_evaluate` in as many processes as the flags ask for."""
    cfg = load_config(args.config_file, args.opts, recipe=args.recipe)
    resolve_names(cfg, cfg.MODEL.WEIGHTS if args.eval_only else "")
    cfg.OUTPUT_DIR = str(Path(cfg.OUTPUT_DIR).absolute())
    set_up_logging(cfg.OUTPUT_DIR, debug=args.debug)
    cfg.MODEL.DEVICE = usable_device(cfg.MODEL.DEVICE, args.num_gpus)
    launch(
        train_or_evaluate,
        (cfg, args),
        device=cfg.MODEL.DEVICE,
        num_gpus=args.num_gpus,
        num_machines=args.num_machines,
        machine_rank=args.machine_rank,
        dist_url=args.dist_url,
    )


def train_or_evaluate(cfg: CfgNode, args: argparse.Namespace) -> None:
    """One process: trains (or resumes) and evaluates at the end; with --eval-only only the latter.

    Raises: the errors of `check_inputs`, before anything is built.
    """
    cfg.freeze()
    set_up_logging(cfg.OUTPUT_DIR, debug=args.debug)
    register_datasets(cfg)
    check_inputs(cfg, args.eval_only)
    if comm.is_main_process():
        write_text(Path(cfg.OUTPUT_DIR) / "config.yaml", cfg.dump())
    if not args.eval_only:
        trainer = Trainer(cfg)
        trainer.resume_or_load(resume=args.resume)
        trainer.train()
        return
    model, _ = load_model(cfg)
    with retry_out_of_memory(model):
        evaluate(cfg, model, checkpoint=cfg.MODEL.WEIGHTS)


def check_inputs(cfg: CfgNode, eval_only: bool) -> None:
    """What can be wrong is said at once, not after hours of training.

    Raises: ValueError for a dataset that is not registered, --eval-only without weights, two
        files to start from, or wandb where it is not installed; FileNotFoundError for weights
        that are not there; the errors of `check_datasets`.
    """
    for name in (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST):
        registered_split(name)
    if comm.is_main_process():  # launchers stop the other processes
        check_datasets(cfg, training=not eval_only)
    if not eval_only:
        if cfg.WANDB_PROJECT:
            require_wandb()
        if cfg.MODEL.INIT_FROM:
            if cfg.MODEL.WEIGHTS:
                raise ValueError("MODEL.WEIGHTS and MODEL.INIT_FROM are both set: choose one")
            require_weights(cfg.MODEL.INIT_FROM, key="MODEL.INIT_FROM")
    if cfg.MODEL.WEIGHTS:
        require_weights(cfg.MODEL.WEIGHTS)
    elif eval_only:
        raise ValueError("--eval-only needs weights: add MODEL.WEIGHTS path/to/model_final.pth")


def set_up_logging(output_dir: str, debug: bool = False) -> None:
    """Log lines on stdout and in OUTPUT_DIR/log.txt; tracebacks only in the file unless `debug`."""
    for name in ("fvcore", "detectron2", "frozenseg"):
        log = setup_logger(output_dir, distributed_rank=process_rank(), name=name)
        for handler in log.handlers:
            if not debug and getattr(handler, "stream", None) is sys.stdout:
                handler.addFilter(_has_no_traceback)


def _has_no_traceback(record: logging.LogRecord) -> bool:
    return not record.exc_info
