"""The trained part of the model: pixel decoder and transformer decoder under released names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import SEM_SEG_HEADS_REGISTRY
from torch import Tensor, nn

from frozenseg.mask_classification.decoder import TRANSFORMER_DECODER_REGISTRY, DecoderOutput
from frozenseg.structures import TextClassifier


class MaskClassificationHead(nn.Module):
    """`pixel_decoder` then `predictor`; classes are compared with a text classifier."""

    @configurable
    def __init__(self, *, pixel_decoder: nn.Module, predictor: nn.Module) -> None:
        super().__init__()
        self.pixel_decoder = pixel_decoder
        self.predictor = predictor

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: Mapping[str, ShapeSpec]) -> dict[str, Any]:
        """Both parts, built from their registries.

        The text channels K are the channels of the pseudo-map "text" of `input_shape`; a map "sam"
        says that SAM's features are injected.
        """
        head = cfg.MODEL.SEM_SEG_HEAD
        missing = [name for name in head.IN_FEATURES if name not in input_shape]
        if missing:
            raise ValueError(
                f"MODEL.SEM_SEG_HEAD.IN_FEATURES names {missing}, which the backbone "
                f"{cfg.MODEL.BACKBONE.NAME} does not give; it gives {sorted(input_shape)}"
            )
        sam_channels = input_shape["sam"].channels if "sam" in input_shape else None
        build_decoder = TRANSFORMER_DECODER_REGISTRY.get(
            cfg.MODEL.MASK_FORMER.TRANSFORMER_DECODER_NAME
        )
        return {
            "pixel_decoder": SEM_SEG_HEADS_REGISTRY.get(head.PIXEL_DECODER_NAME)(cfg, input_shape),
            "predictor": build_decoder(
                cfg, head.CONVS_DIM, input_shape["text"].channels, sam_channels=sam_channels
            ),
        }

    def forward(
        self,
        features: Mapping[str, Tensor],
        classifier: TextClassifier,
        void_embedding_1K: Tensor,
        *,
        auxiliary: bool = False,
    ) -> DecoderOutput:
        """Maps of the frozen encoder to class and mask logits of every query."""
        pixels = self.pixel_decoder(features)
        return self.predictor(pixels, classifier, void_embedding_1K, auxiliary=auxiliary)


@SEM_SEG_HEADS_REGISTRY.register()
class FCCLIPHead(MaskClassificationHead):
    """The head under the name that released FC-CLIP configs use."""


@SEM_SEG_HEADS_REGISTRY.register()
class FrozenSegHead(MaskClassificationHead):
    """The same head under the name that released FrozenSeg configs use."""
