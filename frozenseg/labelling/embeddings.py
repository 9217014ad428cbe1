"""CLIP's embedding of every segment, from the maps that the model computed for it anyway.

Legend: B images of one size, S segments, H and W pixels, K numbers of an embedding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from frozenseg.predict.segmentation import Segmentation
    from frozenseg.predict.segmenter import Segmenter

Segment = Callable[[Sequence[Any]], "list[Segmentation]"]


class Embedder:
    """Keeps what the model's `encode` gave last."""

    def __init__(self, segmenter: Segmenter) -> None:
        """Raises: ValueError for a model whose masks CLIP does not see."""
        model: Any = segmenter.predictor.model
        if not hasattr(model, "class_path"):
            raise ValueError(
                f"{segmenter.name} has no CLIP embeddings of masks: leave embeddings out, or take "
                "a model of FC-CLIP's family with PyTorch"
            )
        self._model, self._encode = model, model.encode
        self._last: Any = None
        self._alone = not getattr(model, "batch_independent", True)
        model.encode = self._keep

    def _keep(self, samples: Any) -> Any:
        self._last = self._encode(samples)
        return self._last

    def __call__(
        self, images: Sequence[Any], segment: Segment
    ) -> tuple[list[Segmentation], list[list[list[float]] | None]]:
        """Segmentations of images of one size, and of each its segments' unit vectors (S, K)."""
        import torch
        from torch.nn import functional as F

        from frozenseg.mask_classification.detectron2_io import as_mask_logits, geometry_of

        if self._alone and len(images) > 1:
            alone = [self([image], segment) for image in images]
            return [found[0] for found, _ in alone], [vectors[0] for _, vectors in alone]
        found = segment(images)
        vectors: list[list[list[float]] | None] = []
        padded, features = self._last
        if len(padded.image_sizes) != len(images):  # one at a time, as memory was short
            self._alone = True
            return self(images, segment)
        for index, each in enumerate(found):
            if not each.segments:
                vectors.append([])
                continue
            masks = [torch.from_numpy(segment.mask) for segment in each.segments]
            of_image = {name: maps[index : index + 1] for name, maps in features.items()}
            with torch.no_grad():
                logits = as_mask_logits(
                    torch.stack(masks).to(padded.tensor.device), geometry_of({}, padded, index)
                )
                embedded, _ = self._model.class_path.embed_masks(logits[None], of_image)
                vectors.append(F.normalize(embedded[0].float(), dim=-1).cpu().tolist())
        self._last = None
        return found, vectors
