"""A mask-classification model as one function of tensors: what is exported.

Legend: B images, Q queries, C classes, C1 = C + 1 (void last), S synonyms, K text channels,
H, W pixels of the padded images, h, w cells of the mask logits (stride 4).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frozenseg.mask_classification.model import MaskClassificationModel
from frozenseg.structures import TextClassifier

INPUTS = ("image", "size", "text", "class_of_synonym", "seen")
# What an export is compared with the model on: arguments of `random_inputs`.
CASES: tuple[dict[str, int], ...] = (
    {"batch": 1, "rows": 3, "columns": 4, "words": 7, "classes": 5},
    {"batch": 1, "rows": 5, "columns": 3, "words": 9, "classes": 9},
    {"batch": 2, "rows": 4, "columns": 4, "words": 12, "classes": 4},
)


class GraphInputs(NamedTuple):
    """What the graph takes, in the order of `INPUTS`.

    Attributes:
        image_B3HW: float32 RGB in 0..255; what is outside of `size` is not looked at.
        size_B2: int64, height and width of each image, in the top left corner.
        text_SK: unit vectors of the synonyms.
        class_of_synonym_S: int64, ascending; every class has one or more.
        seen_C: bool, the class was seen in training.
    """

    image_B3HW: Tensor
    size_B2: Tensor
    text_SK: Tensor
    class_of_synonym_S: Tensor
    seen_C: Tensor


class ImageGraph(nn.Module):
    """Images and text vectors in; what `solve_tasks` takes out: the queries' classes and masks.

    Everything of the model but the text tower, SAM's proposals (mask ensemble) and the tasks.
    """

    inputs, cases = INPUTS, CASES

    def __init__(self, model: MaskClassificationModel, *, with_embeddings: bool = False) -> None:
        """Args: with_embeddings: CLIP's embeddings of the masks are an output, too.

        Raises: ValueError for a model without a decoder.
        """
        super().__init__()
        if model.sem_seg_head is None:
            raise ValueError(
                "a Mask-Adapter without a decoder cannot be exported: `frozenseg weights join` "
                "gives it to a model"
            )
        self.model = model
        settings = model.class_path.ensemble
        own_panoptic = settings.void_trust and not settings.void_trust_everywhere
        self.outputs = (
            "class_log_probs",
            *(("panoptic_log_probs",) if own_panoptic else ()),
            "mask_logits",
            *(("clip_embeddings",) if with_embeddings else ()),
        )

    def forward(
        self,
        image_B3HW: Tensor,
        size_B2: Tensor,
        text_SK: Tensor,
        class_of_synonym_S: Tensor,
        seen_C: Tensor,
    ) -> tuple[Tensor, ...]:
        """The `outputs`: log-probabilities (B, Q, C1), mask logits (B, Q, h, w), embeddings
        (B, Q, K), not normalised.
        """
        model: Any = self.model
        valid_B1HW = valid_pixels(size_B2, image_B3HW)
        images, sam_images = normalised(image_B3HW, valid_B1HW, model), None
        if model.injects_sam:
            sam_images = F.interpolate(
                normalised(image_B3HW, valid_B1HW, model.sam),
                size=(model.sam.image_size, model.sam.image_size),
                mode="bilinear",
                align_corners=False,
            )
        features = model.feature_maps(images, sam_images)
        classifier = TextClassifier(text_SK, class_of_synonym_S, seen_C.shape[0])
        prediction = model.sem_seg_head(features, classifier, model.void_embedding.weight).final
        shared, panoptic = model.class_path(prediction, features, classifier, seen_C)
        found = {
            "class_log_probs": shared,
            "panoptic_log_probs": panoptic,
            "mask_logits": prediction.mask_logits_BQHW,
        }
        if "clip_embeddings" in self.outputs:
            found["clip_embeddings"] = model.class_path.embed_masks(
                prediction.mask_logits_BQHW, features
            )[0]
        return tuple(found[name] for name in self.outputs)

    def random_inputs(self, **case: int) -> GraphInputs:
        """See the function of this name."""
        return random_inputs(self.model, **case)

    def dynamic_shapes(self) -> tuple[dict[int, Any], ...]:
        """See the function of this name."""
        return dynamic_shapes(self.model.size_divisibility)


def valid_pixels(size_B2: Tensor, image_B3HW: Tensor) -> Tensor:
    """Which pixels belong to the images: bool (B, 1, H, W)."""
    height, width = image_B3HW.shape[-2:]
    rows_BH = torch.arange(height, device=size_B2.device) < size_B2[:, :1]
    columns_BW = torch.arange(width, device=size_B2.device) < size_B2[:, 1:]
    return (rows_BH[:, :, None] & columns_BW[:, None, :])[:, None]


def normalised(image_B3HW: Tensor, valid_B1HW: Tensor, statistics: Any) -> Tensor:
    """(image - mean) / std; zero outside of the images."""
    normalised = (image_B3HW - statistics.pixel_mean) / statistics.pixel_std
    return torch.where(valid_B1HW, normalised, 0.0)


def dynamic_shapes(divisor: int) -> tuple[dict[int, Any], ...]:
    """Sizes of the inputs that are free: batch, height, width (multiples of the divisor), words."""
    dim = torch.export.Dim
    batch, words = dim("batch"), dim("words")
    image = {0: batch, 2: divisor * dim("rows"), 3: divisor * dim("columns")}
    return image, {0: batch}, {0: words}, {0: words}, {0: dim("classes")}


def random_inputs(
    model: MaskClassificationModel,
    *,
    batch: int = 2,
    rows: int = 3,
    columns: int = 4,
    words: int = 7,
    classes: int = 5,
    seed: int = 0,
) -> GraphInputs:
    """Smooth noise and random words; the images end 5 and 9 pixels before the padded size.

    Args: rows, columns: of the image, in units of the divisor.
    """
    draw = torch.Generator().manual_seed(seed)
    height, width = rows * model.size_divisibility, columns * model.size_divisibility
    coarse = torch.rand(batch, 3, 2 * rows, 2 * columns, generator=draw)
    image = F.interpolate(255 * coarse, size=(height, width), mode="bicubic").clamp(0, 255)
    text = torch.randn(words, model.backbone.embed_dim, generator=draw)
    return GraphInputs(
        image,
        torch.tensor([[height - 5, width - 9]] * batch),
        F.normalize(text, dim=-1),
        torch.arange(words) * classes // words,
        torch.rand(classes, generator=draw) < 0.5,
    )
