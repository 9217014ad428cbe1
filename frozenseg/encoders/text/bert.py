"""BERT as a text encoder: the mean of the last layer over a prompt's tokens.

Legend: N prompts, L tokens, K channels (BERT's hidden size).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from frozenseg.checkpoints.reading import read_state_dict
from frozenseg.checkpoints.skip_init import do_weights_follow
from frozenseg.encoders.frozen import FrozenEncoder
from frozenseg.files import read_json

logger = logging.getLogger(__name__)

CONFIG_FILE, VOCABULARY_FILE = "config.json", "vocab.txt"
_OPTIONS_FILE = "tokenizer_config.json"
WEIGHT_FILES = ("model.safetensors", "pytorch_model.bin")
_FORMAT = 2  # part of the digest: raise it when the computation changes
# Parts of published files that the last layer does not need.
_UNUSED = ("cls.", "pooler.", "bert.pooler.")


class BertText(FrozenEncoder):
    """A frozen BERT as a text encoder (see `TextEncoder`).

    A prompt's vector is the mean of the last layer over all of its tokens, the `[CLS]` in front
    and the `[SEP]` behind included, padding excluded.
    """

    def __init__(self, model: nn.Module, tokenizer: Any, *, missing: str = ""):
        """Takes the parts of transformers.

        Args:
            model: a `BertModel` without pooler.
            tokenizer: its `BertTokenizerFast`; None: nothing can be tokenized, `missing` says
                what to do about it.
        """
        super().__init__()
        self.model: Any = model.requires_grad_(False)
        self._tokenizer = tokenizer
        self._missing = missing
        words = tokenizer.backend_tokenizer.to_str() if tokenizer else ""
        self._words = hashlib.sha256(words.encode()).hexdigest()
        self.train(False)

    @property
    def context_length(self) -> int:
        """The largest number of tokens, `[CLS]` and `[SEP]` included."""
        return int(self.model.config.max_position_embeddings)

    @property
    def embed_dim(self) -> int:
        """K."""
        return int(self.model.config.hidden_size)

    def tokenize(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Token ids (N, L), int64, and which are tokens, bool (N, L); L is the longest text's.

        Texts longer than `context_length` lose their last words.
        Raises: ValueError where the model has no vocabulary.
        """
        if self._tokenizer is None:
            raise ValueError(self._missing)
        if not texts:
            return torch.zeros(0, 0, dtype=torch.long), torch.zeros(0, 0, dtype=torch.bool)
        batch = self._tokenizer(
            list(texts),
            padding=True,
            truncation=True,
            max_length=self.context_length,
            return_tensors="pt",
        )
        return batch["input_ids"], batch["attention_mask"].bool()

    def exceeds_context(self, text: str) -> bool:
        """Whether `tokenize` truncates this text."""
        return len(self._tokenizer(text, verbose=False)["input_ids"]) > self.context_length

    @torch.no_grad()
    def encode(self, tokens_NL: Tensor, is_token_NL: Tensor) -> Tensor:
        """Text embeddings (N, K), not normalised, in the dtype of the weights."""
        tokens_NL, is_token_NL = tokens_NL.to(self.device), is_token_NL.to(self.device)
        # Autocast would round what is cached on disk and compared across machines.
        with torch.autocast(self.device.type, enabled=False):
            hidden_NLK: Tensor = self.model(
                input_ids=tokens_NL, attention_mask=is_token_NL.long()
            ).last_hidden_state
        weights_NL1 = is_token_NL.unsqueeze(-1).to(hidden_NLK.dtype)
        return (hidden_NLK * weights_NL1).sum(1) / weights_NL1.sum(1)

    forward = encode

    def files(self) -> dict[str, bytes]:
        """What `load_bert` reads besides the weights: name -> content.

        Raises: ValueError where the model has no vocabulary.
        """
        if self._tokenizer is None:
            raise ValueError(self._missing)
        words = sorted(self._tokenizer.get_vocab().items(), key=lambda item: item[1])
        cleaning = json.loads(self._tokenizer.backend_tokenizer.to_str())["normalizer"]
        options = {
            "do_lower_case": cleaning["lowercase"],
            "strip_accents": cleaning["strip_accents"],
            "tokenize_chinese_chars": cleaning["handle_chinese_chars"],
        }
        return {
            CONFIG_FILE: self.model.config.to_json_string().encode(),
            VOCABULARY_FILE: "".join(f"{word}\n" for word, _ in words).encode(),
            _OPTIONS_FILE: json.dumps(options).encode(),
        }

    def _weights(self) -> Mapping[str, Tensor]:
        return self.model.state_dict()

    def _describe(self) -> dict[str, Any]:
        return {
            "format": _FORMAT,
            "modules": repr(self.model),
            "heads": self.model.config.num_attention_heads,
            "words": self._words,
        }


