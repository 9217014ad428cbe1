"""The frozen SAM: image features for injection, and a model for segment_anything's predictors.

Legend: B images, H and W pixels, h and w cells of a map, D channels of the neck's output.
Source: Segment Anything, arXiv:2304.02643; MobileSAM, arXiv:2306.14289.
"""

from __future__ import annotations

import logging
from contextlib import nullcontext
from typing import Any

import torch
from detectron2.config import CfgNode
from segment_anything.modeling import MaskDecoder, PromptEncoder, Sam
from torch import Tensor

from frozenseg.checkpoints.loading import take_weights
from frozenseg.checkpoints.skip_init import SkipInitialisers, do_weights_follow, wants_meta
from frozenseg.encoders.frozen import Frozen, check_tower_precision
from frozenseg.encoders.sam.attention import SamViT
from frozenseg.encoders.sam.config import read_sam_config
from frozenseg.encoders.sam.tiny_vit import TinyVitEncoder
from frozenseg.encoders.sam.weights import read_sam_weights, where_to_get

logger = logging.getLogger(__name__)


class FrozenSAM(Frozen, Sam):
    """A SAM that never changes: no gradients, always in eval mode, batch norm included.

    Its parameters are named as in segment_anything (`image_encoder.*`, `prompt_encoder.*`,
    `mask_decoder.*`). It serves `segment_anything.SamPredictor` and `SamAutomaticMaskGenerator`;
    its own forward differs from theirs: images in, the image encoder's output out.

    Attributes:
        image_size: side of the square images SAM was trained on, in pixels.
        out_channels: D. stride: pixels of a cell.
        pixel_mean, pixel_std: (3, 1, 1), for raw RGB in 0..255.
    """

    image_encoder: Any
    pixel_mean: Tensor
    pixel_std: Tensor

    def __init__(
        self,
        image_encoder: SamViT | TinyVitEncoder,
        prompt_encoder: PromptEncoder,
        mask_decoder: MaskDecoder,
        *,
        precision: str = "float32",
    ) -> None:
        """`precision` is that of the image encoder, one of `TOWER_PRECISIONS`.

        Raises: ValueError for another precision.
        """
        super().__init__(image_encoder, prompt_encoder, mask_decoder)
        self.precision = check_tower_precision(precision, "MODEL.SAM_PRECISION")
        self.image_size: int = image_encoder.img_size
        self.out_channels, self.stride = image_encoder.out_channels, image_encoder.stride
        self.requires_grad_(False)
        self.train(False)

    @property
    def precision(self) -> str:
        """What the image encoder computes in; its output is float32."""
        return str(self.image_encoder.precision)

    @precision.setter
    def precision(self, precision: str) -> None:
        self.image_encoder.precision = precision

    @torch.no_grad()
    def forward(self, images_B3HW: Tensor) -> Tensor:
        """What the image encoder's neck says, (B, D, h, w) float32.

        Images are normalised with `pixel_mean` and `pixel_std`, of any size whose sides are
        multiples of the stride; SAM was trained on squares of `image_size`.
        """
        return self.image_encoder(images_B3HW)


def load_sam(
    name: str, weights: str = "", device: torch.device | str = "cpu", *, precision: str = "float32"
) -> FrozenSAM:
    """A frozen SAM on `device`.

    Args:
        name: "vit_b", "vit_l", "vit_h", "vit_t" (MobileSAM), or the path of a .json file with
            sizes (see `read_sam_config`).
        weights: path of a .pth or .safetensors file; "" for random numbers, with one warning.
        device: "meta" builds names and shapes only; no file is then read.
        precision: see `FrozenSAM`.

    Raises:
        FileNotFoundError: the config or the weights file is missing.
        ValueError: unknown name, unreadable file, or weights of another model.
    """
    config = read_sam_config(name)
    is_meta = wants_meta(device)
    # Initial values take seconds to compute for large models, and the weights overwrite them.
    follow = do_weights_follow()
    with SkipInitialisers() if weights or is_meta or follow else nullcontext():
        sam = FrozenSAM(*config.build_modules(), precision=precision)
    if is_meta:
        return sam.to("meta")
    if weights:
        state = read_sam_weights(config, weights, sam.state_dict())
        take_weights(sam, state)
    elif not follow:
        logger.warning(
            "SAM %s has random weights: its features mean nothing until weights are loaded. %s",
            name,
            where_to_get(config),
        )
    return sam.to(device)


def build_sam(cfg: CfgNode) -> FrozenSAM:
    """Reads SAM_NAME, SAM_PRETRAINED_WEIGHTS and SAM_PRECISION of MODEL; MODEL.DEVICE "meta"
    builds names and shapes without weights.

    Raises: what `load_sam` raises.
    """
    model: Any = cfg.MODEL
    device = "meta" if model.DEVICE == "meta" else "cpu"
    return load_sam(
        model.SAM_NAME, model.SAM_PRETRAINED_WEIGHTS, device, precision=model.SAM_PRECISION
    )
