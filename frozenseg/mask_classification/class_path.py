"""How a mask gets its class: the one path of FC-CLIP and its relatives, made of four parts.

1. Pooling: CLIP looks at a mask through the mean inside it, a ResNet's attention pool, a
   Mask-Adapter's maps, or a part of your own (`MASK_POOLING_REGISTRY`).
2. Text: the words' embeddings as they are, or as the image changes them (MAFT+).
3. Ensemble: decoder and CLIP share the decision, with an exponent for seen and for unseen classes.
4. Void: a CLIP that is sure of a class lowers the probability of "no object" (COAT).

Legend: B images, Q queries (masks), S synonyms, C classes, C1 = C + 1 (void last), K channels of
CLIP's joint space, H and W pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple, Protocol

import torch
import torch.nn.functional as F
from detectron2.utils.registry import Registry
from torch import Tensor, nn

from frozenseg.encoders.clip.backbone import FrozenCLIP
from frozenseg.inference.class_ensemble import ensemble_classes
from frozenseg.mask_classification.content_text import ContentTransfer, dense_embedding
from frozenseg.mask_classification.mask_adapter import MaskAdapter, embed_by_maps
from frozenseg.structures import EnsembleSettings, MaskPrediction, TextClassifier

DENSE, CELLS = "clip_vis_dense", "clip_cells"  # CLIP's last map, and the same in the joint space

MASK_POOLING_REGISTRY = Registry("MASK_POOLING")
MASK_POOLING_REGISTRY.__doc__ = (
    "Parts of MODEL.MASK_POOLING: called with (cfg, backbone), each gives a `MaskPooling`."
)


class MaskPooling(Protocol):
    """A way in which CLIP looks at masks."""

    def __call__(
        self, mask_logits_BQHW: Tensor, features: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """What `ClassPath.embed_masks` gives.

        Args:
            mask_logits_BQHW: of any size; 1 and -1 where masks do not come from the decoder.
            features: `clip_vis_dense` (B, V, h, w) is CLIP's last map.
        """


class ClassLogits(NamedTuple):
    """Final class logits (B, Q, C + 1), void last; the panoptic task may have its own.

    Attributes:
        shared: those of the other tasks.
        panoptic: the same tensor unless COAT changes them for this task alone.
    """

    shared: Tensor
    panoptic: Tensor


class ClassPath:
    """The four parts; the modules among them belong to the model, under its parameter names.

    Attributes:
        backbone: CLIP.
        void: the learned embedding of "no object", (1, K) as its weight.
        ensemble: the numbers of the third and fourth part.
        mask_adapter: how CLIP looks at masks; None: as its tower does.
        pooling: how it looks at them instead of both.
        mask_threshold: what it sees of a mask: the pixels of a probability above.
        cdt: changes the text by the image; None: plain text.
        cells: what these two read of CLIP's map, see `dense_embedding`.
    """

    def __init__(
        self,
        backbone: FrozenCLIP,
        void: nn.Embedding,
        ensemble: EnsembleSettings,
        *,
        mask_adapter: MaskAdapter | None = None,
        mask_threshold: float = 0.5,
        pooling: MaskPooling | None = None,
        cdt: ContentTransfer | None = None,
        cells: str = "per_position",
    ) -> None:
        self.backbone, self.void, self.ensemble = backbone, void, ensemble
        self.mask_adapter, self.mask_threshold, self.cdt = mask_adapter, mask_threshold, cdt
        self.pooling, self.cells = pooling, cells

    def add_cells(self, features: dict[str, Tensor]) -> None:
        """Adds CLIP's map in the joint space to the maps, where a part reads it."""
        if self.mask_adapter is not None or self.cdt is not None:
            features[CELLS] = dense_embedding(
                features[DENSE], self.backbone.embed_vectors, self.cells
            )

    def embed_masks(
        self, mask_logits_BQHW: Tensor, features: Mapping[str, Tensor]
    ) -> tuple[Tensor, Tensor]:
        """CLIP's embeddings (B, Q, K) of masks, not normalised, and which have a cell on its map.

        Returns: the latter as bool (B, Q). For the Mask-Adapter empty masks are masks like others.
        """
        if self.pooling is not None:
            return self.pooling(mask_logits_BQHW, features)
        if self.mask_adapter is None:
            return self.backbone.pool_masks(features[DENSE], mask_logits_BQHW)
        threshold = torch.tensor(self.mask_threshold).logit()
        embeddings = self.embed_by_adapter(mask_logits_BQHW > threshold, features)
        return embeddings, torch.ones_like(embeddings[..., 0], dtype=torch.bool)

    def embed_by_adapter(self, masks_BNHW: Tensor, features: Mapping[str, Tensor]) -> Tensor:
        """The Mask-Adapter's embeddings (B, N, K) of masks, bool or in [0, 1], not normalised."""
        assert self.mask_adapter is not None
        maps = self.mask_adapter(features[CELLS], masks_BNHW)
        return embed_by_maps(features[DENSE], maps, self.backbone.embed_vectors)

    def text(self, text_SK: Tensor, features: Mapping[str, Tensor]) -> Tensor:
        """The text of CLIP's decision: `text_SK`, or what each image makes of it, (B, S, K).

        The latter are not unit vectors. Source: MAFT+, arXiv:2408.00744, content-dependent
        transfer.
        """
        return text_SK if self.cdt is None else self.cdt(text_SK, features[CELLS])

    def clip_logits(
        self,
        embeddings_BQK: Tensor,
        classifier: TextClassifier,
        features: Mapping[str, Tensor],
        *,
        with_void: bool = False,
    ) -> Tensor:
        """CLIP's class logits (B, Q, C) of mask embeddings: of a class, its nearest synonym's.

        Args: with_void: the logit of void behind them, (B, Q, C + 1).
        """
        unit_BQK = F.normalize(embeddings_BQK, dim=-1)
        text_SK, words = classifier.embeddings_SK, classifier.embeddings_SK.shape[0]
        if with_void:
            text_SK = torch.cat((text_SK, F.normalize(self.void.weight, dim=-1)))
        text = self.text(text_SK, features)
        cosine = classifier.max_over_synonyms(unit_BQK @ text[..., :words, :].mT)
        if with_void:
            cosine = torch.cat((cosine, unit_BQK @ text[..., words:, :].mT), dim=-1)
        return self.backbone.logit_scale * cosine

    def __call__(
        self,
        prediction: MaskPrediction,
        features: Mapping[str, Tensor],
        classifier: TextClassifier,
        seen_C: Tensor,
    ) -> ClassLogits:
        """Final class logits: log-probabilities.

        Args: seen_C: bool, the classes that were seen in training.
        Source: FC-CLIP, arXiv:2308.02487, section 3.3 (geometric ensemble).
        """
        settings, out_logits, valid = self.ensemble, None, None
        if settings.enabled:
            embeddings, valid_BQ = self.embed_masks(prediction.mask_logits_BQHW, features)
            out_logits = self.clip_logits(embeddings, classifier, features)
            valid = valid_BQ if settings.on_valid_mask else None

        def ensemble(void_trust: float) -> Tensor:
            return ensemble_classes(
                prediction.class_logits_BQC1,
                out_logits,
                seen_C,
                alpha=settings.alpha,
                beta=settings.beta,
                valid_BQ=valid,
                void_trust=void_trust,
            )

        trust = settings.void_trust
        shared = ensemble(trust if settings.void_trust_everywhere else 0.0)
        alike = settings.void_trust_everywhere or not trust
        return ClassLogits(shared, shared if alike else ensemble(trust))
