"""The transformer decoder: queries that look at the image through their own masks.

Legend: B images, Q queries, C classes (+1 for void), S synonyms, D channels, K text channels,
N tokens of a level, H and W cells of a map.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Any

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from detectron2.utils.registry import Registry
from torch import Tensor, nn

from frozenseg.layers.attention import CrossAttentionLayer, FeedForwardLayer, SelfAttentionLayer
from frozenseg.layers.linear import MLP
from frozenseg.layers.mask_pooling import pool_by_masks, resize_mask_logits
from frozenseg.layers.position_encoding import sine_position_code
from frozenseg.mask_classification.pixel_decoder import PixelFeatures
from frozenseg.mask_classification.sam_injection import (
    NO_LAYER,
    PIXEL_DECODER,
    SamInjection,
    inject_features,
    inject_queries,
    injection_from,
)
from frozenseg.structures import MaskPrediction, TextClassifier

TRANSFORMER_DECODER_REGISTRY = Registry("TRANSFORMER_DECODER")
TRANSFORMER_DECODER_REGISTRY.__doc__ = (
    "Decoders: called with (cfg, in_channels, text_channels, sam_channels=...)."
)


@dataclass(frozen=True)
class DecoderOutput:
    """The last layer's prediction, and those of the layers before it (first one first)."""

    final: MaskPrediction
    auxiliary: list[MaskPrediction] = field(default_factory=list)


