"""Training on detectron2's trainer: its loop, hooks and schedule; our data, optimizer and files."""

from __future__ import annotations

import contextlib
import logging
import weakref
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.data import get_detection_dataset_dicts
from detectron2.engine import DefaultTrainer, HookBase, TrainerBase, hooks
from detectron2.utils import comm
from detectron2.utils.events import CommonMetricPrinter, EventWriter, JSONWriter, TensorboardXWriter

from frozenseg.build import build_model, family
from frozenseg.data.catalog.register import register_datasets
from frozenseg.data.loader import TrainLoader
from frozenseg.data.mappers.masks import build_mapper
from frozenseg.device import retry_out_of_memory
from frozenseg.engine.checkpointer import Checkpointer
from frozenseg.engine.evaluate import evaluate
from frozenseg.engine.moving_average import MovingAverage
from frozenseg.engine.optimizer import build_optimizer, build_schedule, with_epochs
from frozenseg.engine.precision import choose_precision
from frozenseg.engine.processes import unwrap, wrap_for_processes
from frozenseg.engine.train_step import TrainStep
from frozenseg.engine.wandb_sync import start_wandb
from frozenseg.files import flatten
from frozenseg.progress import Progress, on_terminal

logger = logging.getLogger(__name__)


class Trainer(DefaultTrainer):
    """Trains META_ARCHITECTURE of a config and evaluates it; exact resume, on GPUs or the CPU.

    DefaultTrainer resumes neither its optimizer (v0.6), its place in the data nor its random
    draws, and insists on CUDA; its loop, hooks, schedules and event writers are used as they are.

    Writes OUTPUT_DIR/{model_*.pth, model_final.pth, last_checkpoint, metrics.json, results.json};
    with SOLVER.EMA_DECAY the averaged weights too (model_*_ema.pth), and evaluates these.
    """

    def __init__(self, cfg: CfgNode) -> None:
        """Builds model, data and optimizer; `resume_or_load` then reads weights."""
        # Not DefaultTrainer.__init__: it insists on CUDA for AMP and for several processes.
        TrainerBase.__init__(self)
        register_datasets(cfg)
        self.cfg = cfg = DefaultTrainer.auto_scale_workers(cfg, comm.get_world_size())
        self.seed = cfg.SEED if cfg.SEED >= 0 else comm.shared_random_seed()
        steps = accumulation_steps(cfg, comm.get_world_size())
        loader = build_train_loader(cfg, self.seed)
        self.cfg = cfg = with_epochs(cfg, len(loader.dataset))
        torch.manual_seed(self.seed)  # initial weights
        model = build_model(cfg)
        optimizer = build_optimizer(cfg, model)
        self._trainer = TrainStep(
            wrap_for_processes(model),
            loader,
            optimizer,
            precision=choose_precision(cfg.SOLVER.AMP.ENABLED, cfg.MODEL.DEVICE),
            seed=self.seed,
            accumulation_steps=steps,
            output_dir=cfg.OUTPUT_DIR,
        )
        decay = cfg.SOLVER.EMA_DECAY
        self.average = MovingAverage(model, decay) if decay else None
        self.scheduler = build_schedule(cfg, optimizer)
        self.checkpointer = Checkpointer(
            model,
            cfg.OUTPUT_DIR,
            save_to_disk=comm.is_main_process(),
            encoders_without_weights=family(cfg).encoders_without_weights(cfg),
            init_from=cfg.MODEL.INIT_FROM,
            averaged=self.average.weights if self.average else None,
            trainer=weakref.proxy(self),
        )
        self.start_iter = 0
        self.max_iter = cfg.SOLVER.MAX_ITER
        self.register_hooks(self.build_hooks())

    def build_hooks(self) -> list[HookBase]:
        """detectron2's hooks in its order, and a progress bar on a terminal."""
        built: list[HookBase] = [hooks.IterationTimer(), hooks.LRScheduler()]
        if self.average is not None:
            built.append(self.average)  # before the checkpoint and the evaluation, which use it
        if comm.is_main_process() and on_terminal():
            built.append(TrainingBar())  # before the evaluation, which has a bar of its own
        if comm.is_main_process():
            period = self.cfg.SOLVER.CHECKPOINT_PERIOD
            built.append(hooks.PeriodicCheckpointer(self.checkpointer, period))
        # After the checkpoint: a failed evaluation loses nothing.
        built.append(hooks.EvalHook(self.cfg.TEST.EVAL_PERIOD, self._evaluate))
        if comm.is_main_process():
            built.append(hooks.PeriodicWriter(self.build_writers(), period=20))
        return built

    def build_writers(self) -> list[EventWriter]:
        """metrics.json, TensorBoard and wandb; log lines where there is no progress bar."""
        folder = Path(self.cfg.OUTPUT_DIR)
        folder.mkdir(parents=True, exist_ok=True)
        if self.cfg.WANDB_PROJECT:
            start_wandb(self.cfg.WANDB_PROJECT, folder, dict(flatten(self.cfg)))
        writers = [JSONWriter(str(folder / "metrics.json")), TensorboardXWriter(str(folder))]
        return writers if on_terminal() else [CommonMetricPrinter(self.max_iter), *writers]

    def _evaluate(self) -> dict[str, Any]:
        # The last iteration done: of this run, or of the file that a finished run resumes from.
        done = max(self.start_iter - 1, min(self.iter, self.max_iter - 1))
        if self.iter == self.max_iter - 1:  # done, `iter` is one more: the last iteration failed
            return {}
        checkpoint, model = self.checkpointer.file_of(done), unwrap(self.model)
        average = self.average.applied() if self.average else contextlib.nullcontext()
        with average, retry_out_of_memory(model):
            self._last_eval_results = evaluate(self.cfg, model, checkpoint=checkpoint)
        return self._last_eval_results

    def resume_or_load(self, resume: bool = True) -> None:
        """Continues from OUTPUT_DIR's last checkpoint if `resume`, else loads weights.

        These are MODEL.INIT_FROM (`load_initial_weights`) or MODEL.WEIGHTS, strictly.

        A resumed run goes on with the batch, the random draws, the optimizer state and the
        learning rate that an uninterrupted one would have had.
        """
        super().resume_or_load(resume)
        self._trainer.data_loader.start = self.start_iter * self.cfg.SOLVER.IMS_PER_BATCH

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed run needs besides the weights (v0.6 leaves the optimizer out)."""
        return {
            **TrainerBase.state_dict(self),
            "optimizer": self._trainer.optimizer.state_dict(),
            "grad_scaler": self._trainer.scaler.state_dict(),
            "seed": self.seed,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes back what `state_dict` gave."""
        TrainerBase.load_state_dict(self, state_dict)
        self._trainer.optimizer.load_state_dict(state_dict["optimizer"])
        if state_dict["grad_scaler"]:  # empty if the run so far needed none
            self._trainer.scaler.load_state_dict(state_dict["grad_scaler"])
        self.seed = self._trainer.seed = self._trainer.data_loader.dataset.seed = state_dict["seed"]


