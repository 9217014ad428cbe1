"""The trainer's checkpoint files: what a run writes and resumes from."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from fvcore.common.checkpoint import Checkpointer as FvcoreCheckpointer
from torch import Tensor, nn

from frozenseg.data.atomic import write_atomically
from frozenseg.engine.checkpoint import (
    FROZEN_PREFIXES,
    load_state,
    read_checkpoint,
)

logger = logging.getLogger(__name__)

LAST_CHECKPOINT = "last_checkpoint"


class Checkpointer(FvcoreCheckpointer):
    """The trainer's checkpoints: atomic, plain tensors, without encoders that exist elsewhere."""

    def __init__(
        self,
        model: nn.Module,
        save_dir: str = "",
        *,
        save_to_disk: bool = True,
        random_encoders: Mapping[str, str] | None = None,
        **checkpointables: Any,
    ) -> None:
        """
        Args:
            random_encoders: frozen encoders without weights of their own, as in `load_weights`.
        """
        super().__init__(model, save_dir, save_to_disk=save_to_disk, **checkpointables)
        self.random_encoders = dict(random_encoders or {})
        self.save_frozen = bool(self.random_encoders)  # these weights exist nowhere else
        self._newest: tuple[Any, str] = (None, "")

    def save(self, name: str, **kwargs: Any) -> None:
        """Writes `name`.pth with the weights, the states of the checkpointables and `kwargs`."""
        if not self.save_dir or not self.save_to_disk:
            return
        data: dict[str, Any] = {"model": self._weights()}
        data.update({key: obj.state_dict() for key, obj in self.checkpointables.items()})
        data.update(kwargs)
        path = Path(self.save_dir) / f"{name}.pth"
        write_atomically(path, lambda part: torch.save(data, part))
        logger.info("Saved %s", path)
        self.tag_last_checkpoint(path.name)
        self._newest = (kwargs.get("iteration"), str(path))

    def file_of(self, iteration: int) -> str:
        """The file of `iteration` if that was the last one written or resumed from, else ""."""
        return self._newest[1] if self._newest[0] == iteration else ""

    def _weights(self) -> dict[str, Tensor]:
        state = self.model.state_dict()
        if self.save_frozen:
            return state
        return {k: v for k, v in state.items() if not k.startswith(FROZEN_PREFIXES)}

    def load(self, path: str, checkpointables: list[str] | None = None) -> dict[str, Any]:
        """Loads weights strictly (see `load_weights`), then the states of the checkpointables.

        An empty path means: start from the initial weights. If the file changes frozen weights,
        they are saved from now on: the config alone would not bring them back.
        Returns: the rest of the file's contents.
        """
        if not path:
            logger.info("MODEL.WEIGHTS is empty: the decoder starts from its initial weights")
            return {}
        content = read_checkpoint(path)
        report = load_state(self.model, content.pop("model"), path, self.random_encoders)
        self.save_frozen |= bool(report.changed)
        logger.info("Loaded %s: %s", path, report)
        for key in self.checkpointables if checkpointables is None else checkpointables:
            if key not in content:
                raise ValueError(
                    f"{path} has no {key!r} state to resume from; start from it without --resume "
                    "and with MODEL.WEIGHTS"
                )
            self.checkpointables[key].load_state_dict(content.pop(key))
        if checkpointables is None:  # a run goes on: the file is one of its own
            self._newest = (content.get("iteration"), path)
        return content

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Notes the newest checkpoint's name in the file that resuming reads."""
        path = Path(self.save_dir) / LAST_CHECKPOINT
        write_atomically(path, lambda part: part.write_text(last_filename_basename))
