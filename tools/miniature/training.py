"""The training loop of all miniature models: schedule, clipping, log, checkpoints, export."""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from frozenseg.files import write_atomically

LossOfStep = Callable[[int, float], tuple[Tensor, dict[str, float]]]
_WARMUP_STEPS = 100


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to learn.

    Attributes:
        minutes, steps: the training ends after so many steps, or minutes where steps is 0.
        peak_rate: learning rate after the warm-up; it falls along a cosine to a hundredth.
        weight_decay: of matrices and kernels (not of vectors).
        max_norm: gradients are clipped to this norm.
        log_every, save_every: steps between log lines, seconds between checkpoints.
    """

    minutes: float
    steps: int
    peak_rate: float
    weight_decay: float = 0.05
    max_norm: float = 1.0
    log_every: int = 20
    save_every: float = 120.0

    def progress(self, step: int, seconds: float) -> float:
        """The share of the training that is done, 0..1."""
        done = step / self.steps if self.steps else seconds / (60 * self.minutes)
        return min(done, 1.0)

    def rate(self, step: int, progress: float) -> float:
        falling = 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * progress))
        return self.peak_rate * falling * min(1.0, (step + 1) / _WARMUP_STEPS)


def train(
    model: nn.Module, loss_of_step: LossOfStep, schedule: Schedule, folder: Path, *, resume: bool
) -> dict[str, float]:
    """Trains `model` in place; writes folder/log.jsonl and folder/checkpoint.pt.

    Args:
        loss_of_step: (step, progress) -> loss and figures for the log; all its random draws are
            keyed by the step, so that a resumed run continues as an uninterrupted one (exactly so
            where the schedule is given in steps).
        resume: continue from the checkpoint in `folder`, if there is one.
    Returns: steps and seconds of the whole training.
    """
    folder.mkdir(parents=True, exist_ok=True)
    optimizer = _optimizer(model, schedule)
    checkpoint, log_file = folder / "checkpoint.pt", folder / "log.jsonl"
    clock, step, means = _Clock(), 0, dict[str, float]()
    if resume and checkpoint.is_file():
        clock, step, means = _restore(checkpoint, model, optimizer)
    _cut_log(log_file, step)

    def save() -> None:
        state: dict[str, Any] = {
            "model": model.state_dict(),
            "optimizer": optimizer.state_dict(),
            "step": step,
            "means": means,
            "seconds": clock.seconds(),
            "cpu_seconds": clock.cpu_seconds(),
        }
        write_atomically(checkpoint, lambda part: torch.save(state, part))

    last_save = clock.seconds()
    while (progress := schedule.progress(step, clock.seconds())) < 1:
        for group in optimizer.param_groups:
            group["lr"] = schedule.rate(step, progress)
        loss, figures = loss_of_step(step, progress)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(model.parameters(), schedule.max_norm)
        if not math.isfinite(float(norm)):
            raise ValueError(f"step {step}: gradient norm {float(norm)}; lower the learning rate")
        optimizer.step()
        step += 1
        figures = {"loss": float(loss.detach()), "gradient_norm": float(norm), **figures}
        means |= {k: 0.95 * means.get(k, v) + 0.05 * v for k, v in figures.items()}
        if step % schedule.log_every == 0:
            _log(log_file, step, progress, clock.seconds(), means)
        if clock.seconds() - last_save > schedule.save_every:
            last_save = clock.seconds()
            save()
    save()
    return {
        "steps": step,
        "seconds": round(clock.seconds(), 1),
        "cpu_seconds": round(clock.cpu_seconds(), 1),
    }


def export_half(state: Mapping[str, Tensor], path: Path) -> None:
    """Writes weights in float16."""
    half = {name: t.detach().half().contiguous().clone() for name, t in state.items()}
    write_atomically(path, lambda part: save_file(half, part))


def plot_log(log_file: Path, picture: Path, *, title: str) -> None:
    """Draws every figure of the log (one JSON object per line) over the steps."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    rows = [json.loads(line) for line in log_file.read_text(encoding="utf-8").splitlines()]
    names = sorted({name for row in rows for name in row} - {"step", "progress", "seconds"})
    losses = [name for name in names if name.startswith("loss")]
    shares = [name for name in names if name not in losses and name != "gradient_norm"]
    figure, axes = pyplot.subplots(1, 2, figsize=(10, 3.5), layout="constrained")
    for axis, group in zip(axes, (losses, shares), strict=True):
        for name in group:
            points = [(row["step"], row[name]) for row in rows if name in row]
            axis.plot(*zip(*points, strict=True), label=name)
        axis.set_xlabel("step")
        axis.grid(alpha=0.3)
        if group:
            axis.legend()
    axes[1].set_ylim(0, 1)
    figure.suptitle(title)
    figure.savefig(picture, dpi=90)
    pyplot.close(figure)


class _Clock:
    """Seconds of a training over all its runs, on the wall and of the CPU."""

    def __init__(self, seconds: float = 0.0, cpu_seconds: float = 0.0):
        self._wall = time.monotonic() - seconds
        self._cpu = time.process_time() - cpu_seconds

    def seconds(self) -> float:
        return time.monotonic() - self._wall

    def cpu_seconds(self) -> float:
        return time.process_time() - self._cpu


def _optimizer(model: nn.Module, schedule: Schedule) -> torch.optim.Optimizer:
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": schedule.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=schedule.peak_rate, betas=(0.9, 0.98))


def _restore(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[_Clock, int, dict[str, float]]:
    state = torch.load(path, map_location="cpu", weights_only=True)
    try:
        model.load_state_dict(state["model"])
    except RuntimeError as error:
        raise ValueError(
            f"{path}: is the checkpoint of another model ({error}); use another --output"
        ) from error
    optimizer.load_state_dict(state["optimizer"])
    clock = _Clock(state["seconds"], state["cpu_seconds"])
    return clock, state["step"], state["means"]


def _cut_log(path: Path, step: int) -> None:
    """Drops the lines of steps that will be done again."""
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    kept = [line for line in lines if json.loads(line)["step"] <= step]
    path.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")


def _log(path: Path, step: int, progress: float, seconds: float, means: dict[str, float]) -> None:
    row = {"step": step, "progress": round(progress, 4), "seconds": round(seconds, 1)}
    row |= {name: round(value, 4) for name, value in means.items()}
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")
    left = seconds * (1 / max(progress, 1e-6) - 1)
    text = " ".join(f"{name} {value:.3f}" for name, value in means.items())
    bar = "#" * round(20 * progress)
    line = f"[{bar:<20}] step {step}, {step / seconds:.2f}/s, {left / 60:.1f} min left, {text}"
    end = "\r" if sys.stdout.isatty() else "\n"
    print(line, end=end, flush=True)