@TRANSFORMER_DECODER_REGISTRY.register()
class MultiScaleMaskedTransformerDecoder(nn.Module):
    """Masked-attention decoder whose classes are compared with text embeddings.

    Source: Mask2Former, arXiv:2112.01527, section 3.2; classification as in FC-CLIP,
    arXiv:2308.02487, section 3.3. Ours differs in what is computed: class logits and
    full-resolution masks only where they are asked for, and the mask of the next attention
    from the per-pixel embedding resized once per level (resizing commutes with the dot product).
    """

    @configurable
    def __init__(
        self,
        in_channels: int,
        text_channels: int,
        *,
        mask_dim: int,
        hidden_dim: int,
        num_queries: int,
        num_heads: int,
        feedforward_dim: int,
        num_layers: int,
        num_levels: int = 3,
        injection: SamInjection | None = None,
    ) -> None:
        """`injection`: where SAM's features enter; None: nowhere, which is FC-CLIP."""
        super().__init__()
        if in_channels != hidden_dim or mask_dim != hidden_dim:
            raise ValueError(
                "MODEL.SEM_SEG_HEAD.CONVS_DIM, MODEL.SEM_SEG_HEAD.MASK_DIM and "
                f"MODEL.MASK_FORMER.HIDDEN_DIM must agree, got {in_channels}, {mask_dim} and "
                f"{hidden_dim}: the decoder adds pooled per-pixel embeddings to its queries"
            )
        self.num_levels = num_levels
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))
        indices = range(num_layers)
        self.transformer_self_attention_layers = nn.ModuleList(
            SelfAttentionLayer(hidden_dim, num_heads) for _ in indices
        )
        self.transformer_cross_attention_layers = nn.ModuleList(
            CrossAttentionLayer(hidden_dim, num_heads) for _ in indices
        )
        self.transformer_ffn_layers = nn.ModuleList(
            FeedForwardLayer(hidden_dim, feedforward_dim) for _ in indices
        )
        self.decoder_norm = nn.LayerNorm(hidden_dim)
        self.query_feat = nn.Embedding(num_queries, hidden_dim)
        self.query_embed = nn.Embedding(num_queries, hidden_dim)
        self.level_embed = nn.Embedding(num_levels, hidden_dim)
        self.mask_embed = MLP(hidden_dim, hidden_dim, mask_dim, 3)
        self._mask_pooling_proj = nn.Sequential(
            nn.LayerNorm(mask_dim), nn.Linear(mask_dim, hidden_dim)
        )
        self.class_embed = MLP(hidden_dim, hidden_dim, text_channels, 3)
        self.injection = injection
        if injection is not None and injection.feature_layer is not None:
            self.transformer_cross_attention_layers_sam = nn.ModuleList(
                CrossAttentionLayer(hidden_dim, num_heads)
                if index % num_levels == injection.feature_layer
                else nn.Identity()
                for index in indices
            )

    @classmethod
    def from_config(
        cls,
        cfg: CfgNode,
        in_channels: int,
        text_channels: int,
        *,
        sam_channels: int | None = None,
    ) -> dict[str, Any]:
        """The keyword arguments that `MODEL.MASK_FORMER.*` describes (DEC_LAYERS counts the input).

        Args: sam_channels: of SAM's map; None: there is no SAM.
        """
        decoder = cfg.MODEL.MASK_FORMER
        joined = cfg.MODEL.SAM_BRANCH == PIXEL_DECODER
        feature_layer = NO_LAYER if joined else decoder.SAM_FEATURE_FUSE_LAYER
        return {
            "in_channels": in_channels,
            "text_channels": text_channels,
            "mask_dim": cfg.MODEL.SEM_SEG_HEAD.MASK_DIM,
            "hidden_dim": decoder.HIDDEN_DIM,
            "num_queries": decoder.NUM_OBJECT_QUERIES,
            "num_heads": decoder.NHEADS,
            "feedforward_dim": decoder.DIM_FEEDFORWARD,
            "num_layers": decoder.DEC_LAYERS - 1,
            "injection": None
            if sam_channels is None
            else injection_from(
                feature_layer,
                decoder.SAM_QUERY_FUSE_LAYER,
                sam_channels,
                cfg.MODEL.SEM_SEG_HEAD.MASK_DIM,
                keep_positions=decoder.SAM_KEEP_POSITIONS,
            ),
        }

    def forward(
        self,
        pixels: PixelFeatures,
        classifier: TextClassifier,
        void_embedding_1K: Tensor,
        *,
        auxiliary: bool = False,
    ) -> DecoderOutput:
        """Predictions of the last layer and, if `auxiliary`, of the query input and each layer.

        Args:
            pixels: levels at strides 32, 16, 8 and the per-pixel embedding.
            classifier: the vocabulary's text embeddings; width K.
            void_embedding_1K: the learned embedding of "no object" (need not be normalised).
        """
        text_SK = torch.cat((classifier.embeddings_SK, F.normalize(void_embedding_1K, dim=-1)))
        batch = pixels.mask_features_BDHW.shape[0]
        levels = [self._level_tokens(pixels, index) for index in range(self.num_levels)]
        x = self.query_feat.weight.expand(batch, -1, -1)
        position = self.query_embed.weight.expand(batch, -1, -1)
        predictions = []
        last = len(self.transformer_ffn_layers)
        for index in range(last + 1):
            normed = self.decoder_norm(x)
            mask_embedding = self.mask_embed(normed)
            if auxiliary or index == last:
                predictions.append(
                    self._predict(normed, mask_embedding, pixels, text_SK, classifier)
                )
            if index == last:
                break
            if index:
                x = self._with_sam(index - 1, x, mask_embedding, pixels)
            level = self._injected(index, levels, pixels)
            x = self.transformer_cross_attention_layers[index](
                x,
                level.keys_BND,
                level.values_BND,
                position_BQD=position,
                allowed_BQN=_allowed(mask_embedding.detach(), level.mask_features_BDN),
            )
            x = self.transformer_self_attention_layers[index](x, position)
            x = self.transformer_ffn_layers[index](x)
        return DecoderOutput(final=predictions[-1], auxiliary=predictions[:-1])

    def _with_sam(
        self, index: int, x: Tensor, mask_embedding: Tensor, pixels: PixelFeatures
    ) -> Tensor:
        """The queries after layer `index`; where SAM's features are injected, with these."""
        if self.injection is None or index % self.num_levels != self.injection.query_layer:
            return x
        assert pixels.sam is not None
        return inject_queries(
            x,
            self._mask_pooling_proj,
            pixels.sam.neck_BDhw,
            mask_embedding.detach(),
            pixels.mask_features_BDHW,
        )

    def _injected(
        self, index: int, levels: list[_LevelTokens], pixels: PixelFeatures
    ) -> _LevelTokens:
        """The tokens that layer `index` attends to; where SAM's are injected, for it alone."""
        place = index % self.num_levels
        level = levels[place]
        if self.injection is None or place != self.injection.feature_layer:
            return level
        assert pixels.sam is not None
        assert pixels.sam.encoded_BDhw is not None
        embed = self.level_embed.weight[:, :, None, None]
        coarse = (pixels.levels[0].shape[-2], pixels.levels[0].shape[-1])
        tokens = inject_features(
            self.transformer_cross_attention_layers_sam[index],  # type: ignore[arg-type]
            pixels.levels[place] + embed[place],
            pixels.sam.encoded_BDhw + embed[0],
            coarse,
        )
        keys = tokens + level.position_ND if self.injection.keep_positions else tokens
        return replace(level, keys_BND=keys, values_BND=tokens)

    def _level_tokens(self, pixels: PixelFeatures, index: int) -> _LevelTokens:
        """What the cross-attentions to one level share."""
        level = pixels.levels[index]
        size = (level.shape[-2], level.shape[-1])
        # Contiguous tokens: three layers project them, and each would copy strided ones.
        tokens = level.flatten(2).transpose(1, 2).contiguous()
        values = tokens + self.level_embed.weight[index]
        position = sine_position_code(size, level.shape[1], device=level.device)
        with torch.no_grad():
            mask_features = resize_mask_logits(pixels.mask_features_BDHW, size).flatten(2)
        return _LevelTokens(values + position, values, position, mask_features)

    def _predict(
        self,
        normed_BQD: Tensor,
        mask_embedding_BQD: Tensor,
        pixels: PixelFeatures,
        text_SK: Tensor,
        classifier: TextClassifier,
    ) -> MaskPrediction:
        """Class and mask logits of the (normalised) queries at full resolution."""
        mask_logits = torch.einsum("bqd,bdhw->bqhw", mask_embedding_BQD, pixels.mask_features_BDHW)
        pooled = pool_by_masks(pixels.mask_features_BDHW, mask_logits)
        embedding = self.class_embed(normed_BQD + self._mask_pooling_proj(pooled))
        scale = self.logit_scale.exp().clamp(max=100)
        logits_BQS = scale * F.normalize(embedding, dim=-1) @ text_SK.T
        class_logits = torch.cat(
            (classifier.max_over_synonyms(logits_BQS[..., :-1]), logits_BQS[..., -1:]), dim=-1
        )
        return MaskPrediction(class_logits, mask_logits)


@dataclass(frozen=True)
class _LevelTokens:
    keys_BND: Tensor
    values_BND: Tensor
    position_ND: Tensor
    mask_features_BDN: Tensor


@torch.no_grad()
def _allowed(mask_embedding_BQD: Tensor, mask_features_BDN: Tensor) -> Tensor:
    """Where queries may attend (B, Q, N): sigmoid(mask) >= 0.5; everywhere if that is nowhere."""
    inside = torch.bmm(mask_embedding_BQD, mask_features_BDN) >= 0
    return inside | ~inside.any(-1, keepdim=True)
