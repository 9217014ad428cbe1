"""The text classifier: every name of a vocabulary as one unit vector, computed once.

Legend: S synonyms (words), N prompts, L tokens, K channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from frozenseg.encoders.text.word_vectors import Floats, WordVectors
from frozenseg.structures import TextClassifier

if TYPE_CHECKING:
    from frozenseg.vocab.vocabulary import Vocabulary

_KEPT_VOCABULARIES = 16


class TextEncoder(Protocol):
    """What the builder asks of a text tower (`ClipText`, `BertText`): `TextTower` with tensors."""

    @property
    def context_length(self) -> int:
        """The largest number of tokens of a text."""

    @property
    def embed_dim(self) -> int:
        """K."""

    @property
    def device(self) -> torch.device:
        """Where the weights are."""

    @property
    def digest(self) -> str:
        """Changes with everything that the embeddings depend on."""

    def tokenize(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Token ids (N, L) and which are tokens, bool (N, L); the rest, behind them, is padding."""

    def exceeds_context(self, text: str) -> bool:
        """Whether `tokenize` truncates this text."""

    def encode(self, tokens_NL: Tensor, is_token_NL: Tensor) -> Tensor:
        """Embeddings (N, K), not normalised, of what `tokenize` gives, padding cut or not."""


class TextClassifierBuilder:
    """Turns vocabularies into text classifiers; only words never seen before cost anything.

    See `WordVectors`, which computes and keeps the vectors.
    """

    def __init__(
        self,
        text: TextEncoder,
        *,
        templates: Sequence[str],
        cache_dir: Path | None = None,
        batch_size: int = 256,
    ):
        """Arguments and errors are those of `WordVectors`, but for `text`, which gives tensors."""
        self._text, self._cache_dir, self._batch_size = text, cache_dir, batch_size
        self._vectors = WordVectors(
            _InNumpy(text), templates=templates, cache_dir=cache_dir, batch_size=batch_size
        )
        self._built: dict[tuple[str, tuple[tuple[str, ...], ...]], TextClassifier] = {}

    @property
    def templates(self) -> tuple[str, ...]:
        """Prompts with one "{}" each."""
        return self._vectors.templates

    def __call__(self, vocabulary: Vocabulary) -> TextClassifier:
        """The classifier of a vocabulary, on the device of the text tower."""
        key, names = self._vectors.key, vocabulary.synonyms
        recent = self._built.get((key, names))
        if recent is None:
            owners = [index for index, synonyms in enumerate(names) for _ in synonyms]
            recent = TextClassifier(
                embeddings_SK=self.embed(vocabulary.all_synonyms),
                class_of_synonym_S=torch.tensor(owners, dtype=torch.long),
                num_classes=len(names),
            )
            while len(self._built) >= _KEPT_VOCABULARIES:
                del self._built[next(iter(self._built))]
        if recent.embeddings_SK.device != self._text.device:
            recent = recent.to(self._text.device)
        self._built.pop((key, names), None)
        self._built[key, names] = recent
        return recent

    def with_templates(self, templates: Sequence[str]) -> TextClassifierBuilder:
        """A builder of the same text tower with other prompts."""
        return TextClassifierBuilder(
            self._text, templates=templates, cache_dir=self._cache_dir, batch_size=self._batch_size
        )

    def embed(self, words: Sequence[str]) -> Tensor:
        """Unit vectors (S, K) of any words, float32 on the CPU, in their order."""
        return torch.from_numpy(self._vectors(words))

    def forget(self) -> None:
        """Drops what is kept in memory; the disk cache stays."""
        self._built = {}
        self._vectors.forget()


class _InNumpy:
    """A text tower of torch as a `TextTower`."""

    def __init__(self, text: TextEncoder) -> None:
        self._text = text
        self.exceeds_context = text.exceeds_context

    @property
    def context_length(self) -> int:
        return self._text.context_length

    @property
    def embed_dim(self) -> int:
        return self._text.embed_dim

    @property
    def digest(self) -> str:
        return self._text.digest

    def tokenize(self, texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        tokens_NL, is_token_NL = self._text.tokenize(texts)
        return tokens_NL.numpy(), is_token_NL.numpy()

    def encode(self, tokens_NL: NDArray[np.int64], is_token_NL: NDArray[np.bool_]) -> Floats:
        vectors = self._text.encode(torch.from_numpy(tokens_NL), torch.from_numpy(is_token_NL))
        floats: Floats = vectors.detach().float().cpu().numpy()
        return floats
