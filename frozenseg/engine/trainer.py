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
from frozenseg.data.mappers.masks import SegmentationMapper, build_mapper, training_mapper
from frozenseg.data.training_records import (
    repeat_factors,
    warn_of_empty_masks,
    warn_of_many_targets,
    with_annotations,
)
from frozenseg.device import retry_out_of_memory
from frozenseg.engine.best import BestModel, Patience, StoppedEarly, add_to_results, best_metric
from frozenseg.engine.checkpointer import Checkpointer
from frozenseg.engine.evaluate import evaluate
from frozenseg.engine.moving_average import MovingAverage
from frozenseg.engine.optimizer import build_optimizer, build_schedule, with_epochs
from frozenseg.engine.precision import choose_precision
from frozenseg.engine.processes import unwrap, wrap_for_processes
from frozenseg.engine.resume import changed_keys, config_text, resume_lines
from frozenseg.engine.train_step import TrainStep
from frozenseg.engine.validation_loss import VALIDATION_LOSS, sets_with_loss, validation_loss
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
        self.start_iter, self.done = 0, -1
        self.max_iter = cfg.SOLVER.MAX_ITER
        self.sets_with_loss = sets_with_loss(cfg) if cfg.TEST.VALIDATION_LOSS else []
        metric = best_metric(cfg)
        self.best = (
            BestModel(self.checkpointer, Path(cfg.OUTPUT_DIR), metric, cfg.TEST.PATIENCE)
            if metric
            else None
        )
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
        if self.best is not None:
            built.append(Patience(self.best))
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
        if self.iter == self.max_iter - 1:  # done, `iter` is one more: the last iteration failed
            return {}
        return self._score()

    def _score(self) -> dict[str, Any]:
        """Evaluates the weights after the last iteration done, of this run or the one resumed."""
        checkpoint, model = self.checkpointer.file_of(self.done), unwrap(self.model)
        with self._averaged(), retry_out_of_memory(model):
            results = evaluate(self.cfg, model, checkpoint=checkpoint)
        if self.sets_with_loss:
            with self._averaged():
                self._add_validation_losses(results)
        if self.best is not None:
            self.best.record(self.done, results)
        self._last_eval_results = results
        return results

    def _averaged(self) -> contextlib.AbstractContextManager[None]:
        return self.average.applied() if self.average else contextlib.nullcontext()

    def _add_validation_losses(self, results: dict[str, dict[str, float]]) -> None:
        model, precision = unwrap(self.model), self._trainer.precision
        losses = {
            name: validation_loss(self.cfg, model, name, precision) for name in self.sets_with_loss
        }
        logger.info("Validation loss: %s", losses)
        if comm.is_main_process():
            for name, loss in losses.items():
                results[name][VALIDATION_LOSS] = loss
            add_to_results(Path(self.cfg.OUTPUT_DIR), validation_loss=losses)

    def run_step(self) -> None:
        """One iteration."""
        super().run_step()
        self.done = self.iter

    def train(self) -> None:
        """Trains to SOLVER.MAX_ITER, or until TEST.PATIENCE ends, and evaluates."""
        if self.best is not None and self.start_iter:
            self.best.resume(self.done)
            period = self.cfg.TEST.EVAL_PERIOD
            due = period > 0 and self.start_iter % period == 0 and self.start_iter < self.max_iter
            if due and self.done not in self.best.values:  # killed before this evaluation's end
                self._score()
        if self.best is not None and self.best.exhausted:
            self._stop_early()
            return
        try:
            super().train()
        except StoppedEarly:
            self._stop_early()

    def after_train(self) -> None:
        """The last evaluation. detectron2 is one iteration too far where none was left to do."""
        self.iter: int = min(self.iter, self.max_iter)
        super().after_train()

    def _stop_early(self) -> None:
        self.checkpointer.save("model_final", iteration=self.done)
        logger.info(
            "Training ends after iteration %d: no better %s in TEST.PATIENCE = %d evaluations",
            *(self.done, self.cfg.TEST.BEST_METRIC, self.cfg.TEST.PATIENCE),
        )

    def resume_or_load(self, resume: bool = True) -> None:
        """Continues from OUTPUT_DIR's last checkpoint if `resume`, else loads weights.

        These are MODEL.INIT_FROM (`load_initial_weights`) or MODEL.WEIGHTS, strictly.

        A resumed run goes on with the batch, the random draws, the optimizer state and the
        learning rate that an uninterrupted one would have had. The log says what it took from the
        file, what of the config that overrules, and what else is other than in its run.
        """
        folder, there = self.cfg.OUTPUT_DIR, self.checkpointer.has_checkpoint()
        if resume and not there:
            logger.warning("--resume: %s has no checkpoint: training starts at iteration 0", folder)
        elif there and not resume:
            logger.warning(
                "%s has checkpoints of an earlier run, which this one overwrites (--resume goes on "
                "with it)",
                folder,
            )
        super().resume_or_load(resume)
        self._trainer.data_loader.start = self.start_iter * self.cfg.SOLVER.IMS_PER_BATCH
        if self.start_iter:
            self.done = self.start_iter - 1
            rates = {group["lr"] for group in self._trainer.optimizer.param_groups}
            for line in resume_lines(
                self.cfg,
                self._resumed,
                self._changed,
                path=self.checkpointer.loaded_from,
                rates=rates,
            ):
                logger.info("%s", line)
            self.start_iter = min(self.start_iter, self.max_iter)  # what detectron2's loop can show

    def state_dict(self) -> dict[str, Any]:
        """All that a resumed run needs besides the weights (v0.6 leaves the optimizer out)."""
        return {
            **TrainerBase.state_dict(self),
            "iteration": self.done,
            "config": config_text(self.cfg),
            "optimizer": self._trainer.optimizer.state_dict(),
            "grad_scaler": self._trainer.scaler.state_dict(),
            "seed": self.seed,
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes back what `state_dict` gave.

        Raises: ValueError for a state without a part, or of a run with another optimizer.
        """
        lacking = {"iteration", "optimizer", "grad_scaler", "seed"} - state_dict.keys()
        if lacking:
            raise ValueError(f"it has no {' and no '.join(sorted(lacking))}")
        self._changed = changed_keys(self.cfg, state_dict)
        TrainerBase.load_state_dict(self, state_dict)
        self._trainer.optimizer.load_state_dict(state_dict["optimizer"])
        if state_dict["grad_scaler"]:  # empty if the run so far needed none
            self._trainer.scaler.load_state_dict(state_dict["grad_scaler"])
        self.seed = self._trainer.seed = self._trainer.data_loader.dataset.seed = state_dict["seed"]
        about = ("iteration", "seed", "config")
        self._resumed = {name: state_dict[name] for name in about if name in state_dict}
        self._resumed["hooks"] = list(state_dict.get("hooks", ()))


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
    if cfg.DATALOADER.FILTER_EMPTY_ANNOTATIONS:
        records = with_annotations(records)
    mapper = build_mapper(cfg, is_train=True)
    source = "the config" if cfg.INPUT.DATASET_MAPPER_NAME else "the annotations of DATASETS.TRAIN"
    logger.info("INPUT.DATASET_MAPPER_NAME is %s, from %s", training_mapper(cfg), source)
    if isinstance(mapper, SegmentationMapper):
        warn_of_empty_masks(records)
        queries = cfg.MODEL.MASK_FORMER.NUM_OBJECT_QUERIES
        warn_of_many_targets(records, mapper.targets.most, queries)
    repeated = cfg.DATALOADER.SAMPLER_TRAIN == "RepeatFactorTrainingSampler"
    return TrainLoader(
        records,
        mapper,
        batch_size=cfg.SOLVER.IMS_PER_BATCH,
        seed=seed,
        num_workers=cfg.DATALOADER.NUM_WORKERS,
        rank=comm.get_rank(),
        world_size=comm.get_world_size(),
        factors=repeat_factors(records, cfg.DATALOADER.REPEAT_THRESHOLD) if repeated else None,
        pin_memory=cfg.MODEL.DEVICE.startswith("cuda"),
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
