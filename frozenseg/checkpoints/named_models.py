"""Models by name: which config and which weights belong together.

A model's weights have its name in `frozenseg.checkpoints.lookup.WEIGHTS`. Released files hold the
frozen encoders too, so that nothing else needs to be downloaded for them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from frozenseg.checkpoints.lookup import locate, resolve, resolve_names
from frozenseg.errors import nearest

if TYPE_CHECKING:
    from detectron2.config import CfgNode


# Name of a model and of its weights -> its YAML file below `configs/`.
MODELS: Mapping[str, str] = MappingProxyType(
    {
        "miniature-fcclip": "miniature/fcclip.yaml",
        "miniature-frozenseg": "miniature/frozenseg.yaml",
        "miniature-fusioner": "miniature/fusioner_vit_clip.yaml",
        "fcclip-convnext-large": "fcclip/convnext_large.yaml",
        **{f"fcclip-{n}": f"fcclip/{n}.yaml" for n in ("r50", "r101", "r50x4", "r50x16", "r50x64")},
        "frozenseg-convnext-large": "frozenseg/released_convnext_large.yaml",
        "frozenseg-r50x64": "frozenseg/released_r50x64.yaml",
        **{
            f"mask-adapter-{n}-convnext-{size}": f"mask_adapter/{n}_convnext_{size}.yaml"
            for n, size in (("fcclip", "large"), ("maftplus", "base"), ("maftplus", "large"))
        },
        **{
            f"maftplus-{n.replace('_', '-')}": f"maftplus/released_{n}.yaml"
            for n in ("convnext_base", "convnext_large", "convnext_large_panoptic")
        },
        "ovrcoat-convnext-large": "ovrcoat/convnext_large.yaml",
    }
)
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

    name = str(name_or_path)
    if name in MODELS:
        path = locate(name) if weights is None else resolve(str(weights))
        cfg = load_config(config_path(MODELS[name]), opts)
    else:
        cfg = load_config(_yaml_path(name_or_path), opts)
        path = resolve(cfg.MODEL.WEIGHTS if weights is None else str(weights))
        if weights is None and not path:
            raise ValueError(
                f"{name_or_path} names no weights (MODEL.WEIGHTS): give `weights`, a file or a "
                "name ('': a random decoder)"
            )
    resolve_names(cfg, str(path))
    return cfg, str(path)


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
