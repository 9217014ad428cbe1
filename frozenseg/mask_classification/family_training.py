"""How FC-CLIP's descendants train: a Mask-Adapter on frozen parts, or CLIP along with the decoder.

Legend: B images, Q queries, N slots, H, W pixels, h, w cells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from frozenseg.encoders.clip.backbone import StudentCLIP
from frozenseg.mask_classification.adapter_masks import (
    MixedMasks,
    ground_truth_masks,
    mixed_masks,
)
from frozenseg.mask_classification.class_path import DENSE, ClassPath
from frozenseg.mask_classification.criterion import Matches
from frozenseg.mask_classification.family_losses import (
    clip_class_loss,
    compensation_loss,
    gram_loss,
    mask_consistency_loss,
    ranking_loss,
    slot_class_loss,
)
from frozenseg.mask_classification.matcher import Target
from frozenseg.structures import PER_IMAGE, LossDivisor, TextClassifier

# A part of a batch counts like a process of its own: each averages over the masks that it has.
LOSS_DIVISORS: Mapping[str, LossDivisor] = dict.fromkeys(
    ("loss_ce", "loss_cosine", "loss_oov_ce", "ranking_loss", "rc_loss", "dist_loss"), PER_IMAGE
)


@dataclass(frozen=True)
class AdapterTraining:
    """A Mask-Adapter's two stages: true masks alone (warm-up), then predicted ones among them.

    Attributes:
        masks: how many masks of an image, and which predicted ones.
        class_weight, cosine_weight: of the two losses; the warm-up has the first alone.
        on_content_text: of MAFT+'s adapter the text is the image's, true masks' embeddings get
            gradients too, and "no object" trains in the warm-up alone.
        released: see `mask_consistency_loss`.
    Source: Mask-Adapter, arXiv:2412.04533, section 3.3.
    """

    masks: MixedMasks
    class_weight: float = 2.0
    cosine_weight: float = 5.0
    on_content_text: bool = False
    released: bool = False

    def freeze(self, model: nn.Module, *, warm_up: bool) -> None:
        """Leaves the adapter's gradients, and those of "no object" where they are wanted."""
        trained = ("mask_adapter.", *(("void_",) if warm_up or not self.on_content_text else ()))
        for name, parameter in model.named_parameters():
            parameter.requires_grad_(name.startswith(trained))

    def __call__(
        self,
        class_path: ClassPath,
        features: Mapping[str, Tensor],
        classifier: TextClassifier,
        targets: Sequence[Target],
        mask_logits_BQhw: Tensor | None,
    ) -> dict[str, Tensor]:
        """Weighted losses. Args: mask_logits_BQhw: of the decoder; None in the warm-up."""
        if mask_logits_BQhw is None:
            chosen = ground_truth_masks(targets, self.masks.num_ground_truth)
        else:
            chosen = mixed_masks(targets, mask_logits_BQhw, self.masks)
        embeddings = class_path.embed_by_adapter(chosen.masks_BNHW, features)
        logits = class_path.clip_logits(embeddings, classifier, features, with_void=True)
        losses = {"loss_ce": self.class_weight * slot_class_loss(logits, chosen.classes_BN)}
        if mask_logits_BQhw is not None:
            predicted, paired = self.masks.predicted, self.masks.paired
            losses["loss_cosine"] = self.cosine_weight * mask_consistency_loss(
                embeddings[:, predicted],
                embeddings[:, paired],
                chosen.classes_BN[:, predicted],
                detach=not self.on_content_text,
                released=self.released,
            )
        return losses


@dataclass(frozen=True)
class StudentTraining:
    """What CLIP's image tower learns from, beside the decoder's losses (MAFT+, OVRCOAT).

    Attributes:
        detached: the decoder's losses do not reach CLIP.
        class_weight, ranking_weight, compensation_weight, gram_weight: of CLIP's own losses, see
            `family_losses`; 0: not computed.
        released: their released forms.
    """

    detached: bool = False
    class_weight: float = 0.0
    ranking_weight: float = 0.0
    compensation_weight: float = 0.0
    gram_weight: float = 0.0
    released: bool = False

    def for_decoder(self, features: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The maps that the decoder is given."""
        return {name: m.detach() if self.detached else m for name, m in features.items()}

    def __call__(
        self,
        class_path: ClassPath,
        images_B3HW: Tensor,
        features: Mapping[str, Tensor],
        classifier: TextClassifier,
        mask_logits_BQhw: Tensor,
        targets: Sequence[Target],
        matches: Matches,
    ) -> dict[str, Tensor]:
        """CLIP's own weighted losses. Args: mask_logits_BQhw, matches: of the last prediction."""
        losses: dict[str, Tensor] = {}
        if self.class_weight or self.ranking_weight:
            embeddings, _ = class_path.embed_masks(mask_logits_BQhw.detach(), features)
            logits = class_path.clip_logits(embeddings, classifier, features).float()
        with torch.autocast(images_B3HW.device.type, enabled=False):
            if self.class_weight:
                own = clip_class_loss(logits, targets, matches, released=self.released)
                losses["loss_oov_ce"] = self.class_weight * own
            if self.ranking_weight:
                own = ranking_loss(logits, mask_logits_BQhw, targets)
                losses["ranking_loss"] = self.ranking_weight * own
            if not (self.compensation_weight or self.gram_weight):
                return losses
            student = features[DENSE]
            assert isinstance(class_path.backbone, StudentCLIP)
            teacher = class_path.backbone.teacher_map(images_B3HW)
            if self.compensation_weight:
                own = compensation_loss(student, teacher, released=self.released)
                losses["rc_loss"] = self.compensation_weight * own
            if self.gram_weight:
                losses["dist_loss"] = self.gram_weight * gram_loss(student, teacher)
        return losses
