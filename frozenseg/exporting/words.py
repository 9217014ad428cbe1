"""The words of an exported model: text.onnx and tokenizer.json instead of torch.

Legend: S synonyms (words), C classes, N prompts, L tokens, K channels.
"""

from __future__ import annotations

import html
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import ftfy
import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from frozenseg.encoders.text.word_vectors import Floats

TEXT_GRAPH, TOKENIZER = "text.onnx", "tokenizer.json"
WORD_END = "</w>"  # what CLIP's vocabulary writes behind a word's last piece
_END_OF_TEXT = f"<end_of_text>{WORD_END}"


class ExportedText:
    """The text tower of an export folder (see `TextTower`)."""

    def __init__(self, folder: Path, digest: str, session: Any) -> None:
        """
        Args:
            digest: the one that the tower had in torch: both find each other's words on disk.
            session: onnxruntime's, of text.onnx.
        """
        self.digest = digest
        self._session = session
        self._tokenizer = Tokenizer.from_file(str(folder / TOKENIZER))
        # The only tokens that a text can hold in its middle and that end it (None: a BERT's).
        self._end: int | None = self._tokenizer.token_to_id(_END_OF_TEXT)
        if self._end is not None:
            self._tokenizer.normalizer = None  # `clean` does it, and more

    @property
    def context_length(self) -> int:
        """The largest number of tokens, those of start and end included."""
        truncation: Any = self._tokenizer.truncation
        return int(truncation["max_length"])

    @property
    def embed_dim(self) -> int:
        """K."""
        return int(self._session.get_outputs()[0].shape[1])

    def tokenize(self, texts: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Token ids (N, L) and which are tokens; L is the longest text's.

        Texts longer than `context_length` lose their last words.
        """
        encoded = self._tokenizer.encode_batch([self._clean(text) for text in texts])
        tokens_NL = np.array([each.ids for each in encoded], np.int64)
        is_token_NL = np.array([each.attention_mask for each in encoded], bool)
        if self._end is not None:
            lengths_N = (tokens_NL == self._end).argmax(1) + 1
            tokens_NL = tokens_NL[:, : lengths_N.max()]
            is_token_NL = np.arange(tokens_NL.shape[1]) < lengths_N[:, None]
        return tokens_NL, is_token_NL

    def exceeds_context(self, text: str) -> bool:
        """Whether `tokenize` truncates this text."""
        return bool(self._tokenizer.encode(self._clean(text)).overflowing)

    def encode(self, tokens_NL: NDArray[np.int64], is_token_NL: NDArray[np.bool_]) -> Floats:
        """Embeddings (N, K), not normalised."""
        inputs = {"tokens": tokens_NL, "is_token": is_token_NL}
        vectors: Floats = self._session.run(None, inputs)[0]
        return vectors

    def _clean(self, text: str) -> str:
        return text if self._end is None else clean(text)


def clean(text: str) -> str:
    """A text as CLIP's tokenizer wants it: mended by ftfy, without HTML, spaces or capitals."""
    return " ".join(html.unescape(html.unescape(ftfy.fix_text(text))).split()).lower()