def load_bert(
    folder: Path, weights: Path | None, device: torch.device | str, *, label: str
) -> BertText:
    """The BERT of a folder in transformers' layout: config.json, vocab.txt, model.safetensors.

    tokenizer_config.json may say `"do_lower_case": false`; without it the model is uncased.

    Args:
        weights: a file that replaces the folder's weights (see `find_weights`).
        device: "meta" builds names and shapes only; no weights are then read.
        label: names the model in messages.
    Raises: FileNotFoundError for a missing file; ValueError for a bad one, another model, or
        weights of another model; ImportError.
    """
    for name in (CONFIG_FILE, VOCABULARY_FILE):
        if not (folder / name).is_file():
            raise FileNotFoundError(
                f"{folder / name} not found: a BERT's folder holds {CONFIG_FILE}, "
                f"{VOCABULARY_FILE} and {WEIGHT_FILES[0]}, as transformers saves them"
            )
    if weights is not None and not weights.is_file():
        raise FileNotFoundError(f"weights of the BERT in {folder} not found: {weights}")
    config = read_json(folder / CONFIG_FILE)
    kind = config.get("model_type", "bert") if isinstance(config, dict) else type(config).__name__
    if kind != "bert":
        raise ValueError(
            f"{folder / CONFIG_FILE}: model_type is {kind!r}; only 'bert' is supported"
        )
    model = build_bert(config, weights or find_weights(folder), device, label=label)
    tokenizer: Any = _transformers(label).BertTokenizerFast.from_pretrained(
        folder, local_files_only=True
    )
    if len(tokenizer) > model.config.vocab_size:
        raise ValueError(
            f"{folder / VOCABULARY_FILE}: {len(tokenizer)} words with BERT's special ones, but "
            f"{CONFIG_FILE} has vocab_size {model.config.vocab_size}"
        )
    return BertText(model, tokenizer)


def find_weights(folder: Path) -> Path | None:
    """The weights in a BERT's folder; None if there are none."""
    return next((folder / name for name in WEIGHT_FILES if (folder / name).is_file()), None)


def build_bert(
    config: Mapping[str, Any], weights: Path | None, device: torch.device | str, *, label: str
) -> Any:
    """A `BertModel` of transformers without pooler, on `device`, in float32.

    Args:
        config: the content of config.json.
        weights: a file of BertModel or of BERT with its pre-training heads, under the names of
            today or of the published files; None: random numbers, with one warning.
    Raises: as `load_bert`.
    """
    transformers = _transformers(label)
    is_meta = torch.device(device).type == "meta"
    try:
        settings = transformers.BertConfig.from_dict(dict(config))
        with torch.device("meta") if is_meta or weights else contextlib.nullcontext():
            model = transformers.BertModel(settings, add_pooling_layer=False)
    except Exception as error:  # transformers checks values with exceptions of many kinds
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ValueError(
            f"the language encoder {label}: cannot build the model of its {CONFIG_FILE}: {reason}"
        ) from error
    if is_meta:
        return model
    if weights is None and not do_weights_follow():
        logger.warning(
            "language encoder %s has random weights: words mean nothing to it until weights are "
            "loaded",
            label,
        )
    if weights is None:
        return model.to(device)
    state = {
        name: tensor.float() if tensor.is_floating_point() else tensor
        for name, tensor in read_state_dict(weights).items()
        if not name.startswith(_UNUSED)
    }
    with _quiet(transformers):
        model, found = transformers.BertModel.from_pretrained(
            None,
            config=settings,
            state_dict=state,
            add_pooling_layer=False,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    problems = "; ".join(
        f"{len(found[f'{what}_keys'])} {what}, first {min(found[f'{what}_keys'])}"
        for what in ("mismatched", "missing", "unexpected")
        if found[f"{what}_keys"]
    )
    if problems:
        raise ValueError(
            f"weights {weights} do not fit the language encoder {label}: parameters {problems}. "
            "Were these weights made for this model?"
        )
    return model.to(device)


def _transformers(label: str) -> Any:
    try:
        import transformers
    except ImportError as error:
        raise ImportError(
            f"the language encoder {label} needs transformers: pip install 'transformers>=5.6'"
        ) from error
    return transformers


@contextlib.contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """Without transformers' bar and table of names: ours is the error that names the file."""
    log = transformers.utils.logging
    level, bar = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(level)
        if bar:
            log.enable_progress_bar()