class TrainingBar(HookBase):
    """A bar with rate, time left and loss on a terminal."""

    def before_train(self) -> None:
        """Opens the bar at the first iteration."""
        first, last = self.trainer.start_iter, self.trainer.max_iter
        self.progress = Progress(last, "training", "it", done=first)

    def after_step(self) -> None:
        """One iteration further; the loss is the median of the last 20."""
        history = self.trainer.storage.histories().get("total_loss")
        loss = "" if history is None else f"{history.median(20):.4g}"
        self.progress.advance(1, loss=loss)

    def after_train(self) -> None:
        """Ends the bar."""
        self.progress.close()


def build_train_loader(cfg: CfgNode, seed: int) -> TrainLoader:
    """The batches of DATASETS.TRAIN, in an order that depends on the seed alone."""
    if not cfg.DATASETS.TRAIN:
        raise ValueError("DATASETS.TRAIN is empty: name a registered dataset to train on")
    records = get_detection_dataset_dicts(list(cfg.DATASETS.TRAIN), filter_empty=False)
    return TrainLoader(
        records,
        build_mapper(cfg, is_train=True),
        batch_size=cfg.SOLVER.IMS_PER_BATCH,
        seed=seed,
        num_workers=cfg.DATALOADER.NUM_WORKERS,
        rank=comm.get_rank(),
        world_size=comm.get_world_size(),
    )


def accumulation_steps(cfg: CfgNode, processes: int) -> int:
    """Parts that a process computes its images of a batch in.

    Raises: ValueError if a batch of the SOLVER section cannot be split evenly.
    """
    solver = cfg.SOLVER
    steps = int(solver.ACCUMULATION_STEPS)  # BatchParts refuses numbers below 1
    if solver.IMS_PER_BATCH % (processes * max(1, steps)):
        raise ValueError(
            f"SOLVER.IMS_PER_BATCH is {solver.IMS_PER_BATCH}: it must be a multiple of "
            f"{processes} processes x SOLVER.ACCUMULATION_STEPS {steps}"
        )
    return steps
