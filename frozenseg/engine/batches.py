"""Several images at once, with the results that each of them has alone.

Legend: H and W pixels. Images are RGB uint8 (H, W, 3).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from frozenseg.engine.predictor import Predictor
    from frozenseg.engine.segmentation import Segmentation


def segment_together(
    predictor: Predictor, images: Sequence[NDArray[np.uint8]]
) -> list[Segmentation]:
    """The segmentations of the images in their order, equal to single ones up to rounding.

    Images of one size go through the model together. Those of other sizes do not join them: a batch
    is padded to a common size, and the padding changes what is found.
    """
    found: dict[int, Segmentation] = {}
    for group in _groups(images, alone=depends_on_batch(predictor.model)):
        results = predictor.batch([images[index] for index in group])
        found.update(zip(group, results, strict=True))
    return [found[index] for index in range(len(images))]


def depends_on_batch(model: Any) -> bool:
    """Whether the images of a batch read each other's features (MODEL.SAM_BRANCH "released")."""
    from frozenseg.mask_classification.sam_injection import FlatReadAttention

    return any(isinstance(module, FlatReadAttention) for module in model.modules())


def _groups(images: Sequence[NDArray[np.uint8]], *, alone: bool) -> list[list[int]]:
    """Indices of the images that are computed together."""
    groups: dict[tuple[int, ...], list[int]] = {}
    for index, image_HW3 in enumerate(images):
        key = (index,) if alone else image_HW3.shape
        groups.setdefault(key, []).append(index)
    return list(groups.values())
