"""Models by name: which config and which weights belong together.

A model's weights have its name in `frozenseg.checkpoints.lookup.WEIGHTS`. Released files hold the
frozen encoders too, so that nothing else needs to be downloaded for them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from frozenseg.checkpoints.lookup import locate, path_of
from frozenseg.checkpoints.table import WEIGHTS
from frozenseg.errors import nearest

if TYPE_CHECKING:
    from detectron2.config import CfgNode

_CLIP = "MODEL.{}.CLIP_PRETRAINED_WEIGHTS"
_SAM = "MODEL.SAM_PRETRAINED_WEIGHTS"
_FUSIONER = "MODEL.FUSIONER.{}_WEIGHTS"
# "openai:" keeps OpenAI's activation without weights; the released file brings them.
_IN_FILE, _IN_FILE_OPENAI = "", "openai:"


@dataclass(frozen=True)
class NamedModel:
    """One model.

    Attributes:
        name: of the model and of its weights.
        config: YAML file below `configs/`.
        encoders: what the config's keys for the encoders' weights are set to, for these weights: a
            name of the table of weights, or what `load_clip` takes where the file brings them.
    """

    name: str
    config: str
    encoders: Mapping[str, str] = field(default_factory=dict)


def _released(family: str, section: str, name: str, config: str, clip: str) -> NamedModel:
    return NamedModel(f"{family}-{name}", f"{family}/{config}.yaml", {_CLIP.format(section): clip})


_MODELS = (
    NamedModel(
        "miniature-fcclip", "miniature/fcclip.yaml", {_CLIP.format("FC_CLIP"): "miniature-clip"}
    ),
    NamedModel(
        "miniature-frozenseg",
        "miniature/frozenseg.yaml",
        {_CLIP.format("FROZEN_SEG"): "miniature-clip", _SAM: "miniature-sam"},
    ),
    NamedModel(
        "miniature-fusioner",
        "miniature/fusioner_vit_clip.yaml",
        {
            _FUSIONER.format("VISUAL"): "miniature-vit",
            _FUSIONER.format("LANGUAGE"): "miniature-clip",
        },
    ),
    _released("fcclip", "FC_CLIP", "convnext-large", "convnext_large", _IN_FILE),
    *(
        _released("fcclip", "FC_CLIP", name, name, _IN_FILE_OPENAI)
        for name in ("r50", "r101", "r50x4", "r50x16", "r50x64")
    ),
    _released("frozenseg", "FROZEN_SEG", "convnext-large", "released_convnext_large", _IN_FILE),
    _released("frozenseg", "FROZEN_SEG", "r50x64", "released_r50x64", _IN_FILE_OPENAI),
)
MODELS: Mapping[str, NamedModel] = MappingProxyType({model.name: model for model in _MODELS})
DEFAULT_MODEL = "miniature-fcclip"


def model_config(
    name_or_path: str | Path, weights: str | None = None, opts: Sequence[str] = ()
) -> tuple[CfgNode, str]:
    """The config of a named model or a YAML file, and the file of its weights.

    Args:
        weights: a file or a name of the table; None takes the model's own, of a YAML file its
            MODEL.WEIGHTS; "" is none: the decoder stays random.
        opts: config keys and values that take precedence over the config's.
    Raises: ValueError for an unknown name, or if no weights are known; FileNotFoundError for a
        missing file; what `locate` raises.
    """
    from frozenseg.checkpoints.lookup import resolve, resolve_names
    from frozenseg.config import load_config

    model = MODELS.get(str(name_or_path))
    if model is None:
        cfg = load_config(_yaml_path(name_or_path), list(opts))
    elif weights is None:
        own = str(locate(model.name))  # before the config: it says what is missing
        cfg = load_config(config_path(model.config), [*_encoder_opts(model), *opts])
    else:
        encoders = _encoder_opts(model, only_packaged=True)
        cfg = load_config(config_path(model.config), [*encoders, *opts])
    resolve_names(cfg)
    if weights is not None:
        return cfg, resolve(str(weights))
    if model is not None:
        return cfg, own
    if not cfg.MODEL.WEIGHTS:
        raise ValueError(
            f"{name_or_path} names no weights (MODEL.WEIGHTS): give `weights`, a file or a name "
            "('': a random decoder)"
        )
    return cfg, cfg.MODEL.WEIGHTS


def config_path(name: str) -> Path:
    """A file of `configs/`: of the package, where it was installed with them, or of a checkout.

    Raises: FileNotFoundError where there are none.
    """
    from frozenseg.config.sources import packaged_config

    path = packaged_config(name)
    if path is None:
        raise FileNotFoundError(
            f"the config {name} is not installed: give the path of the YAML file in a checkout of "
            "the repository"
        )
    return path


def _encoder_opts(model: NamedModel, only_packaged: bool = False) -> list[str]:
    """Config pairs for the encoders; `only_packaged`: where other weights may not bring them."""
    opts = []
    for key, value in model.encoders.items():
        packaged = value in WEIGHTS and WEIGHTS[value].packaged
        if packaged or not only_packaged:
            opts += [key, str(path_of(WEIGHTS[value])) if packaged else value]
    return opts


def _yaml_path(name: str | Path) -> Path:
    path = Path(name).expanduser()
    if path.suffix.lower() in (".yaml", ".yml") or path.is_file():
        return path
    (near,) = nearest(name, MODELS)
    raise ValueError(
        f"no model is named {str(name)!r}; did you mean {near!r}? known: {', '.join(MODELS)}; or "
        "give the path of a YAML config"
    )
