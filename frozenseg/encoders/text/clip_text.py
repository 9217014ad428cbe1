"""CLIP's text tower at the length its prompts need.

Legend: N prompts, L tokens, W width of the tower, K channels of CLIP's joint space.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import open_clip
import torch
from torch import Tensor, nn

from frozenseg.checkpoints.digests import WeightsDigest, attention_heads
from frozenseg.encoders.frozen import FrozenEncoder, tower_autocast, tower_precision

_TOWER_PARTS = (
    "token_embedding",
    "positional_embedding",
    "transformer",
    "ln_final",
    "text_projection",
)


class ClipText(FrozenEncoder):
    """The frozen text tower of an open_clip model (see `TextEncoder`)."""

    def __init__(self, model: open_clip.CLIP):
        """Freezes the model.

        Raises: ValueError where the tower cannot be cut to the length of its prompts, that is
        where it is not causal or does not pool at the end-of-text token, or has too few words.
        """
        super().__init__()
        self._precision = "float32"
        self.model: Any = model.requires_grad_(False)
        prefix = "text_" if self._tower is self.model else ""
        self._pool_type: str = getattr(self._tower, f"{prefix}pool_type", "argmax")
        self._eos_id: int | None = getattr(self._tower, f"{prefix}eos_id", None)
        is_causal = getattr(self._tower, "attn_mask", None) is not None
        has_class_token = getattr(self._tower, "cls_emb", None) is not None
        if not is_causal or has_class_token or self._pool_type not in ("argmax", "eos"):
            raise ValueError(
                f"unsupported CLIP text tower (causal: {is_causal}, class token: "
                f"{has_class_token}, pool_type: {self._pool_type}): it must be causal and pool at "
                "the end-of-text token"
            )
        tokenizer_words = open_clip.tokenizer._tokenizer.vocab_size
        words = self._tower.token_embedding.num_embeddings
        if words < tokenizer_words:
            raise ValueError(
                f"the CLIP text tower knows {words} tokens, its tokenizer {tokenizer_words}: set "
                f"text_cfg.vocab_size to {tokenizer_words}"
            )
        self.train(False)

    @property
    def _tower(self) -> Any:
        # CustomTextCLIP keeps the tower as a module, CLIP has its parts as attributes of its own.
        return getattr(self.model, "text", self.model)

    @property
    def precision(self) -> str:
        """One of `TOWER_PRECISIONS`; embeddings of each are filed under a digest of its own."""
        return self._precision

    @precision.setter
    def precision(self, precision: str) -> None:
        self._precision, self._digest = precision, WeightsDigest()

    @property
    def context_length(self) -> int:
        """The largest number of tokens, start and end of text included."""
        return self._tower.positional_embedding.shape[0]

    @property
    def embed_dim(self) -> int:
        """K."""
        projection = self._tower.text_projection
        if projection is None:
            return self._tower.positional_embedding.shape[1]
        if isinstance(projection, nn.Linear):
            return projection.out_features
        return projection.shape[1]

    def tokenize(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Token ids (N, L), int64, and which are tokens, bool (N, L); L is the longest text's.

        Texts longer than `context_length` are truncated as CLIP does: the last token becomes the
        end of text.
        """
        if not texts:
            return torch.zeros(0, 0, dtype=torch.long), torch.zeros(0, 0, dtype=torch.bool)
        tokens_NL = open_clip.tokenize(list(texts), self.context_length)
        lengths_N = self._end(tokens_NL) + 1
        length = int(lengths_N.max())
        return tokens_NL[:, :length], torch.arange(length) < lengths_N[:, None]

    def exceeds_context(self, text: str) -> bool:
        """Whether `tokenize` truncates this text."""
        tokens_1L = open_clip.tokenize([text], self.context_length + 1)
        return bool(tokens_1L[0, -1] != 0)

    @torch.no_grad()
    def encode(self, tokens_NL: Tensor, is_token_NL: Tensor) -> Tensor:
        """Text embeddings (N, K), not normalised, in the dtype of the weights.

        Positions behind the last end-of-text token are not computed: the tower is causal, so
        they cannot change the result.
        """
        length = int(is_token_NL.sum(1).max())
        tokens_NL, is_token_NL = tokens_NL[:, :length], is_token_NL[:, :length]
        # The caller's autocast would round what is cached on disk and compared across machines.
        device = self.device
        with torch.autocast(device.type, enabled=False), tower_autocast(self._precision, device):
            embeddings_NK = self(tokens_NL.to(device), is_token_NL.to(device))
        return embeddings_NK.to(self._tower.positional_embedding.dtype)

    def forward(self, tokens_NL: Tensor, is_token_NL: Tensor) -> Tensor:
        """What `encode` gives, of tokens on the tower's device; all L positions are computed."""
        tower, length = self._tower, tokens_NL.shape[1]
        dtype = tower.transformer.get_cast_dtype()
        x_NLW = tower.token_embedding(tokens_NL).to(dtype)
        x_NLW = x_NLW + tower.positional_embedding[:length].to(dtype)
        x_NLW = tower.transformer(x_NLW, attn_mask=tower.attn_mask[:length, :length])
        end_N = is_token_NL.sum(1) - 1
        rows_N = torch.arange(x_NLW.shape[0], device=x_NLW.device)
        x_NW = tower.ln_final(x_NLW[rows_N, end_N])
        if tower.text_projection is None:
            return x_NW
        if isinstance(tower.text_projection, nn.Linear):
            return tower.text_projection(x_NW)
        return x_NW @ tower.text_projection

    def _weights(self) -> Mapping[str, Tensor]:
        """Those of the text tower, under the same names for both kinds of open_clip model."""
        state: dict[str, Tensor] = {}
        for part in _TOWER_PARTS:
            value = getattr(self._tower, part)
            if isinstance(value, nn.Module):
                state |= {f"{part}.{name}": tensor for name, tensor in value.state_dict().items()}
            elif value is not None:
                state[part] = value.detach()
        return state

    def _describe(self) -> dict[str, Any]:
        transformer = self._tower.transformer
        precision = tower_precision(self._precision, self.device)
        return {
            **({} if precision == "float32" else {"precision": precision}),
            "transformer": repr(transformer),
            "final_norm": repr(self._tower.ln_final),
            "heads": attention_heads(transformer),
            "pool": [self._pool_type, self._eos_id],
        }

    def _end(self, tokens_NL: Tensor) -> Tensor:
        """Position of the end-of-text token, which has the largest id of all in CLIP's words."""
        if self._pool_type == "eos":
            return tokens_NL.eq(self._eos_id or 0).int().argmax(-1)
        return tokens_NL.argmax(-1)
