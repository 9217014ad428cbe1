"""Every word as one unit vector, computed once by whatever runs the text tower.

Without torch: an exported model's words pass through here, too, and both keep them on disk in the
same place, so that each finds what the other computed.

Legend: S words, T templates, N prompts, U distinct prompts, L tokens, K channels.
"""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from frozenseg.encoders.shard_store import ShardStore
from frozenseg.errors import warn_once
from frozenseg.files import cache_folder
from frozenseg.progress import Progress
from frozenseg.vocab.templates import fill_templates

logger = logging.getLogger(__name__)

Floats = NDArray[np.float32]
# Part of the cache's key: raise it when the computation changes.
_FORMAT = 2
# Words computed, and written to the cache, at a time; an interrupted build resumes after them.
_GROUP = 512
MOST_WORDS = 30_000  # kept in memory, 4 KB each; the longest unused ones go
MOST_DISK_BYTES = 2**28  # of the cache of one text tower
_NO_TOKEN = -1


def text_cache(given: str = "") -> Path | None:
    """The folder of text embeddings; None, with one warning, where there is none."""
    try:
        return Path(given) if given else cache_folder("text")
    except FileNotFoundError as error:
        warn_once(logger, "cache", f"text embeddings are not kept on disk: {error}")
        return None


class TextTower(Protocol):
    """What is asked of a text tower, in numpy."""

    @property
    def context_length(self) -> int:
        """The largest number of tokens of a text."""

    @property
    def embed_dim(self) -> int:
        """K."""

    @property
    def digest(self) -> str:
        """Changes with everything that the embeddings depend on."""

    def tokenize(self, texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Token ids (N, L) and which are tokens; the rest, behind them, is padding."""

    def exceeds_context(self, text: str) -> bool:
        """Whether `tokenize` truncates this text."""

    def encode(self, tokens_NL: NDArray[np.int64], is_token_NL: NDArray[np.bool_]) -> Floats:
        """Embeddings (N, K), not normalised, of what `tokenize` gives, padding cut or not."""


class WordVectors:
    """Turns words into unit vectors; only words never seen before cost anything.

    A word is put into every template; the embeddings of its prompts are L2-normalised, averaged
    and normalised again. Source: FC-CLIP, arXiv:2308.02487; templates from ViLD, arXiv:2104.13921.

    Vectors are kept by content, in memory and in `cache_dir`: the key is the text tower's
    architecture and weights with the templates; the entries are words. Where there are too many,
    the longest unused ones go.
    """

    def __init__(
        self,
        text: TextTower,
        *,
        templates: Sequence[str],
        cache_dir: Path | None = None,
        batch_size: int = 256,
    ):
        """
        Args:
            text: the text tower.
            templates: prompts with one "{}" each.
            cache_dir: folder of the disk cache, made when needed; None: memory only.
            batch_size: prompts that are computed at once.
        Raises: ValueError for no templates, or one without exactly one "{}".
        """
        if not templates or batch_size < 1:
            raise ValueError("the text classifier needs a template and a batch size of at least 1")
        for template in templates:
            if template.count("{}") != 1:
                raise ValueError(f'template {template!r}: needs exactly one "{{}}" for the name')
        self.templates = tuple(templates)
        self._text = text
        self._cache_dir = cache_dir
        self._batch_size = batch_size
        self._rows: dict[str, Floats] = {}  # unit vectors (K,) of words
        self._rows_key = ""
        self._store: ShardStore | None = None

    def __call__(self, words: Sequence[str]) -> Floats:
        """Unit vectors (S, K) of any words, in their order."""
        if not words:
            raise ValueError("empty vocabulary: give at least one word")
        self._say_cut(words)
        key = self.key
        if self._rows_key != key:
            self._rows, self._rows_key = {}, key
            folder = self._cache_dir / key[:32] if self._cache_dir else None
            self._store = ShardStore(folder, "text embeddings", MOST_DISK_BYTES) if folder else None
        missing = self._missing(words)
        if missing and self._store:
            self._rows |= self._store.find(missing, (self._text.embed_dim,), np.float32)
            missing = self._missing(missing)
        if missing:
            self._compute(missing)
        for word in dict.fromkeys(words):
            self._rows[word] = self._rows.pop(word)  # the last ones used stand last
        rows_SK = np.stack([self._rows[word] for word in words])
        for word in list(self._rows)[:-MOST_WORDS]:
            del self._rows[word]
        return rows_SK

    @property
    def key(self) -> str:
        """A digest of everything that a word's vector depends on."""
        content = [_FORMAT, self._text.digest, self.templates]
        return hashlib.sha256(json.dumps(content).encode()).hexdigest()

    def forget(self) -> None:
        """Drops what is kept in memory; the disk cache stays."""
        self._rows, self._rows_key, self._store = {}, "", None

    def _missing(self, words: Iterable[str]) -> list[str]:
        return [word for word in dict.fromkeys(words) if word not in self._rows]

    def _compute(self, words: list[str]) -> None:
        start = time.perf_counter()
        with Progress(len(words) * len(self.templates), "text embeddings", "prompt") as progress:
            for first in range(0, len(words), _GROUP):
                group = words[first : first + _GROUP]
                rows_SK = self._embed_group(group, progress)
                # Copies: a row that shares the group's memory would keep all of it.
                self._rows.update(zip(group, map(np.copy, rows_SK), strict=True))
                if self._store:
                    self._store.add(group, rows_SK)
        logger.info(
            "text embeddings: %d name(s) computed in %.1f s",
            len(words),
            time.perf_counter() - start,
        )

    def _say_cut(self, words: Iterable[str]) -> None:
        """Warns of names that are too long, also where their embeddings are cached."""
        longest = max(self.templates, key=len)
        # A token holds a byte or more, so that short names need not be tokenized; two are reserved.
        spare = self._text.context_length - 2 - len(longest.encode())
        cut = [
            word
            for word in dict.fromkeys(words)
            if len(word.encode()) > spare
            and any(map(self._text.exceeds_context, fill_templates(self.templates, word)))
        ]
        if cut:
            logger.warning(
                "%d name(s) too long for the text tower's %d tokens are cut: %s",
                len(cut),
                self._text.context_length,
                "; ".join(repr(word) for word in cut[:3]) + ("; ..." * (len(cut) > 3)),
            )

    def _embed_group(self, words: list[str], progress: Progress) -> Floats:
        """Unit vectors (S, K) of words that are not in the cache."""
        prompts = [fill_templates(self.templates, word) for word in words]
        tokens_NL, is_token_NL = self._text.tokenize([p for filled in prompts for p in filled])
        # Names that differ in case only, or templates that do in a name, give equal tokens.
        tokens_UL, index_N = np.unique(
            np.where(is_token_NL, tokens_NL, _NO_TOKEN), axis=0, return_inverse=True
        )
        embeddings_UK = self._encode(tokens_UL, progress, num_prompts=len(tokens_NL))
        embeddings_STK = embeddings_UK[index_N.reshape(len(words), len(self.templates))]
        return _unit(embeddings_STK.mean(1))

    def _encode(
        self, tokens_UL: NDArray[np.int64], progress: Progress, *, num_prompts: int
    ) -> Floats:
        """Unit vectors (U, K). Prompts of like length share a batch, cut to its longest."""
        is_token_UL = tokens_UL != _NO_TOKEN
        lengths_U = is_token_UL.sum(1)
        order_U = lengths_U.argsort(kind="stable")
        embeddings_UK = np.empty((len(tokens_UL), self._text.embed_dim), np.float32)
        for first in range(0, len(order_U), self._batch_size):
            batch = order_U[first : first + self._batch_size]
            length = int(lengths_U[batch].max())
            tokens_NL = tokens_UL[batch, :length]
            vectors = self._text.encode(tokens_NL.clip(min=0), is_token_UL[batch, :length])
            embeddings_UK[batch] = _unit(vectors)
            progress.advance(num_prompts * len(batch) / len(tokens_UL))
        return embeddings_UK


def _unit(vectors: Floats) -> Floats:
    """Vectors (..., K) over their L2 norms."""
    norms: Floats = np.linalg.norm(vectors, axis=-1, keepdims=True)
    return vectors / np.maximum(norms, np.float32(1e-12))
