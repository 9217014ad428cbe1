"""SAM's automatic masks of an image: what it finds without being told where to look.

Legend: M masks, H and W pixels.
Source: Segment Anything, arXiv:2304.02643, appendix B, through segment_anything's generator.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

# The libraries are imported where they are used, so that `--help` of the export can name the
# settings and their defaults without them.
if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

    from frozenseg.encoders.sam.model import FrozenSAM


@dataclass(frozen=True)
class MaskGeneration:
    """How masks are made and which are kept; the defaults are FrozenSeg's (spec, section 7).

    Attributes:
        points_per_side: SAM is asked at a grid of this many points squared.
        pred_iou_thresh: masks are kept whose quality, as SAM itself guesses it, is above.
        stability_score_thresh: masks are kept that change little when their logits are cut at
            +-`stability_score_offset` instead of 0: the IoU of the two is at least this.
        box_nms_thresh: of two masks with boxes of a higher IoU the better one is kept.
        min_mask_region_area: islands and holes of fewer pixels go.
        max_masks: at most so many masks of an image, the largest.
    Their ranges: `frozenseg.config.keys`, TEST.SAM_MASK_GENERATION.
    """

    points_per_side: int = 32
    pred_iou_thresh: float = 0.8
    stability_score_thresh: float = 0.7
    stability_score_offset: float = 1.0
    box_nms_thresh: float = 0.7
    min_mask_region_area: int = 100
    max_masks: int = 50


class SamMasks:
    """Makes the masks of one image after the other."""

    def __init__(
        self,
        sam: FrozenSAM,
        settings: MaskGeneration = MaskGeneration(),
        *,
        points_per_batch: int = 64,
    ) -> None:
        """
        Args:
            sam: moved to its device by the caller.
            points_per_batch: points that SAM answers at once; fewer need less memory.
        """
        from segment_anything import SamAutomaticMaskGenerator

        options = asdict(settings)
        self._max_masks = options.pop("max_masks")
        self._generator = SamAutomaticMaskGenerator(
            sam, points_per_batch=points_per_batch, output_mode="coco_rle", **options
        )

    def __call__(self, image_HW3: NDArray[np.uint8]) -> list[dict[str, Any]]:
        """The masks of an RGB image, largest first, at most `settings.max_masks`, maybe none.

        Returns: dicts with `segmentation` (COCO's compressed RLE: size [H, W] and counts as str),
            `area` in pixels, `predicted_iou` and `stability_score` (both to 4 digits).
        Raises: ValueError unless the image is (H, W, 3) uint8.
        """
        if image_HW3.ndim != 3 or image_HW3.shape[2] != 3 or str(image_HW3.dtype) != "uint8":
            shape = "x".join(map(str, image_HW3.shape))
            raise ValueError(
                f"an RGB image (H, W, 3) uint8 is needed, not {shape} {image_HW3.dtype}"
            )
        if self._vanishes(*image_HW3.shape[:2]):
            return []
        found = [row for row in self._generator.generate(image_HW3) if row["area"] > 0]
        found.sort(key=lambda row: -row["area"])  # stable: equal areas keep the grid's order
        return [
            {key: row[key] for key in ("segmentation", "area")}
            | {key: round(row[key], 4) for key in ("predicted_iou", "stability_score")}
            for row in found[: self._max_masks]
        ]

    def masks(self, image_HW3: NDArray[np.uint8]) -> Tensor:
        """The same as a bool tensor (M, H, W) on the CPU."""
        import torch
        from pycocotools import mask as coco_mask

        rles = [row["segmentation"] for row in self(image_HW3)]
        if not rles:
            return torch.zeros((0, *image_HW3.shape[:2]), dtype=torch.bool)
        return torch.from_numpy(coco_mask.decode(rles)).permute(2, 0, 1).bool().contiguous()

    def _vanishes(self, height: int, width: int) -> bool:
        """True for an image so thin that nothing is left of it at SAM's size."""
        resize = self._generator.predictor.transform
        return min(resize.get_preprocess_shape(height, width, resize.target_length)) < 1
