"""Reading and writing weights, strictly and without pickle.

A file is a raw state dict or {"model": state dict, ...}, written by torch.save (.pth, .pt) or
safetensors. The released FC-CLIP and FrozenSeg files carry the frozen encoders too; ours leave
them out unless asked.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

import torch
from torch import Tensor, nn

from frozenseg.checkpoints.reading import BATCH_COUNTER, of_another_kind, read_state_dict

logger = logging.getLogger(__name__)

FROZEN_PREFIXES = ("backbone.", "sam.", "visual.", "language.")
# The CLIP that MAFT+ and OVRCOAT start from: needed in training alone, never saved here.
TEACHER_PREFIXES = ("backbone_t.", "frozen_backbone.")
# In a file, but not in every model: accepted without a match.
OPTIONAL_PREFIXES = (*FROZEN_PREFIXES, *TEACHER_PREFIXES, "criterion.")
# The one tensor whose size is the number of training classes (plus 1): weights of the loss.
CLASS_WEIGHTS = "criterion.empty_weight"
# Prefix of a part that not every model has -> what a config needs for it.
PARTS = {
    "mask_adapter.": "a Mask-Adapter (MODEL.MASK_ADAPTER.NAME MASKAdapterHead)",
    "cdt.": "MAFT+'s content-dependent text (MODEL.META_ARCHITECTURE MAFT_Plus, MODEL.CDT.FORM)",
}

# Which config key a wrong size points to: (name pattern, dimension or None for any, key).
SHAPE_KEYS: tuple[tuple[str, int | None, str], ...] = (
    ("*.query_feat.weight", 0, "MODEL.MASK_FORMER.NUM_OBJECT_QUERIES"),
    ("*.query_embed.weight", 0, "MODEL.MASK_FORMER.NUM_OBJECT_QUERIES"),
    ("*.class_embed.layers.2.*", 0, "MODEL.FC_CLIP.EMBED_DIM and CLIP_MODEL_NAME"),
    ("void_embedding.weight", 1, "MODEL.FC_CLIP.EMBED_DIM and CLIP_MODEL_NAME"),
    ("backbone.*", None, "MODEL.FC_CLIP.CLIP_MODEL_NAME"),
    ("sam.*", None, "MODEL.SAM_NAME"),
    ("visual.*", None, "MODEL.FUSIONER.VISUAL"),
    ("language.*", None, "MODEL.FUSIONER.LANGUAGE"),
    ("*.visual_proj.0.*", 0, "MODEL.FUSIONER.VISUAL"),
    ("*.visual_proj.1.weight", 1, "MODEL.FUSIONER.VISUAL"),
    ("*.text_proj.*", 1, "MODEL.FUSIONER.LANGUAGE"),
    ("*.mlp.*", None, "MODEL.FUSIONER.WIDTH and FEEDFORWARD"),
    ("method.*", None, "MODEL.FUSIONER.WIDTH"),
    ("*.pixel_decoder.input_proj.*.0.weight", 1, "MODEL.FC_CLIP.CLIP_MODEL_NAME"),
    ("*.pixel_decoder.adapter_1.weight", 1, "MODEL.FC_CLIP.CLIP_MODEL_NAME"),
    ("*.pixel_decoder.mask_features.*", 0, "MODEL.SEM_SEG_HEAD.MASK_DIM"),
    ("*.mask_embed.layers.2.*", 0, "MODEL.SEM_SEG_HEAD.MASK_DIM"),
    ("*.transformer_ffn_layers.*.linear1.*", 0, "MODEL.MASK_FORMER.DIM_FEEDFORWARD"),
    ("*.transformer_ffn_layers.*.linear2.weight", 1, "MODEL.MASK_FORMER.DIM_FEEDFORWARD"),
    ("*.sam_transformer.level_embed", 0, "MODEL.SAM_BRANCH (released files: released)"),
    ("*.sampling_offsets.*", 0, "MODEL.SEM_SEG_HEAD.DEFORMABLE_TRANSFORMER_ENCODER_IN_FEATURES"),
    ("*.pixel_decoder.*", None, "MODEL.SEM_SEG_HEAD.CONVS_DIM"),
    ("*.predictor.*", None, "MODEL.MASK_FORMER.HIDDEN_DIM"),
)


@dataclass(frozen=True)
class LoadReport:
    """What `load_weights` did, as parameter names.

    Attributes:
        loaded: trained weights and buffers that were read from the file.
        frozen: weights of frozen encoders that the file carries and that were read.
        changed: those of `frozen` that differed from what the model had (counters do not count).
        skipped: frozen weights and buffers that the file leaves out, and the loss' class weights
            where it has those of another number of classes; the model keeps its own.
        ignored: frozen weights and buffers of the file that the model does not have.
    """

    loaded: tuple[str, ...]
    frozen: tuple[str, ...]
    changed: tuple[str, ...]
    skipped: tuple[str, ...]
    ignored: tuple[str, ...]

    def __str__(self) -> str:
        return (
            f"{len(self.loaded)} trained weights loaded; frozen encoder weights: {len(self.frozen)}"
            f" loaded ({len(self.changed)} changed), {len(self.skipped)} not in the file and kept, "
            f"{len(self.ignored)} of the file not used"
        )


def load_weights(
    model: nn.Module,
    path: str | Path,
    *,
    encoders_without_weights: Mapping[str, str] | None = None,
    fresh: bool = False,
) -> LoadReport:
    """Loads a weights file strictly: every trained parameter must be there, with its shape.

    A frozen encoder is loaded if the file carries it, and then it must be complete. Nothing of the
    model changes unless everything fits.

    Args:
        encoders_without_weights: prefixes of encoders that have no weights but the file's, with
            the reason and the remedy: they must be in the file.
        fresh: nothing holds the model's parameters yet (see `take_weights`).
    Raises: FileNotFoundError or ValueError with the names that do not fit.
    """
    state = read_state_dict(path)
    return load_state(model, state, str(path), encoders_without_weights, fresh=fresh)


def load_state(
    model: nn.Module,
    weights: Mapping[str, Tensor],
    source: str,
    encoders_without_weights: Mapping[str, str] | None = None,
    *,
    fresh: bool = False,
) -> LoadReport:
    """`load_weights` for tensors that are in memory; `source` names them in errors.

    With `fresh` the tensors become the model's own (see `take_weights`).
    """
    own = model.state_dict()
    weights = _without_other_classes(weights, own, source)
    for prefix, reason in (encoders_without_weights or {}).items():
        if _starting(own, prefix) and not _starting(weights, prefix):
            raise ValueError(f"{source} holds no {prefix}* weights, and {reason}")
    missing, unexpected = _names_that_do_not_fit(model, own, weights)
    if missing or unexpected:
        raise ValueError(_misfit(source, missing, unexpected))
    wrong = of_another_kind(weights, own)
    if wrong:
        raise ValueError(f"{source}: {len(wrong)} tensors are not real numbers: {_first(wrong)}")
    for name, value in weights.items():
        if name in own and own[name].shape != value.shape:
            found, wanted = value.shape, own[name].shape
            raise ValueError(
                f"{source}: {name} has shape {tuple(found)} but the model needs {tuple(wanted)}; "
                f"check {likely_key(name, found, wanted)}"
            )
    usable = {name: value for name, value in weights.items() if name in own}
    frozen = tuple(name for name in usable if name.startswith(FROZEN_PREFIXES))
    changed = tuple(name for name in frozen if not _equal(own[name], usable[name]))
    report = LoadReport(
        loaded=tuple(name for name in usable if not name.startswith(FROZEN_PREFIXES)),
        frozen=frozen,
        changed=tuple(name for name in changed if not name.endswith(BATCH_COUNTER)),
        skipped=tuple(name for name in own if name not in usable),
        ignored=tuple(name for name in weights if name not in own),
    )
    if fresh:
        take_weights(model, usable)
    else:
        model.load_state_dict(usable, strict=False)
    return report


def take_weights(model: nn.Module, weights: Mapping[str, Tensor]) -> None:
    """Makes tensors that were read from a file a model's own: large models have no room for two.

    They take the place of the model's parameters, in its dtype and layout; what must be copied is
    copied one by one (to another device into the model's own memory). Whoever holds parameters of
    the model already, as an optimizer does, would keep the old ones.

    Args: weights: some or all of the model's names, with its shapes. What stays of them is shared.
    """
    own = model.state_dict()
    taken: dict[str, Tensor] = {}
    places: set[int] = set()
    for name, value in weights.items():
        if own[name].device != value.device:
            own[name].copy_(value)
            continue
        value = value.to(own[name].dtype).contiguous(memory_format=_layout(own[name]))
        storage = value.untyped_storage()
        if storage.data_ptr() in places or storage.nbytes() > value.nbytes:
            value = value.clone()  # of a part of a larger tensor, or of one that two names share
        places.add(storage.data_ptr())
        taken[name] = value
    model.load_state_dict(taken, strict=False, assign=True)


def _layout(tensor: Tensor) -> torch.memory_format:
    is_last = tensor.dim() == 4 and tensor.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if is_last else torch.contiguous_format


def _without_other_classes(
    weights: Mapping[str, Tensor], own: Mapping[str, Tensor], source: str
) -> Mapping[str, Tensor]:
    """The weights; without the loss' class weights, and with a warning, if it had other classes."""
    theirs, ours = weights.get(CLASS_WEIGHTS), own.get(CLASS_WEIGHTS)
    if theirs is None or ours is None or theirs.shape == ours.shape:
        return weights
    logger.warning(
        "%s was trained on %d classes, DATASETS.TRAIN has %d. That is right where a training "
        "starts from it; to evaluate it, set DATASETS.TRAIN to what it was trained on, which "
        "decides on the classes that count as seen",
        *(source, theirs.numel() - 1, ours.numel() - 1),
    )
    return {name: value for name, value in weights.items() if name != CLASS_WEIGHTS}


def _names_that_do_not_fit(
    model: nn.Module, own: Mapping[str, Tensor], weights: Mapping[str, Tensor]
) -> tuple[list[str], list[str]]:
    """Names that a file lacks, and names that it has too many."""
    needed = {
        name
        for name, parameter in model.named_parameters()
        if parameter.requires_grad or not name.startswith(FROZEN_PREFIXES)
    }
    optional: tuple[str, ...] = OPTIONAL_PREFIXES
    for prefix in FROZEN_PREFIXES:
        if _starting(own, prefix) and _starting(weights, prefix):  # then all of it
            needed |= {name for name in _starting(own, prefix) if not name.endswith(BATCH_COUNTER)}
            optional = tuple(each for each in optional if each != prefix)
    known = own.keys() | {name for name, _ in model.named_buffers()}  # also those never saved
    unexpected = [
        name
        for name in weights
        if name not in known and not name.startswith(optional) and not name.endswith(BATCH_COUNTER)
    ]
    return sorted(needed - weights.keys()), unexpected


def _starting(names: Iterable[str], prefix: str) -> list[str]:
    return [name for name in names if name.startswith(prefix)]


def _equal(own: Tensor, other: Tensor) -> bool:
    return own.is_meta or torch.equal(own.cpu(), other.to(own.dtype))


def _misfit(source: str, missing: list[str], unexpected: list[str]) -> str:
    parts = [
        f"{len(names)} {what} ({_first(names)})"
        for what, names in (("names missing", missing), ("unexpected names", unexpected))
        if names
    ]
    for prefix, what in PARTS.items():
        if all(name.startswith(prefix) for name in unexpected) and unexpected and not missing:
            return f"{source} has {what}, which the config lacks ({_first(unexpected)})"
        if all(name.startswith(prefix) for name in missing) and missing and not unexpected:
            return f"{source} lacks {what}, which the config has ({_first(missing)})"
    return (
        f"{source} does not fit the model: {'; '.join(parts)}. The file was made for another "
        "architecture or other sizes (MODEL.META_ARCHITECTURE, CLIP_MODEL_NAME, MODEL.FUSIONER, "
        "MODEL.MASK_FORMER.DEC_LAYERS, MODEL.SEM_SEG_HEAD.TRANSFORMER_ENC_LAYERS) or lost a part "
        "of an encoder: use its own config (a training may start from FC-CLIP's weights, without "
        "SAM's branch, or from those for other classes, by MODEL.INIT_FROM)"
    )


def _first(names: Iterable[str], count: int = 3) -> str:
    names = list(names)
    return ", ".join(names[:count]) + (", ..." if len(names) > count else "")


def likely_key(name: str, found: torch.Size, wanted: torch.Size) -> str:
    """The config key that most likely explains a wrong shape of the parameter `name`."""
    same_rank = len(found) == len(wanted)
    differing = {i for i, (a, b) in enumerate(zip(found, wanted, strict=False)) if a != b}
    for pattern, dimension, key in SHAPE_KEYS:
        dimension_fits = dimension is None or not same_rank or dimension in differing
        if fnmatchcase(name, pattern) and dimension_fits:
            return key
    return "the config that the file was made with"
