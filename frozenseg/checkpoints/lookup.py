"""From the name of weights to a file on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from frozenseg.checkpoints.download import download
from frozenseg.checkpoints.table import WEIGHTS, WeightFile, find_weights
from frozenseg.errors import nearest
from frozenseg.files import PACKAGED_WEIGHTS, cache_folder, check_digest, flatten

if TYPE_CHECKING:
    from detectron2.config import CfgNode

# Config keys for the weights of the frozen encoders.
ENCODER_KEYS = (
    "MODEL.SAM_PRETRAINED_WEIGHTS",
    "MODEL.FC_CLIP.CLIP_PRETRAINED_WEIGHTS",
    "MODEL.FROZEN_SEG.CLIP_PRETRAINED_WEIGHTS",
    "MODEL.FUSIONER.VISUAL_WEIGHTS",
    "MODEL.FUSIONER.LANGUAGE_WEIGHTS",
)
# Config keys whose value may be a name of the table instead of a path.
NAMED_KEYS = ("MODEL.WEIGHTS", "MODEL.INIT_FROM", *ENCODER_KEYS)


def path_of(row: WeightFile) -> Path:
    """Path of a row's file, existing or not; without a cache folder what it would be called."""
    if row.packaged:
        return PACKAGED_WEIGHTS / row.file
    try:
        return cache_folder("weights") / row.file
    except FileNotFoundError:
        return Path("$FROZENSEG_CACHE", "weights", row.file)


def locate(name: str) -> Path:
    """The file of the weights named `name`; downloads it into the cache where it has a URL.

    Raises: ValueError for an unknown name, or one that only open_clip resolves;
        FileNotFoundError where a person must fetch the file, with where from and where to;
        ConnectionError if the download fails, with the same; ValueError if it is damaged, or not
        the file that was first used (`check_digest`).
    """
    row = find_weights(name)
    if not row.file:
        raise ValueError(f"{name!r} is a tag of open_clip, not a file: {row.source}")
    path = path_of(row)
    if path.is_file():
        if not row.packaged:
            check_digest(path, row.sha256)
        return path
    if row.packaged:
        raise FileNotFoundError(
            f"{path} is missing: it is part of this project; get it back with git, or install "
            "the package again"
        )
    if not row.url:
        raise FileNotFoundError(
            f"the weights {name!r} are not on this machine and have no address for downloads: get "
            f"them from {row.source} and put the file at {path} (licence: {row.licence})"
        )
    cache_folder("weights")  # says what to do where there is none
    download(row.url, path, sha256=row.sha256, size=row.size, source=row.source)
    return path


def resolve(text: str, key: str = "weights") -> str:
    """The path behind a name of the table; anything else as it is.

    Raises: what `locate` raises; ValueError, beginning with `key`, where the text is not a file but
        nearly a name.
    """
    if not text or Path(text).expanduser().is_file():
        return text
    if text in WEIGHTS:
        return str(locate(text)) if WEIGHTS[text].file else text
    near = nearest(text, WEIGHTS, cutoff=0.75)
    if near and not Path(text).suffix and len(Path(text).parts) == 1:
        raise ValueError(f"{key}: no file and no weights are named {text!r}; meant {near[0]!r}?")
    return text


def resolve_names(cfg: CfgNode, weights: str = "") -> None:
    """Puts paths in place of names in the config's keys for weights (`NAMED_KEYS`).

    Call it once after the config is read, before processes are started: it may download. Tags of
    open_clip stay as they are.

    Args: weights: the file or name of what will be loaded into the model; the frozen encoders that
        it holds are not fetched, see `keep_encoders`.
    Raises: what `resolve` raises.
    """
    if weights:
        keep_encoders(cfg, Path(resolve(weights)))
    values = dict(flatten(cfg))
    for key in NAMED_KEYS:
        value = values.get(key, "")
        # A CLIP's weights are rather a tag of open_clip than a misspelt name of the table.
        if value in WEIGHTS or ".CLIP_" not in key:
            path = _resolve_for(key, value)
            if path != value:
                cfg.merge_from_list([key, path])


def _resolve_for(key: str, value: str) -> str:
    try:
        return resolve(value, key)
    except ConnectionError as error:
        if key not in ENCODER_KEYS:
            raise
        raise ConnectionError(
            f"{key}: {error}; or name another file there; or take a checkpoint that holds these "
            "weights (--weights)"
        ) from error


def keep_encoders(cfg: CfgNode, path: Path) -> None:
    """Empties the keys for the weights of CLIP and SAM where a checkpoint holds them.

    A file that is on this machine is read all the same: the log then says if it differs.
    Raises: FileNotFoundError.
    """
    from frozenseg.checkpoints.reading import require_weights, tensor_names  # imports torch

    require_weights(path)  # before anything is downloaded for it
    names = tensor_names(path)
    values = dict(flatten(cfg))
    for prefix, key in _encoder_keys_of_masks(cfg).items():
        value = values[key]
        held = any(name.startswith(prefix) for name in names)
        if held and value and not Path(value).expanduser().is_file():
            clip = values[key.replace("CLIP_PRETRAINED_WEIGHTS", "CLIP_MODEL_NAME")]
            kept = _activation(clip, value) if prefix == "backbone." else ""
            cfg.merge_from_list([key, kept])


def encoder_keys(cfg: CfgNode) -> dict[str, str]:
    """The frozen encoders of a model: prefix of their weights' names -> key for their weights."""
    if cfg.MODEL.META_ARCHITECTURE == "Fusioner":
        return {
            "visual.": "MODEL.FUSIONER.VISUAL_WEIGHTS",
            "language.": "MODEL.FUSIONER.LANGUAGE_WEIGHTS",
        }
    return _encoder_keys_of_masks(cfg)


def _encoder_keys_of_masks(cfg: CfgNode) -> dict[str, str]:
    section = "FROZEN_SEG" if cfg.MODEL.META_ARCHITECTURE == "FrozenSeg" else "FC_CLIP"
    return {
        "backbone.": f"MODEL.{section}.CLIP_PRETRAINED_WEIGHTS",
        "sam.": "MODEL.SAM_PRETRAINED_WEIGHTS",
    }


def _activation(clip: str, weights: str) -> str:
    """What stays of a CLIP's weights if a checkpoint brings them: QuickGELU ("openai:") or not.

    The names of parameters do not tell. Unknown weights stay, so that their error is seen.
    """
    if weights.startswith("openai:"):
        return "openai:"
    import open_clip

    tag = open_clip.get_pretrained_cfg(clip, weights)
    return weights if not tag else "openai:" if tag.get("quick_gelu") else ""
