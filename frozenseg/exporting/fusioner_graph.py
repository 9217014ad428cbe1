"""A Fusioner as one function of windows and words: what is exported.

Legend: B windows, S words (synonyms), R rivals, K text channels, c pixels of a window's side.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from frozenseg.exporting.graph import normalised, valid_pixels
from frozenseg.fusioner.model import Fusioner
from frozenseg.fusioner.zs3net import ZS3Net


class WindowGraph(nn.Module):
    """Windows and text vectors in, the words' logits at every pixel out.

    What `frozenseg.exporting.windows` puts together to an image; the maximum over synonyms is
    taken there.

    Attributes:
        inputs, outputs: names of the file's.
        cases: what an export is compared on.
    """

    outputs = ("logits",)
    # What an export is compared with the model on: arguments of `random_inputs`.
    cases = ({"batch": 1, "words": 1}, {"batch": 2, "words": 5}, {"batch": 3, "words": 12})

    def __init__(self, model: Fusioner) -> None:
        """Raises: ValueError for ZS3Net, which trains a classifier for every list of words."""
        super().__init__()
        if isinstance(model.method, ZS3Net):
            raise ValueError(
                "MODEL.FUSIONER.METHOD zs3net cannot be exported: it trains a classifier whenever "
                "the words change. Export early, late or spnet"
            )
        self.model = model
        rivals = ("rivals",) if model.method.has_rivals else ()
        self.inputs = ("image", "size", "text", *rivals)

    def forward(
        self, image_B3cc: Tensor, size_B2: Tensor, text_SK: Tensor, rivals_RK: Tensor | None = None
    ) -> tuple[Tensor]:
        """One output: logits (B, S, c, c), float32.

        Args:
            image_B3cc: float32 RGB in 0..255; what is outside of `size` is not looked at.
            size_B2: int64, height and width of the part of each window that is image.
            text_SK: unit vectors of the words that are asked for.
            rivals_RK: of what they compete with (`SegmentationMethod`), where the method has any.
        """
        model: Any = self.model
        images = normalised(image_B3cc, valid_pixels(size_B2, image_B3cc), model)
        rivals_RK = text_SK[:0] if rivals_RK is None else rivals_RK
        size = (model.crop, model.crop)
        return (model.method(model.patches(images), text_SK, size, rivals_RK),)

    def dynamic_shapes(self) -> tuple[dict[int, Any], ...]:
        """Which sizes of the inputs are free: windows, words, rivals."""
        windows, words, rivals = map(torch.export.Dim, ("windows", "words", "rivals"))
        return ({0: windows}, {0: windows}, {0: words}, {0: rivals})[: len(self.inputs)]

    def random_inputs(self, *, batch: int = 2, words: int = 5, seed: int = 0) -> tuple[Tensor, ...]:
        """Noise and random words; the images end 3 and 7 pixels before the windows do."""
        draw = torch.Generator().manual_seed(seed)
        model: Any = self.model
        side, channels = model.crop, model.language.embed_dim
        return (
            255 * torch.rand(batch, 3, side, side, generator=draw),
            torch.tensor([[side - 3, side - 7]] * batch),
            *(
                nn.functional.normalize(torch.randn(count, channels, generator=draw), dim=-1)
                for count in (words, 4)[: len(self.inputs) - 2]
            ),
        )
