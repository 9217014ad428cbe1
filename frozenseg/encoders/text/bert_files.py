"""A BERT from files in transformers' layout: config.json, vocab.txt, weights."""

from __future__ import annotations

import contextlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from frozenseg.checkpoints.reading import differences, read_state_dict
from frozenseg.checkpoints.skip_init import SkipInitialisers

logger = logging.getLogger(__name__)

CONFIG_FILE, VOCABULARY_FILE = "config.json", "vocab.txt"
WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
_SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
# Parts of published files that the last layer does not need, and buffers that hold 0, 1, 2, ...
_UNUSED = ("cls.", "pooler.", "embeddings.position_ids", "embeddings.token_type_ids")
# How files converted from TensorFlow call a norm's parameters.
_OLD_NAMES = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}


@dataclass(frozen=True)
class BertFiles:
    """Where the parts of a BERT lie.

    Attributes:
        config: the content of config.json.
        vocabulary: vocab.txt; None if there is none.
        weights: the weights file; None: random numbers.
        lowercase: the model is uncased.
    """

    config: dict[str, Any]
    vocabulary: Path | None
    weights: Path | None
    lowercase: bool = True


def read_bert_folder(folder: Path, weights: Path | None = None) -> BertFiles:
    """The BERT of a folder with config.json, vocab.txt and, as a rule, model.safetensors.

    tokenizer_config.json may say `"do_lower_case": false`; without it the model is uncased.

    Args:
        weights: a weights file that replaces the folder's.
    Raises: FileNotFoundError for a missing file; ValueError for a bad one or another model.
    """
    for name in (CONFIG_FILE, VOCABULARY_FILE):
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"{folder / name} not found: a BERT's folder holds {CONFIG_FILE}, "
                f"{VOCABULARY_FILE} and {WEIGHT_FILES[0]}, as transformers saves them"
            )
    if weights is not None and not weights.is_file():
        raise FileNotFoundError(f"weights of the BERT in {folder} not found: {weights}")
    if weights is None:
        own = (folder / name for name in WEIGHT_FILES)
        weights = next((path for path in own if path.is_file()), None)
    config = _read_json(folder / CONFIG_FILE)
    kind = config.get("model_type", "bert")
    if kind != "bert":
        raise ValueError(
            f"{folder / CONFIG_FILE}: model_type is {kind!r}; only 'bert' is supported"
        )
    tokenizer = folder / "tokenizer_config.json"
    settings = _read_json(tokenizer) if tokenizer.is_file() else {}
    lowercase = bool(settings.get("do_lower_case", True))
    return BertFiles(config, folder / VOCABULARY_FILE, weights, lowercase)


def read_vocabulary(path: Path, size: int) -> dict[str, int]:
    """Ids of the word pieces: a vocab.txt has one per line, the first with id 0.

    Args:
        size: number of words that the model knows.
    Raises: ValueError where [PAD] is not the first, a special word is missing, a word occurs twice,
        or there are more words than `size`.
    """
    words = path.read_text(encoding="utf-8").split("\n")
    if words and not words[-1]:
        words.pop()
    ids = {word.rstrip("\r"): index for index, word in enumerate(words)}
    missing = [word for word in _SPECIAL if word not in ids]
    if missing:
        raise ValueError(f"{path}: lacks {', '.join(missing)}")
    if ids["[PAD]"] != 0:
        raise ValueError(f"{path}: [PAD] is word {ids['[PAD]']}; it must be the first (id 0)")
    if len(ids) < len(words):
        raise ValueError(f"{path}: {len(words) - len(ids)} word(s) occur twice")
    if len(words) > size:
        raise ValueError(f"{path}: {len(words)} words, but {CONFIG_FILE} has vocab_size {size}")
    return ids


def read_bert_weights(path: Path) -> dict[str, Tensor]:
    """Tensors of a weights file under the names of transformers' BertModel without pooler.

    Understood are files of BertModel and of its pre-training heads ("bert." in front of names),
    and the old names of published ones ("gamma", "beta").
    """
    state = read_state_dict(path)
    if any(name.startswith("bert.") for name in state):
        state = {name.removeprefix("bert."): tensor for name, tensor in state.items()}
    renamed = {}
    for name, tensor in state.items():
        if name.startswith(_UNUSED):
            continue
        for old, new in _OLD_NAMES.items():
            name = name.replace(old, new)
        renamed[name] = tensor
    return renamed


def build_bert(
    files: BertFiles, device: torch.device | str, *, label: str
) -> tuple[Any, dict[str, int] | None]:
    """The model (`transformers.BertModel` without pooler, on `device`) and its word pieces.

    Args:
        device: "meta" builds names and shapes only.
        label: names the model in messages.
    Raises: ValueError for a bad file or weights of another model; ImportError.
    """
    is_meta = torch.device(device).type == "meta"
    with contextlib.ExitStack() as stack:
        if is_meta:
            stack.enter_context(torch.device("meta"))
        elif files.weights:  # they overwrite the initial values
            stack.enter_context(SkipInitialisers())
        model = _build_model(files.config, label)
    if not is_meta and files.weights:
        state = read_bert_weights(files.weights)
        problems = differences(state, model.state_dict())
        if problems:
            raise ValueError(
                f"weights {files.weights} do not fit the language encoder {label}: parameters "
                f"{problems}. Were these weights made for this model?"
            )
        model.load_state_dict(state)
    elif not is_meta:
        logger.warning(
            "language encoder %s has random weights: words mean nothing to it until weights are "
            "loaded",
            label,
        )
    size = model.config.vocab_size
    vocabulary = read_vocabulary(files.vocabulary, size) if files.vocabulary else None
    return model.eval().to(device), vocabulary


def _build_model(config: dict[str, Any], label: str) -> Any:
    try:
        from transformers import BertConfig, BertModel
    except ImportError as error:
        raise ImportError(
            f"the language encoder {label} needs transformers: pip install 'transformers>=4.44'"
        ) from error
    try:
        return BertModel(BertConfig.from_dict(config), add_pooling_layer=False)
    except Exception as error:  # transformers checks values with exceptions of many kinds
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(
            f"the language encoder {label}: cannot build the model of its {CONFIG_FILE}: {reason}"
        ) from error


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid JSON: {error}") from error
    if not isinstance(content, dict):
        raise ValueError(f"{path}: expected a JSON object")
    return content
