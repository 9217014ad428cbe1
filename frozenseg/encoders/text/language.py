"""Frozen language encoders by name: CLIP's text towers and BERTs."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from frozenseg.checkpoints.download import check_hub_file, hub_access
from frozenseg.checkpoints.table import HUB_REVISIONS
from frozenseg.encoders.clip.weights import NO_WEIGHTS, load_clip
from frozenseg.encoders.text.bert import (
    CONFIG_FILE,
    VOCABULARY_FILE,
    WEIGHT_FILES,
    BertText,
    build_bert,
    find_weights,
    load_bert,
)
from frozenseg.encoders.text.clip_text import ClipText
from frozenseg.errors import did_you_mean
from frozenseg.files import read_json

_HUB = "hub"  # as weights: those that the authors publish


@dataclass(frozen=True)
class LanguageEncoderSpec:
    """One row of `LANGUAGE_ENCODERS`; either `clip` or `hub` is set.

    Attributes:
        clip: open_clip's name of the model.
        hub: name of a BERT on Hugging Face's hub.
        config: its architecture, as in config.json.
    """

    clip: str = ""
    hub: str = ""
    config: dict[str, Any] = field(default_factory=dict)


def _bert(hidden: int, layers: int) -> dict[str, Any]:
    return {
        "vocab_size": 30522,
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": hidden // 64,
        "intermediate_size": 4 * hidden,
    }


LANGUAGE_ENCODERS: dict[str, LanguageEncoderSpec] = {
    "clip-vit-b-16": LanguageEncoderSpec(clip="ViT-B-16"),
    "clip-vit-l-14": LanguageEncoderSpec(clip="ViT-L-14"),
    "clip-rn101": LanguageEncoderSpec(clip="RN101"),
    "bert-base": LanguageEncoderSpec(hub="google-bert/bert-base-uncased", config=_bert(768, 12)),
    "bert-large": LanguageEncoderSpec(hub="google-bert/bert-large-uncased", config=_bert(1024, 24)),
}


LanguageEncoder = ClipText | BertText


def load_language_encoder(
    name: str, weights: str = "", device: torch.device | str = "cpu"
) -> LanguageEncoder:
    """A frozen language encoder on `device`.

    Args:
        name: a row of `LANGUAGE_ENCODERS`, the path of a `.json` CLIP configuration, or a folder
            with a BERT in transformers' layout (config.json, vocab.txt, model.safetensors).
        weights: for a CLIP as in `load_clip`. For a BERT: the path of a weights file (for a row of
            the table with config.json and vocab.txt beside it, or their folder); "hub" - what its
            authors publish, from the hub or its local cache; "" - the weights in the folder, else
            random numbers with one warning.
        device: "meta" builds names and shapes only; no weights are then read or downloaded.

    Raises:
        FileNotFoundError: a file is missing. ConnectionError: weights could not be downloaded.
        ValueError: unknown name, bad file, or weights of another model.
        ImportError: a BERT without transformers.
    """
    is_meta = torch.device(device).type == "meta"
    spec, folder = LANGUAGE_ENCODERS.get(name), Path(name).expanduser()
    if name.lower().endswith(".json"):
        spec = LanguageEncoderSpec(clip=name)
    if spec and spec.clip:
        clip = load_clip(spec.clip, weights, device)
        del clip.visual
        return ClipText(clip)
    if spec and (is_meta or not weights):
        missing = f"{name} has no {VOCABULARY_FILE}. {_advice(spec)}"
        return BertText(build_bert(spec.config, None, device, label=name), None, missing=missing)
    if spec:
        folder, file = _find_row(name, spec, weights)
    elif folder.is_dir():
        file = Path(weights).expanduser() if weights else None
    else:
        hint = did_you_mean(name, LANGUAGE_ENCODERS)
        raise ValueError(
            f"unknown language encoder {name!r}: {hint}Give one of {', '.join(LANGUAGE_ENCODERS)}, "
            "the path of a .json file, or a folder with a BERT's files"
        )
    return load_bert(folder, file, device, label=name)


def brings_weights(name: str, weights: str) -> bool:
    """Whether `load_language_encoder` would find weights; False: it would draw random numbers.

    A BERT's folder may hold its own, so that `weights` alone does not tell.
    """
    if weights in NO_WEIGHTS:
        return name not in LANGUAGE_ENCODERS and bool(find_weights(Path(name).expanduser()))
    return True


def _find_row(name: str, spec: LanguageEncoderSpec, weights: str) -> tuple[Path, Path | None]:
    """The folder of a row of the table, and the weights file if it is not the folder's own."""
    folder, file = _download(name, spec) if weights == _HUB else Path(weights).expanduser(), None
    if not folder.exists():
        raise FileNotFoundError(f"weights of {name} not found: {folder}. {_advice(spec)}")
    if folder.is_file():
        folder, file = folder.parent, folder
    elif not find_weights(folder):
        raise FileNotFoundError(f"{folder} holds no {WEIGHT_FILES[0]}. {_advice(spec)}")
    config = read_json(folder / CONFIG_FILE, _advice(spec))
    for key, value in spec.config.items():
        if config.get(key, value) != value:
            raise ValueError(
                f"{folder / CONFIG_FILE}: {key} is {config[key]}, but {name} has {value}; "
                "give the folder itself as the language encoder to use another BERT"
            )
    return folder, file


def _advice(spec: LanguageEncoderSpec) -> str:
    return (
        f"put {CONFIG_FILE}, {VOCABULARY_FILE} and {WEIGHT_FILES[0]} of "
        f"https://huggingface.co/{spec.hub} into a folder and give it as the weights, or give "
        f"{_HUB!r} to download them"
    )


def _download(name: str, spec: LanguageEncoderSpec) -> Path:
    with hub_access(f"weights of {name}", _advice(spec)):
        from huggingface_hub import hf_hub_download

        revision = HUB_REVISIONS.get(spec.hub)
        paths = [
            Path(hf_hub_download(spec.hub, file, revision=revision))
            for file in (CONFIG_FILE, VOCABULARY_FILE, WEIGHT_FILES[0])
        ]
    return [check_hub_file(path) for path in paths][-1].parent
