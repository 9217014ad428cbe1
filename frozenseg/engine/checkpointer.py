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
from frozenseg.errors import describe
from frozenseg.files import write_atomically, write_text

logger = logging.getLogger(__name__)

LAST_CHECKPOINT = "last_checkpoint"
AVERAGED_SUFFIX = "_ema"
BEST = "model_best"


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
        self.loaded_from = ""

    def save(self, name: str, **kwargs: Any) -> None:
        """Writes `name`.pth with the weights, the states of the checkpointables and `kwargs`.

        Where weights are averaged, `name`_ema.pth has these, and nothing to resume from. A run
        resumes from the last file written, except from model_best.pth. A power cut loses nothing:
        files are synced before they replace others.
        """
        if not self.save_dir or not self.save_to_disk:
            return
        path = Path(self.save_dir) / f"{name}.pth"
        if self.averaged is not None:
            averaged = {"model": {**self._weights(), **self.averaged()}, **kwargs}
            _save(averaged, _averaged_file(path))
        data: dict[str, Any] = {"model": self._weights()}
        data.update({key: obj.state_dict() for key, obj in self.checkpointables.items()})
        data.update(kwargs)
        _save(data, path)
        logger.info("Saved %s", path)
        if name != BEST:
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

        Raises: the errors of `load` and `load_initial_weights`; if a run cannot go on from its
            last checkpoint, they name the others that there are.
        """
        if resume and self.has_checkpoint():
            last = self.get_checkpoint_file()
            try:
                return self.load(last)
            except (ValueError, OSError) as error:
                raise ValueError(f"{error}. {self._others(last)}") from error
        if not self.init_from:
            return self.load(path, checkpointables=[])
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
        Raises: ValueError also where there is no file for a part that does not train.
        """
        if not path:
            self._check_nothing_random_is_frozen()
            logger.info("MODEL.WEIGHTS is empty: the decoder starts from its initial weights")
            return {}
        content = read_checkpoint(path)
        self.loaded_from = path
        report = load_state(self.model, content.pop("model"), path, self.encoders_without_weights)
        self.save_frozen |= bool(report.changed)
        logger.info("Loaded %s: %s", path, report)
        for key in self.checkpointables if checkpointables is None else checkpointables:
            if key not in content:
                raise ValueError(
                    f"{path} has no {key!r} state to resume from; start from it without --resume "
                    "and with MODEL.WEIGHTS"
                )
            try:
                self.checkpointables[key].load_state_dict(content.pop(key))
            except (KeyError, ValueError, TypeError, AttributeError, RuntimeError) as error:
                raise ValueError(
                    f"{path}: its {key!r} state does not fit this config ({describe(error)}): "
                    "resume with the config of its run, or start from it without --resume and "
                    "with MODEL.WEIGHTS"
                ) from error
        if checkpointables is None:  # a run goes on: the file is one of its own
            self._newest = (content.get("iteration"), path)
        return content

    def _check_nothing_random_is_frozen(self) -> None:
        parts = {
            name.split(".")[0]
            for name, parameter in self.model.named_parameters()
            if not parameter.requires_grad and not name.startswith(FROZEN_PREFIXES)
        }
        if parts:
            raise ValueError(
                f"MODEL.INIT_FROM and MODEL.WEIGHTS are empty, but {', '.join(sorted(parts))} does "
                "not train here and would stay random: name the weights that the training builds "
                "on by MODEL.INIT_FROM"
            )

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Notes the newest checkpoint's name in the file that resuming reads."""
        path = Path(self.save_dir) / LAST_CHECKPOINT
        write_text(path, last_filename_basename, durable=True)

    def has_checkpoint(self) -> bool:
        """Whether there is a file to resume from."""
        return (Path(self.save_dir) / LAST_CHECKPOINT).is_file() or bool(self._checkpoints())

    def get_checkpoint_file(self) -> str:
        """The file that `last_checkpoint` names; without that file (a run was killed between the
        two), the newest checkpoint.

        Raises: ValueError if it does not name a file of the folder.
        """
        path = Path(self.save_dir) / LAST_CHECKPOINT
        if not path.is_file():
            newest = self._checkpoints()[0]
            logger.warning("%s is not there: %s is the newest checkpoint", path, newest.name)
            return str(newest)
        name = path.read_bytes().decode(errors="replace").strip()
        # No long or binary text reaches the file system, nor a path out of the folder.
        if name in {entry.name for entry in path.parent.iterdir()} - {path.name}:
            return str(path.with_name(name))
        said = f"names {name[:60]!r}, which is no file there" if name else "is empty"
        if not name.isprintable():
            said = "is not a text with the name of a file"
        raise ValueError(f"{path} {said}. {self._others('')}")

    def _checkpoints(self) -> list[Path]:
        """Files that a run may resume from, the newest first."""
        found = Path(self.save_dir).glob("model_*.pth") if self.save_dir else ()
        skipped = (BEST, AVERAGED_SUFFIX)
        files = [path for path in found if path.is_file() and not path.stem.endswith(skipped)]
        return sorted(files, key=lambda path: (path.stat().st_mtime_ns, path.name), reverse=True)

    def _others(self, path: str) -> str:
        """What to do if the checkpoint at `path` cannot be used."""
        others = [each.name for each in self._checkpoints() if str(each) != path]
        if not others:
            return "There is no other checkpoint: start anew, without --resume"
        return (
            f"Other checkpoints, the newest first: {', '.join(others[:5])}; to go on from one of "
            f"them write its name into {Path(self.save_dir) / LAST_CHECKPOINT}"
        )


def _save(content: Mapping[str, Any], path: Path) -> None:
    write_atomically(path, lambda part: torch.save(content, part), durable=True)


def _averaged_file(path: Path) -> Path:
    """Where the averaged weights of a checkpoint are."""
    return path.with_name(f"{path.stem}{AVERAGED_SUFFIX}{path.suffix}")
