"""Weights to start a training from: for other classes, or FC-CLIP's decoder for FrozenSeg."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from torch import nn

from frozenseg.checkpoints.loading import load_state
from frozenseg.checkpoints.reading import read_state_dict

# What FrozenSeg trains beyond FC-CLIP: SAM's branch of the pixel decoder and the query injectors.
SAM_PARTS = (
    "sem_seg_head.pixel_decoder.sam_transformer.",
    "sem_seg_head.pixel_decoder.fpn3.",
    "sem_seg_head.predictor.transformer_cross_attention_layers_sam.",
)
# What a new run initialises itself, if it trains it and the file has nothing of it.
NEW_PARTS = (SAM_PARTS, ("mask_adapter.",), ("cdt.",))
DECODER = "sem_seg_head."  # of no use to a Mask-Adapter that learns from true masks
# Class weights of the loss: they come from the config and belong to its number of classes.
FROM_CONFIG = "criterion."


@dataclass(frozen=True)
class InitialReport:
    """What `load_initial_weights` did, as parameter names.

    Attributes:
        loaded: trained weights that were read.
        initial: trained weights that the file does not have; they keep their initial values.
        unused: names of the file that were not read.
        frozen: weights of frozen encoders that the file carries; they were read too.
        changed: those of `frozen` that differed from what the config had brought.
    """

    loaded: tuple[str, ...]
    initial: tuple[str, ...]
    unused: tuple[str, ...]
    frozen: tuple[str, ...]
    changed: tuple[str, ...]

    def __str__(self) -> str:
        if not self.frozen:
            encoders = "frozen encoders are not in the file, the config's stay"
        elif not self.changed:
            encoders = f"frozen encoders in the file ({_by_module(self.frozen)}) equal the config's"
        else:
            encoders = (
                f"frozen encoders in the file ({_by_module(self.frozen)}) DIFFER from the config's "
                f"in {len(self.changed)} weights ({_by_module(self.changed)}) and replace them"
            )
        return (
            f"{len(self.loaded)} trained weights loaded ({_by_module(self.loaded)}); "
            f"{len(self.initial)} keep their initial values ({', '.join(self.initial) or 'none'}); "
            f"of the file not used: {', '.join(self.unused) or 'nothing'}; {encoders}"
        )


def load_initial_weights(
    model: nn.Module, path: str | Path, *, encoders_without_weights: Mapping[str, str] | None = None
) -> InitialReport:
    """Loads a weights file strictly, except for parts that a new run initialises itself.

    Parts that the model trains beyond those of the file (`NEW_PARTS`: SAM's branch, a Mask-Adapter,
    MAFT+'s transfer) keep their initial values if the file has nothing of them; the class weights
    of the loss are the config's, and a model without a decoder leaves the file's out. All else must
    fit, as in `load_weights`; nothing of the model changes unless it does.
    Raises: FileNotFoundError or ValueError with the names that do not fit.
    """
    content = read_state_dict(path)
    own = dict(model.named_parameters())
    left_out: tuple[str, ...] = (FROM_CONFIG,)
    if not any(name.startswith(DECODER) for name in own):
        left_out = (FROM_CONFIG, DECODER)
    weights = {name: value for name, value in content.items() if not name.startswith(left_out)}
    initial = {
        name: parameter.detach().clone()
        for part in NEW_PARTS
        if not any(name.startswith(part) for name in weights)
        for name, parameter in own.items()
        if name.startswith(part) and parameter.requires_grad
    }
    report = load_state(model, {**weights, **initial}, str(path), encoders_without_weights)
    read = {*report.loaded, *report.frozen}
    return InitialReport(
        loaded=tuple(name for name in report.loaded if name not in initial),
        initial=tuple(sorted(initial)),
        unused=tuple(name for name in content if name not in read),
        frozen=report.frozen,
        changed=report.changed,
    )


def _by_module(names: Iterable[str]) -> str:
    """Counts by the first two parts of the names: "sem_seg_head.predictor: 132, backbone: 7"."""
    groups = Counter(".".join(name.split(".")[:-1][:2]) or name for name in names)
    return ", ".join(f"{group}: {count}" for group, count in groups.items()) or "none"
