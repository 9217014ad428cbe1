"""Pretraining of the miniature language-only encoder: a BERT that reads text, and nothing else.

Two tasks: to fill in blanked-out words, and to tell which sentences are of the same text.
The first alone leaves the colours of a class name hard to tell apart.

Source: BERT, arXiv:1810.04805, section 3.1 (masked language modelling; ours blanks out a quarter of
the words, not 15 %: in so small a world a blank is soon filled), and, in place of its next-sentence
task, the contrast of neighbouring passages of DeCLUTR, arXiv:2006.03659.

Legend: B texts, L tokens of the longest, M blanked tokens, W words of the vocabulary, K channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import BertConfig, BertForMaskedLM, BertTokenizer

from tools.miniature.language_texts import SPECIAL_TOKENS, draw_neighbors, draw_text
from tools.miniature.training import export_half
from tools.miniature.vision_training import contrast

_BLANK_SHARE, _MASK_SHARE, _OTHER_SHARE = 0.25, 0.8, 0.1
_TEMPERATURE = 0.1
_PAD, _MASK = SPECIAL_TOKENS.index("[PAD]"), SPECIAL_TOKENS.index("[MASK]")


class MiniatureBert(nn.Module):
    """The model of a folder with transformers' config.json and vocab.txt."""

    def __init__(self, folder: Path):
        super().__init__()
        self.bert: Any = BertForMaskedLM(BertConfig.from_pretrained(folder))
        self.tokenizer: Any = BertTokenizer.from_pretrained(folder)

    def forward(self, tokens_BL: Tensor) -> Tensor:
        """The logits (B, L, W) of every word at every place; padding is not attended to."""
        return self.bert(input_ids=tokens_BL, attention_mask=(tokens_BL != _PAD).long()).logits

    def sentences(self, texts: Sequence[str]) -> Tensor:
        """Vectors (B, K) of texts: the mean of the last layer over all tokens, [CLS] to [SEP]."""
        tokens_BL = torch.from_numpy(self.tokenize(texts))
        is_token = tokens_BL != _PAD
        hidden = self.bert.bert(input_ids=tokens_BL, attention_mask=is_token.long())
        hidden_BLK = hidden.last_hidden_state * is_token[..., None]
        return hidden_BLK.sum(1) / is_token.sum(1, keepdim=True)

    def tokenize(self, texts: Sequence[str]) -> np.ndarray:
        """Token ids (B, L)."""
        ids: np.ndarray = self.tokenizer(list(texts), padding=True, return_tensors="np")[
            "input_ids"
        ]
        return ids

    def export(self, path: Path) -> None:
        """Writes the encoder in float16 under the names of transformers' BertModel."""
        export_half(self.bert.bert.state_dict(), path)


class LanguageTask:
    """The loss of a training step; all draws are keyed by (seed, step)."""

    def __init__(self, model: MiniatureBert, seed: int, texts: int = 64, pairs: int = 64):
        """`texts`: with blanks, `pairs`: of sentences, in a step."""
        self._model, self._seed, self._texts, self._pairs = model, seed, texts, pairs

    def loss(self, step: int, progress: float) -> tuple[Tensor, dict[str, float]]:
        """Loss, and for the log the shares of blanks and of neighbours that are found."""
        del progress
        generator = np.random.default_rng((self._seed, step))
        blank_loss, words = self._blanks(generator)
        pairs = [draw_neighbors(generator) for _ in range(self._pairs)]
        one_BK, other_BK = (self._model.sentences(side) for side in zip(*pairs, strict=True))
        loss, sentences = contrast(one_BK, other_BK, _TEMPERATURE)
        figures = {
            "words": words,
            "sentences": sentences,
            "loss_blanks": float(blank_loss.detach()),
        }
        return blank_loss + loss, figures

    def _blanks(self, generator: np.random.Generator) -> tuple[Tensor, float]:
        texts = [draw_text(generator) for _ in range(self._texts)]
        whole_BL = self._model.tokenize(texts)
        shown_BL, asked_BL = blank_out(generator, whole_BL)
        logits_BLW = self._model(torch.from_numpy(shown_BL))
        asked = torch.from_numpy(asked_BL)
        logits_MW, truth_M = logits_BLW[asked], torch.from_numpy(whole_BL)[asked]
        right = float((logits_MW.argmax(-1) == truth_M).float().mean())
        return F.cross_entropy(logits_MW, truth_M), right


def blank_out(
    generator: np.random.Generator, tokens_BL: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """The tokens with some of them hidden, and which these are (B, L) bool.

    Of the chosen ones most become [MASK], some another word, and some stay as they are. Special
    tokens are never chosen.
    """
    first_word = len(SPECIAL_TOKENS)
    asked = (generator.random(tokens_BL.shape) < _BLANK_SHARE) & (tokens_BL >= first_word)
    fate = generator.random(tokens_BL.shape)
    others = generator.integers(first_word, tokens_BL.max() + 1, tokens_BL.shape)
    shown = np.where(asked & (fate < _MASK_SHARE), _MASK, tokens_BL)
    other = asked & (fate >= _MASK_SHARE) & (fate < _MASK_SHARE + _OTHER_SHARE)
    return np.where(other, others, shown), asked
