"""Typed values that pass between packages. Importing them imports no torch.

Legend: B images, Q queries, C classes, S synonyms (rows of a text classifier), K text channels,
H and W pixels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch import Tensor

# Values of label maps (int32) beside class indices.
BACKGROUND = -1  # none of the classes asked for
IGNORED = -2  # neither learned nor scored; in files it is the dataset's `ignore_label`
OTHER_CLASS = -3  # a class of the dataset that the vocabulary lacks: a held-out one


@dataclass(frozen=True)
class TextClassifier:
    """Text embeddings of a vocabulary: one unit vector for each synonym of each class.

    Attributes:
        embeddings_SK: L2-normalised text embeddings, one row per synonym, classes in order.
        class_of_synonym_S: class index of every row, int64, ascending.
        num_classes: number of classes C; every class owns at least one row.
    """

    embeddings_SK: Tensor
    class_of_synonym_S: Tensor
    num_classes: int

    def to(self, device: torch.device | str) -> TextClassifier:
        """The same classifier on another device."""
        return replace(
            self,
            embeddings_SK=self.embeddings_SK.to(device),
            class_of_synonym_S=self.class_of_synonym_S.to(device),
        )

    def first_rows(self) -> Tensor:
        """Embeddings (C, K) of the first synonym of every class."""
        import torch

        classes = torch.arange(self.num_classes, device=self.class_of_synonym_S.device)
        return self.embeddings_SK[torch.searchsorted(self.class_of_synonym_S, classes)]

    def select(self, classes_T: Tensor) -> TextClassifier:
        """The classifier of some of the classes, given by ascending indices."""
        import torch

        place_C = classes_T.new_full((self.num_classes,), -1)
        place_C[classes_T] = torch.arange(len(classes_T), device=classes_T.device)
        place_S = place_C[self.class_of_synonym_S]
        kept_S = place_S >= 0
        return TextClassifier(self.embeddings_SK[kept_S], place_S[kept_S], len(classes_T))

    def max_over_synonyms(self, logits: Tensor) -> Tensor:
        """Class logits (..., C): the maximum over each class's synonyms of `logits` (..., S)."""
        import torch

        if not torch.compiler.is_compiling() and logits.shape[-1] == self.num_classes:
            return logits
        index = self.class_of_synonym_S.expand(logits.shape)
        empty = logits.new_full((*logits.shape[:-1], self.num_classes), float("-inf"))
        return empty.scatter_reduce(-1, index, logits, reduce="amax", include_self=False)


@dataclass(frozen=True)
class MaskPrediction:
    """What one prediction head says about every query.

    Attributes:
        class_logits_BQC1: class logits; the last column is void, so C counts classes plus one.
        mask_logits_BQHW: mask logits at the resolution of the per-pixel embedding (stride 4).
    """

    class_logits_BQC1: Tensor
    mask_logits_BQHW: Tensor


@dataclass(frozen=True)
class LossDivisor:
    """What a loss of a batch is divided by; with it a batch can be computed in parts.

    Attributes:
        count: of one training sample, such as its number of masks.
        over_processes: divided by the mean count of all processes, not by this process's own.
        at_least: smaller counts of a batch or of a part are raised to it.
    """

    count: Callable[[Mapping[str, Any]], float]
    over_processes: bool = False
    at_least: float = 0.0


PER_IMAGE = LossDivisor(lambda sample: 1)


@dataclass(frozen=True)
class ImageGeometry:
    """How an image lies in the padded network input, and the size its result should have.

    All sizes are (height, width) in pixels. The image occupies the top-left corner of the
    padded input; results are resized from the image's size to the output's.
    """

    padded: tuple[int, int]
    image: tuple[int, int]
    output: tuple[int, int]

    def image_cells(self, size: tuple[int, int]) -> tuple[slice, slice]:
        """Rows and columns, of a map of `size` over the padded input, that show the image."""
        sides = zip(size, self.image, self.padded, strict=True)
        rows, columns = (slice(math.ceil(cells * side / whole)) for cells, side, whole in sides)
        return rows, columns


@dataclass(frozen=True)
class EnsembleSettings:
    """How decoder and CLIP share the class decision.

    Attributes:
        enabled: off means the decoder alone decides, and CLIP's class logits are not computed.
        alpha, beta: exponent of CLIP's probability for seen and for unseen classes.
        on_valid_mask: leave masks without a positive cell on the CLIP map to the decoder.
        void_trust: COAT's weight w: how much a sure CLIP lowers the probability of void. The
            panoptic task has it alone: it lowers mIoU and AP.
        void_trust_everywhere: all tasks have it, as in the released OVRCOAT.
    """

    enabled: bool = True
    alpha: float = 0.4
    beta: float = 0.8
    on_valid_mask: bool = False
    void_trust: float = 0.0
    void_trust_everywhere: bool = False


@dataclass(frozen=True)
class TaskSettings:
    """Which tasks to solve, and how. Raises: ValueError for a share outside [0, 1].

    Attributes:
        semantic, panoptic, instance: the tasks.
        object_mask_threshold: panoptic: a query takes part if its score is above. The config's keys
            and a dataset's row decide it.
        overlap_threshold: panoptic: a segment must win this share of its own mask.
        panoptic_max_iou: panoptic: a query whose mask has a larger IoU with a better one's is
            dropped; 1: none, as published (`panoptic.drop_duplicates`).
        detections_per_image: instance: (query, class) pairs chosen. With `panoptic` on, pairs
            of stuff classes are then dropped, as the released code does.
        semantic_at_padded_size: semantic: sum at the padded input's size, then crop and resize.
        semantic_argmax_only: semantic: only the best class and its score, no (C, H, W) tensor.
        query_masks: every query's mask with its best class, for recall: Q masks of the output.
        sam_alpha: semantic: weight of SAM's proposals in the scores of unseen classes.
        proposals_as_queries: panoptic, instance: SAM's proposals become additional queries: those
            of the mask ensemble that no query stands for (`mask_ensemble.add_as_queries`).
        proposal_weight: factor of their class probabilities.
        proposal_max_iou: a proposal with a larger IoU with some query's mask is left out.
    """

    _: KW_ONLY
    object_mask_threshold: float
    semantic: bool = True
    panoptic: bool = True
    instance: bool = True
    overlap_threshold: float = 0.8
    panoptic_max_iou: float = 1.0
    detections_per_image: int = 100
    semantic_at_padded_size: bool = False
    semantic_argmax_only: bool = False
    query_masks: bool = False
    sam_alpha: float = 0.2
    proposals_as_queries: bool = False
    proposal_weight: float = 0.4
    proposal_max_iou: float = 0.5

    def __post_init__(self) -> None:
        for name in ("sam_alpha", "proposal_weight", "proposal_max_iou", "panoptic_max_iou"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ValueError(f"{name} = {getattr(self, name)}: must lie in [0, 1]")
