"""Where the scalars of a training go besides detectron2's own writers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from detectron2.utils.events import EventWriter, get_event_storage

RUN_FILE = "wandb_run.txt"


def require_wandb() -> None:
    """Raises: ValueError with the remedy if the package wandb cannot be imported."""
    try:
        import wandb  # type: ignore[import-not-found,unused-ignore]  # noqa: F401
    except ImportError as error:
        raise ValueError(
            "WANDB_PROJECT is set, but the package wandb is not installed: run 'pip install "
            "wandb', or leave WANDB_PROJECT empty"
        ) from error


class WandbWriter(EventWriter):
    """Sends every new scalar to a project of Weights & Biases; a resumed run continues its own."""

    def __init__(self, project: str, folder: Path, config: Mapping[str, Any]) -> None:
        """
        Args:
            project: name of the project there.
            folder: OUTPUT_DIR; wandb's files and the run's id are kept in it.
            config: what the run is listed with.
        Raises: nothing; wandb is imported at the first `write`.
        """
        self.project, self.folder, self.config = project, folder, dict(config)
        self._run: Any = None
        self._sent = -1

    def write(self) -> None:
        """Sends the scalars that came since the last call, each at its iteration."""
        rows: dict[int, dict[str, float]] = {}
        for name, (value, iteration) in get_event_storage().latest().items():
            if iteration > self._sent:
                rows.setdefault(iteration, {})[name] = float(value)
        if rows and self._run is None:
            self._run = self._start()
        for iteration in sorted(rows):
            self._run.log(rows[iteration], step=iteration)
            self._sent = iteration

    def close(self) -> None:
        """Ends the run there."""
        if self._run is not None:
            self._run.finish()

    def _start(self) -> Any:
        require_wandb()
        import wandb

        file = self.folder / RUN_FILE
        known = file.read_text().strip() if file.is_file() else None
        run = wandb.init(
            project=self.project,
            name=self.folder.name,
            dir=str(self.folder),
            config=self.config,
            id=known,
            resume="allow",
        )
        file.write_text(f"{run.id}\n")
        return run
