"""Frozen language encoders: prompts in, one vector each out.

Legend: N prompts, L tokens, K channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from frozenseg.encoders.clip.weights import NO_WEIGHTS, load_clip
from frozenseg.encoders.text.bert_files import (
    CONFIG_FILE,
    VOCABULARY_FILE,
    WEIGHT_FILES,
    BertFiles,
    build_bert,
    read_bert_folder,
)
from frozenseg.encoders.text.bert_text import BertText
from frozenseg.encoders.text.classifier import TextEncoder
from frozenseg.encoders.text.clip_text import ClipText
from frozenseg.errors import nearest

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


class _Text(TextEncoder, Protocol):
    @property
    def embed_dim(self) -> int: ...


class FrozenLanguageEncoder(nn.Module):
    """A language encoder that never changes: no gradients, always in eval mode.

    It is what the text classifier asks for (`TextEncoder`).
    """

    def __init__(self, model: nn.Module, text: _Text):
        """`model`: owns the parameters; `text`: tokenizes and encodes with them."""
        super().__init__()
        self.model = model.requires_grad_(False)
        self._text = text
        self.train(False)

    def train(self, mode: bool = True) -> FrozenLanguageEncoder:
        """Stays in eval mode, whatever `mode`: dropout must not act."""
        return super().train(False)

    @property
    def channels(self) -> int:
        """K."""
        return self._text.embed_dim

    @property
    def context_length(self) -> int:
        """The largest number of tokens of a prompt."""
        return self._text.context_length

    @property
    def device(self) -> torch.device:
        return self._text.device

    @property
    def digest(self) -> str:
        """A digest of everything an embedding depends on. Raises: ValueError on "meta"."""
        return self._text.digest

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """Token ids (N, L), int64 on the CPU, padded with 0."""
        return self._text.tokenize(texts)

    def exceeds_context(self, text: str) -> bool:
        """Whether `tokenize` truncates this text."""
        return self._text.exceeds_context(text)

    def encode(self, tokens_NL: Tensor) -> Tensor:
        """Embeddings (N, K), not normalised."""
        return self._text.encode(tokens_NL)

    forward = encode


def load_language_encoder(
    name: str, weights: str = "", device: torch.device | str = "cpu"
) -> FrozenLanguageEncoder:
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
        return FrozenLanguageEncoder(clip, ClipText(clip))
    if spec:
        files = BertFiles(spec.config, None, None) if is_meta else _find_row(name, spec, weights)
    elif folder.is_dir():
        files = read_bert_folder(folder, Path(weights).expanduser() if weights else None)
    else:
        near = nearest(name, LANGUAGE_ENCODERS, cutoff=0.4, most=2)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise ValueError(
            f"unknown language encoder {name!r}: {hint}Give one of {', '.join(LANGUAGE_ENCODERS)}, "
            "the path of a .json file, or a folder with a BERT's files"
        )
    model, vocabulary = build_bert(files, device, label=name)
    missing = f"{name} has no {VOCABULARY_FILE}. {_advice(spec)}" if spec else ""
    text = BertText(model, vocabulary, lowercase=files.lowercase, missing=missing)
    return FrozenLanguageEncoder(model, text)


def brings_weights(name: str, weights: str) -> bool:
    """Whether `load_language_encoder` would find weights; False: it would draw random numbers.

    A BERT's folder may hold its own, so that `weights` alone does not tell.
    """
    if weights in NO_WEIGHTS:
        return name not in LANGUAGE_ENCODERS and any(
            (Path(name).expanduser() / file).is_file() for file in WEIGHT_FILES
        )
    return True


def _find_row(name: str, spec: LanguageEncoderSpec, weights: str) -> BertFiles:
    if not weights:
        return BertFiles(spec.config, None, None)
    if weights == _HUB:
        folder, file = _download(name, spec), None
    else:
        path = Path(weights).expanduser()
        folder, file = (path, None) if path.is_dir() else (path.parent, path)
        if not path.exists():
            raise FileNotFoundError(f"weights of {name} not found: {path}. {_advice(spec)}")
    files = read_bert_folder(folder, file)
    if files.weights is None:
        raise FileNotFoundError(f"{folder} holds no {WEIGHT_FILES[0]}. {_advice(spec)}")
    for key, value in spec.config.items():
        if files.config.get(key, value) != value:
            raise ValueError(
                f"{folder / CONFIG_FILE}: {key} is {files.config[key]}, but {name} has {value}; "
                "give the folder itself as the language encoder to use another BERT"
            )
    return files


def _advice(spec: LanguageEncoderSpec) -> str:
    return (
        f"Put {CONFIG_FILE}, {VOCABULARY_FILE} and {WEIGHT_FILES[0]} of "
        f"https://huggingface.co/{spec.hub} into a folder and give it as the weights, or give "
        f"{_HUB!r} to download them"
    )


def _download(name: str, spec: LanguageEncoderSpec) -> Path:
    try:
        from huggingface_hub import hf_hub_download

        for file in (CONFIG_FILE, VOCABULARY_FILE, WEIGHT_FILES[0]):
            path = Path(hf_hub_download(spec.hub, file))
        return path.parent
    except Exception as error:  # the hub clients raise exceptions of many libraries
        raise ConnectionError(
            f"weights of {name}: download failed ({type(error).__name__}: {error}). {_advice(spec)}"
        ) from error
