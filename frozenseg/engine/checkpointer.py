"""The trainer's checkpoint files: what a run writes and resumes from."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from fvcore.common.checkpoint import Checkpointer as FvcoreCheckpointer
from torch import Tensor, nn

from frozenseg.checkpoints.initial_weights import load_initial_weights
from frozenseg.checkpoints.loading import FROZEN_PREFIXES, load_state
from frozenseg.checkpoints.reading import read_checkpoint
from frozenseg.files import write_atomically, write_text

logger = logging.getLogger(__name__)

LAST_CHECKPOINT = "last_checkpoint"
AVERAGED_SUFFIX = "_ema"


class Checkpointer(FvcoreCheckpointer):
    """The trainer's checkpoints: atomic, plain tensors, without encoders that exist elsewhere.

    fvcore's own class does not do for an exact resume that trusts no file: it writes in place,
    which a killed run leaves half done, and reads pickles.
    """

    def __init__(
        self,
        model: nn.Module,
        save_dir: str = "",
        *,
        save_to_disk: bool = True,
        encoders_without_weights: Mapping[str, str] | None = None,
        init_from: str = "",
        averaged: Callable[[], Mapping[str, Tensor]] | None = None,
        **checkpointables: Any,
    ) -> None:
        """
        Args:
            encoders_without_weights: prefixes and keys, as in `load_weights`.
            init_from: file to start a new run from, as in `load_initial_weights`.
            averaged: gives averaged weights, which `save` writes to a file of their own.
        """
        super().__init__(model, save_dir, save_to_disk=save_to_disk, **checkpointables)
        self.init_from, self.averaged = init_from, averaged
        self.encoders_without_weights = dict(encoders_without_weights or {})
        self.save_frozen = bool(self.encoders_without_weights)  # these weights exist nowhere else
        self._newest: tuple[Any, str] = (None, "")

    def save(self, name: str, **kwargs: Any) -> None:
        """Writes `name`.pth with the weights, the states of the checkpointables and `kwargs`.

        Where weights are averaged, `name`_ema.pth has these, and nothing to resume from.
        """
        if not self.save_dir or not self.save_to_disk:
            return
        path = Path(self.save_dir) / f"{name}.pth"
        if self.averaged is not None:
            averaged = {"model": {**self._weights(), **self.averaged()}, **kwargs}
            write_atomically(_averaged_file(path), lambda part: torch.save(averaged, part))
        data: dict[str, Any] = {"model": self._weights()}
        data.update({key: obj.state_dict() for key, obj in self.checkpointables.items()})
        data.update(kwargs)
        write_atomically(path, lambda part: torch.save(data, part))
        logger.info("Saved %s", path)
        self.tag_last_checkpoint(path.name)
        self._newest = (kwargs.get("iteration"), str(path))

    def file_of(self, iteration: int) -> str:
        """The file of `iteration` if that was the last one written or resumed from, else "".

        Where weights are averaged, it is the file of these.
        """
        newest, path = self._newest
        if newest != iteration:
            return ""
        if self.averaged is None:
            return path
        averaged = _averaged_file(Path(path))
        return str(averaged) if averaged.is_file() else ""

    def _weights(self) -> dict[str, Tensor]:
        state: dict[str, Tensor] = self.model.state_dict()
        if self.save_frozen:
            return state
        return {k: v for k, v in state.items() if not k.startswith(FROZEN_PREFIXES)}

    def resume_or_load(self, path: str, *, resume: bool = True) -> dict[str, Any]:
        """The last checkpoint with all states if `resume`, else weights of `init_from` or `path`.

        Raises: the errors of `load` and `load_initial_weights`.
        """
        if not self.init_from or (resume and self.has_checkpoint()):
            return dict(super().resume_or_load(path, resume=resume))
        report = load_initial_weights(
            self.model, self.init_from, encoders_without_weights=self.encoders_without_weights
        )
        self.save_frozen |= bool(report.changed)
        logger.log(
            logging.WARNING if report.changed else logging.INFO,
            *("Training starts from %s: %s", self.init_from, report),
        )
        return {}

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
        report = load_state(self.model, content.pop("model"), path, self.encoders_without_weights)
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
        write_text(path, last_filename_basename)


def _averaged_file(path: Path) -> Path:
    """Where the averaged weights of a checkpoint are."""
    return path.with_name(f"{path.stem}{AVERAGED_SUFFIX}{path.suffix}")
