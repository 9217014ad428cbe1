"""Models by name: which config and which weights belong together.

A model's weights have its name in `frozenseg.checkpoints.lookup.WEIGHTS`. Released files hold the
frozen encoders too, so that nothing else needs to be downloaded for them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from frozenseg.checkpoints.lookup import locate, resolve, resolve_names
from frozenseg.errors import nearest

if TYPE_CHECKING:
    from detectron2.config import CfgNode


class NamedModel(NamedTuple):
    """One model.

    Attributes:
        name: of the model and of its weights.
        config: YAML file below `configs/`.
        opts: config keys and values for its own weights: where these bring the CLIP, none is
            loaded before ("openai:" keeps OpenAI's activation).
    """

    name: str
    config: str
    opts: tuple[str, ...] = ()


_FCCLIP = "MODEL.FC_CLIP.CLIP_PRETRAINED_WEIGHTS"
_FROZENSEG = "MODEL.FROZEN_SEG.CLIP_PRETRAINED_WEIGHTS"
_MODELS = (
    NamedModel("miniature-fcclip", "miniature/fcclip.yaml"),
    NamedModel("miniature-frozenseg", "miniature/frozenseg.yaml"),
    NamedModel("miniature-fusioner", "miniature/fusioner_vit_clip.yaml"),
    NamedModel("fcclip-convnext-large", "fcclip/convnext_large.yaml", (_FCCLIP, "")),
    *(
        NamedModel(f"fcclip-{name}", f"fcclip/{name}.yaml", (_FCCLIP, "openai:"))
        for name in ("r50", "r101", "r50x4", "r50x16", "r50x64")
    ),
    NamedModel(
        "frozenseg-convnext-large", "frozenseg/released_convnext_large.yaml", (_FROZENSEG, "")
    ),
    NamedModel("frozenseg-r50x64", "frozenseg/released_r50x64.yaml", (_FROZENSEG, "openai:")),
)
MODELS: Mapping[str, NamedModel] = MappingProxyType({model.name: model for model in _MODELS})
DEFAULT_MODEL = "miniature-fcclip"


_MINIATURE_WORLD = (
    "its small synthetic world only: circles, squares, triangles, stars, crosses, rings, hearts "
    "and moons in eight colours on grass, water, brick, sand, gravel and wood"
)


def nothing_found_hint(name: str) -> str:
    """What to say where a model found nothing: what it knows, and which to get; "" for others.

    Args: name: of `MODELS`.
    """
    if not name.startswith("miniature-"):
        return ""
    others = ", ".join(each for each in MODELS if not each.startswith("miniature-"))
    return (
        f"nothing was found: {name} knows {_MINIATURE_WORLD}. Photographs need one of {others} "
        "(`frozenseg weights list` says where to get them)"
    )


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
    from frozenseg.config import load_config

    model = MODELS.get(str(name_or_path))
    if model is None:
        cfg = load_config(_yaml_path(name_or_path), opts)
    elif weights is None:
        own = str(locate(model.name))  # before the config: it says what is missing
        cfg = load_config(config_path(model.config), [*model.opts, *opts])
    else:
        cfg = load_config(config_path(model.config), opts)
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


def _yaml_path(name: str | Path) -> Path:
    path = Path(name).expanduser()
    if path.suffix.lower() in (".pth", ".pt", ".bin", ".ckpt", ".pkl", ".safetensors", ".onnx"):
        raise ValueError(
            f"{name} is a file of weights: name the model or config that it belongs to, and give "
            f"the file as `weights`: load('config.yaml', weights={str(name)!r})"
        )
    if path.suffix.lower() in (".yaml", ".yml") or path.is_file():
        return path
    (near,) = nearest(name, MODELS)
    raise ValueError(
        f"no model is named {str(name)!r}; did you mean {near!r}? known: {', '.join(MODELS)}; or "
        "give the path of a YAML config"
    )
