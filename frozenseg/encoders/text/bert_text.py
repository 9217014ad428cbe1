"""BERT as a text encoder: the mean of the last layer over a prompt's tokens.

Legend: N prompts, L tokens, K channels (BERT's hidden size).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from frozenseg.checkpoints.digests import WeightsDigest

_FORMAT = 1  # part of the digest: raise it when the computation changes


class BertText:
    """The text encoder of a BERT of transformers, which stays the owner of the parameters.

    A prompt's vector is the mean of the last layer over all of its tokens, the `[CLS]` in front
    and the `[SEP]` behind included, padding excluded.
    """

    def __init__(
        self,
        model: Any,
        vocabulary: dict[str, int] | None,
        *,
        lowercase: bool = True,
        missing: str = "",
    ):
        """
        Args:
            model: a `transformers.BertModel`.
            vocabulary: ids of the word pieces (see `read_vocabulary`); None: nothing can be
                tokenized, `missing` says what to do about it.
            lowercase: the vocabulary is of an uncased model.
        """
        self._model = model
        self._vocabulary = vocabulary
        self._lowercase = lowercase
        self._missing = missing
        self._digest = WeightsDigest()

    @property
    def context_length(self) -> int:
        """The largest number of tokens, `[CLS]` and `[SEP]` included."""
        return self._model.config.max_position_embeddings

    @property
    def embed_dim(self) -> int:
        """K."""
        return self._model.config.hidden_size

    @property
    def device(self) -> torch.device:
        return self._model.embeddings.word_embeddings.weight.device

    def tokenize(self, texts: Sequence[str]) -> Tensor:
        """Token ids (N, L), int64, padded with 0; L is the length of the longest text.

        Texts longer than `context_length` lose their last words.
        Raises: ValueError where the model has no vocabulary.
        """
        ids = [self._cut(encoding.ids) for encoding in self._tokenizer.encode_batch(list(texts))]
        tokens_NL = torch.zeros(len(ids), max(map(len, ids), default=0), dtype=torch.long)
        for row, tokens in zip(tokens_NL, ids, strict=True):
            row[: len(tokens)] = torch.tensor(tokens)
        return tokens_NL

    def exceeds_context(self, text: str) -> bool:
        """Whether `tokenize` truncates this text."""
        return len(self._tokenizer.encode(text).ids) > self.context_length

    @torch.no_grad()
    def encode(self, tokens_NL: Tensor) -> Tensor:
        """Text embeddings (N, K), not normalised, in the dtype of the weights."""
        tokens_NL = tokens_NL.to(self.device)
        is_token_NL = tokens_NL != 0
        # Autocast would round what is cached on disk and compared across machines.
        with torch.autocast(self.device.type, enabled=False):
            hidden_NLK = self._model(
                input_ids=tokens_NL, attention_mask=is_token_NL.long()
            ).last_hidden_state
        weights_NL1 = is_token_NL.unsqueeze(-1).to(hidden_NLK.dtype)
        return (hidden_NLK * weights_NL1).sum(1) / weights_NL1.sum(1)

    @property
    def digest(self) -> str:
        """A digest of everything an embedding depends on: architecture, weights and words.

        Computed on first use, see `WeightsDigest`. Raises: ValueError on the meta device.
        """
        return self._digest.of(self._model.state_dict(), self._describe)

    def _describe(self) -> dict[str, Any]:
        words = repr(sorted((self._vocabulary or {}).items(), key=lambda item: item[1]))
        return {
            "format": _FORMAT,
            "modules": repr(self._model),
            "heads": self._model.config.num_attention_heads,
            "words": hashlib.sha256(words.encode()).hexdigest(),
            "lowercase": self._lowercase,
        }

    def _cut(self, ids: list[int]) -> list[int]:
        return (
            ids if len(ids) <= self.context_length else [*ids[: self.context_length - 1], ids[-1]]
        )

    @cached_property
    def _tokenizer(self) -> Any:
        from tokenizers.implementations import BertWordPieceTokenizer

        if self._vocabulary is None:
            raise ValueError(self._missing)
        return BertWordPieceTokenizer(self._vocabulary, lowercase=self._lowercase)
