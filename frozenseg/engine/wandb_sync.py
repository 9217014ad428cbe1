"""Weights & Biases: it reads the TensorBoard files that a training writes anyway."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

RUN_FILE = "wandb_run.txt"


def require_wandb() -> Any:
    """The package wandb. Raises: ValueError with the remedy if it cannot be imported."""
    try:
        import wandb  # type: ignore[import-not-found,unused-ignore]
    except ImportError as error:
        raise ValueError(
            "WANDB_PROJECT is set, but the package wandb is not installed: run 'pip install "
            "wandb', or leave WANDB_PROJECT empty"
        ) from error
    return wandb


def start_wandb(project: str, folder: Path, config: Mapping[str, Any]) -> None:
    """From now on wandb sends what is written for TensorBoard; call it before the first writer.

    The run's id is kept in `folder`, so that a resumed training continues its run. wandb ends the
    run with the process.

    Args:
        project: name of the project there.
        folder: OUTPUT_DIR; wandb's own files are kept in it too.
        config: what the run is listed with.
    Raises: the errors of `require_wandb`.
    """
    file = folder / RUN_FILE
    run = require_wandb().init(
        project=project,
        name=folder.name,
        dir=str(folder),
        config=dict(config),
        id=file.read_text().strip() if file.is_file() else None,
        resume="allow",
        sync_tensorboard=True,
    )
    file.write_text(f"{run.id}\n")
