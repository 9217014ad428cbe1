"""CLIP architectures: open_clip's own by name, the user's own as JSON files."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import open_clip
import timm
from timm.models import register_model

from frozenseg.errors import did_you_mean
from frozenseg.files import read_json

_REQUIRED_KEYS = ("embed_dim", "vision_cfg", "text_cfg")
_CONVNEXT_SECTION = "timm_convnext"
# Sizes (depths, dims) of the trunks this module has entered into timm's registry.
_registered_convnexts: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {}


@dataclass(frozen=True)
class ClipConfig:
    """The architecture of one CLIP model.

    Attributes:
        name: what the user wrote: a name open_clip knows or the path of a JSON file.
        arguments: keyword arguments of `open_clip.CLIP` (or CustomTextCLIP), `quick_gelu` included.
        custom_text: the text tower is a module of its own (`model.text`).
        is_builtin: open_clip knows the name, so that its weight tags apply.
    """

    name: str
    arguments: dict[str, Any]
    custom_text: bool
    is_builtin: bool

    @property
    def quick_gelu(self) -> bool:
        """Whether the towers use QuickGELU, as OpenAI's weights expect."""
        return bool(self.arguments.get("quick_gelu", False))


def read_clip_config(model_name: str) -> ClipConfig:
    """The architecture behind `model_name`: a name of open_clip, or the path of a `.json` file.

    The file holds an open_clip model configuration (`embed_dim`, `vision_cfg`, `text_cfg`,
    optionally `quick_gelu`, `custom_text`). A section `"timm_convnext": {"depths": [4 numbers],
    "dims": [4 numbers]}` enters a ConvNeXt of these sizes into timm's registry under
    `vision_cfg.timm_model_name`, its other arguments as in timm's convnext_large.

    Raises:
        FileNotFoundError: the JSON file is missing.
        ValueError: unknown name, unreadable file, missing keys, or a text tower made by
            Hugging Face transformers (its tokenizer is not supported).
    """
    is_file = model_name.lower().endswith(".json")
    config = _read_json(Path(model_name).expanduser()) if is_file else _read_builtin(model_name)
    missing = [key for key in _REQUIRED_KEYS if key not in config]
    if missing:
        raise ValueError(f"CLIP config {model_name}: missing {', '.join(missing)}")
    convnext = config.pop(_CONVNEXT_SECTION, None)
    if convnext is not None:
        _register_from_section(convnext, config["vision_cfg"], source=model_name)
    for key in ("hf_model_name", "hf_tokenizer_name"):
        if config["text_cfg"].get(key):
            raise ValueError(
                f"CLIP config {model_name}: text_cfg.{key} is {config['text_cfg'][key]!r}; only "
                "text towers with CLIP's own tokenizer are supported"
            )
    if config["vision_cfg"].get("timm_model_name"):
        config["vision_cfg"]["timm_model_pretrained"] = False
    custom_text = bool(config.pop("custom_text", False))
    return ClipConfig(model_name, config, custom_text, is_builtin=not is_file)


def register_convnext(name: str, depths: tuple[int, ...], dims: tuple[int, ...]) -> None:
    """Makes timm know a ConvNeXt `name` with these stage depths and widths.

    The other arguments are those of timm's convnext_large. The same name with the same sizes may
    be registered again; with other sizes, or a name that timm itself uses, it is a ValueError.
    """
    if not re.fullmatch(r"[A-Za-z0-9_]+", name):
        raise ValueError(f"timm_model_name {name!r}: use letters, digits and underscores only")
    known = _registered_convnexts.get(name)
    if known == (depths, dims):
        return
    if known is not None:
        raise ValueError(
            f"timm_model_name {name!r} is registered with depths {list(known[0])} and dims "
            f"{list(known[1])}; give the ConvNeXt with depths {list(depths)}, dims {list(dims)} "
            "another name"
        )
    if timm.is_model(name):
        raise ValueError(
            f"timm_model_name {name!r} is a model of timm; give your ConvNeXt another name or "
            f"leave the section {_CONVNEXT_SECTION!r} out"
        )

    def entrypoint(pretrained: bool = False, **kwargs: Any) -> Any:
        sizes = {"depths": depths, "dims": dims}
        return timm.create_model("convnext_large", pretrained=False, **{**kwargs, **sizes})

    entrypoint.__name__ = name
    register_model(entrypoint)
    _registered_convnexts[name] = (depths, dims)


def _read_json(path: Path) -> dict[str, Any]:
    config = read_json(path, "give the path of a CLIP config")
    if isinstance(config, dict):
        config = config.get("model_cfg", config)  # the layout of open_clip's files on model hubs
    if not isinstance(config, dict):
        raise ValueError(f"CLIP config {path}: expected a JSON object")
    return config


def _read_builtin(name: str) -> dict[str, Any]:
    known = open_clip.list_models()
    if name not in known:
        raise ValueError(
            f"unknown CLIP model {name!r}: {did_you_mean(name, known)}Give a name from "
            "open_clip.list_models() or the path of a .json config"
        )
    return open_clip.get_model_config(name)


def _register_from_section(section: Any, vision_cfg: dict[str, Any], *, source: str) -> None:
    name = vision_cfg.get("timm_model_name")
    if not name:
        raise ValueError(
            f"CLIP config {source}: {_CONVNEXT_SECTION!r} needs vision_cfg.timm_model_name"
        )
    sizes = []
    for key in ("depths", "dims"):
        value: Any = section.get(key) if isinstance(section, dict) else None
        is_list = isinstance(value, list) and len(value) == 4
        if not is_list or not all(type(size) is int and size > 0 for size in value):
            raise ValueError(
                f"CLIP config {source}: {_CONVNEXT_SECTION}.{key} is {value!r}; give four positive "
                "integers"
            )
        sizes.append(tuple(value))
    register_convnext(name, depths=sizes[0], dims=sizes[1])
