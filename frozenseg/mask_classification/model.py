"""The meta-architecture: CLIP, mask decoder, open-vocabulary classification.

FC-CLIP, FrozenSeg and their relatives are this one class. They differ in parts that are there or
are not: SAM, how CLIP looks at a mask (`mask_adapter`), whether the image changes the text (`cdt`),
and in the numbers of the class ensemble.

Legend: B images, Q queries, C classes (+1 for void), K text channels, H and W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.structures import ImageList
from numpy.typing import NDArray
from torch import Tensor, nn

from frozenseg.encoders.clip.backbone import FrozenCLIP
from frozenseg.encoders.open_vocabulary import OpenVocabularyModel
from frozenseg.encoders.sam.model import FrozenSAM
from frozenseg.inference.mask_ensemble import Proposals
from frozenseg.inference.postprocess import solve_tasks
from frozenseg.mask_classification.class_path import (
    CELLS,
    DENSE,
    ClassLogits,
    ClassPath,
    MaskPooling,
)
from frozenseg.mask_classification.content_text import ContentTransfer
from frozenseg.mask_classification.criterion import SetCriterion
from frozenseg.mask_classification.decoder import DecoderOutput
from frozenseg.mask_classification.detectron2_io import (
    Samples,
    as_detectron2,
    as_mask_logits,
    geometry_of,
    normalised_images,
    training_targets,
)
from frozenseg.mask_classification.family_training import (
    LOSS_DIVISORS,
    AdapterTraining,
    StudentTraining,
)
from frozenseg.mask_classification.from_config import model_arguments
from frozenseg.mask_classification.head import MaskClassificationHead
from frozenseg.mask_classification.mask_adapter import MaskAdapter
from frozenseg.mask_classification.matcher import Target
from frozenseg.mask_classification.sam_injection import FlatReadAttention
from frozenseg.progress import stage
from frozenseg.structures import (
    EnsembleSettings,
    ImageGeometry,
    LossDivisor,
    MaskPrediction,
    TaskSettings,
)
from frozenseg.vocab import Vocabulary, seen_classes

SURE = 20.0  # logit of a pixel inside a true mask


class MaskClassificationModel(OpenVocabularyModel):
    """Segments with the words of a vocabulary; only decoder and void embedding are trained.

    In training mode `forward` gives weighted losses, in eval mode one dict per image with
    `sem_seg`, `panoptic_seg`, `instances` and `query_masks` (those that are on).
    Source: FC-CLIP, arXiv:2308.02487.
    """

    @configurable
    def __init__(
        self,
        *,
        backbone: FrozenCLIP,
        sem_seg_head: MaskClassificationHead | None,
        criterion: SetCriterion | None,
        size_divisibility: int,
        task_settings: TaskSettings,
        ensemble: EnsembleSettings,
        deep_supervision: bool = True,
        sam: FrozenSAM | None = None,
        injects_sam: bool = False,
        use_sam_masks: bool = False,
        mask_generator: Callable[[NDArray[np.uint8]], Tensor] | None = None,
        mask_adapter: MaskAdapter | None = None,
        mask_threshold: float = 0.5,
        mask_pooling: MaskPooling | None = None,
        oracle_masks: bool = False,
        cdt: ContentTransfer | None = None,
        cells: str = "per_position",
        adapter_training: AdapterTraining | None = None,
        student_training: StudentTraining | None = None,
        **shared: Any,
    ) -> None:
        """
        Args:
            backbone: CLIP.
            sem_seg_head: the decoder; None while a Mask-Adapter learns from true masks alone.
            criterion: the losses of the decoder; None where it does not train.
            sam: the frozen SAM; None where neither the head nor the mask generator needs it.
            injects_sam: the head takes SAM's map "sam".
            use_sam_masks: the mask ensemble, with the samples' `sam_masks` (bool (M, H, W), of
                any size of the whole image), or else with the masks of `mask_generator`.
            mask_generator: masks (M, H, W) of an RGB uint8 image (H, W, 3).
            mask_adapter: how CLIP looks at masks; None: at the mean inside a mask.
            mask_pooling: how it looks at them instead; None: as above.
            oracle_masks: at test time CLIP names the samples' `true_masks` (bool (N, H, W), of any
                size of the whole image), and the decoder is not asked.
            mask_threshold, cells: see `ClassPath`.
            cdt: changes the text of CLIP's decision by the image; None: plain text.
            adapter_training: with a `mask_adapter`, which then trains alone.
            student_training: with a `StudentCLIP`.
            shared: vocabularies, text classifier and pixel statistics (`OpenVocabularyModel`); the
                classes of the training vocabulary count as seen.
        Raises: ValueError if the criterion's class count is not the training vocabulary's.
        """
        super().__init__(**shared)
        if criterion is not None:
            criterion.check_classes(len(self.train_vocabulary))
        self.backbone = backbone
        self.sem_seg_head = sem_seg_head
        self.criterion = criterion
        self.void_embedding = nn.Embedding(1, backbone.embed_dim)
        self.size_divisibility = max(size_divisibility, backbone.size_divisibility)
        self.task_settings = task_settings
        self.deep_supervision = deep_supervision
        self.sam, self.oracle_masks = sam, oracle_masks
        self.injects_sam, self.use_sam_masks = injects_sam, use_sam_masks
        self._mask_generator = mask_generator
        self.mask_adapter, self.mask_pooling, self.cdt = mask_adapter, mask_pooling, cdt
        self.class_path = ClassPath(
            backbone,
            self.void_embedding,
            ensemble,
            mask_adapter=mask_adapter,
            mask_threshold=mask_threshold,
            pooling=mask_pooling,
            cdt=cdt,
            cells=cells,
        )
        self.adapter_training, self.student_training = adapter_training, student_training
        if adapter_training is not None:
            adapter_training.freeze(self, warm_up=sem_seg_head is None)
        self.batch_independent = not any(isinstance(m, FlatReadAttention) for m in self.modules())

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """The keyword arguments that a config describes."""
        return model_arguments(cfg)

    @property
    def loss_divisors(self) -> Mapping[str, LossDivisor]:
        """What each loss is divided by."""
        own = {} if self.criterion is None else self.criterion.loss_divisors
        return {**LOSS_DIVISORS, **own}

    def set_vocabulary(self, vocabulary: Vocabulary) -> None:
        """The words to segment with from now on; text is computed at the next image."""
        super().set_vocabulary(vocabulary)
        self.seen_C = torch.tensor(seen_classes(vocabulary, self.train_vocabulary))
        self.thing_C = torch.tensor(vocabulary.thing_mask)

    def forward(self, batched_inputs: Sequence[Mapping[str, Any]]) -> Any:
        """Losses by name in training mode, else one dict of results per image.

        Each input has `image` (RGB uint8, (3, H, W)); optionally `height` and `width` of the
        wanted output (default: the image's own); in training also `instances` with `gt_classes`
        (N,) and `gt_masks` (N, H, W) bool.
        """
        if self.training:
            images, features = self.encode(batched_inputs)
            targets = training_targets(batched_inputs, images, self.device)
            return self._losses(images.tensor, features, targets)
        with torch.no_grad():
            images, features = self.encode(batched_inputs)
            if self.oracle_masks:
                return self._name_true_masks(batched_inputs, images, features)
            return self.segment_encoded(batched_inputs, images, features)

    def segment_encoded(
        self, samples: Samples, images: ImageList, features: Mapping[str, Tensor]
    ) -> list[dict[str, Any]]:
        """`forward`'s results with the current words, of what `encode` gave."""
        prediction = self._decode(features, self.vocabulary, auxiliary=False).final
        shared, panoptic = self.classify(prediction, features)
        results = []
        for index, sample in enumerate(samples):
            geometry = geometry_of(sample, images, index)
            proposals = self._proposals(sample, geometry, features, index)
            with stage("post-processing"):
                outputs = solve_tasks(
                    shared[index],
                    prediction.mask_logits_BQHW[index],
                    geometry,
                    self.thing_C,
                    self.task_settings,
                    proposals,
                    None if panoptic is shared else panoptic[index],
                )
                results.append(as_detectron2(outputs))
        return results

    def _name_true_masks(
        self, samples: Samples, images: ImageList, features: Mapping[str, Tensor]
    ) -> list[dict[str, Any]]:
        """`forward`'s results of the annotated masks, with CLIP's classes.

        Source: the evaluation of Mask-Adapter's warm-up, arXiv:2412.04533, section 3.3.
        """
        results = []
        for index, sample in enumerate(samples):
            geometry = geometry_of(sample, images, index)
            if "true_masks" not in sample:
                raise ValueError(
                    "TEST.ORACLE_MASKS is on, but the sample has no `true_masks`: images without "
                    "annotations have none"
                )
            logits = as_mask_logits(sample["true_masks"].to(self.device), geometry)
            classes = self.classify_proposals(logits[None], _of_image(features, index))[0]
            outputs = solve_tasks(
                classes, SURE * logits, geometry, self.thing_C, self.task_settings
            )
            results.append(as_detectron2(outputs))
        return results

    def _losses(
        self, images_B3HW: Tensor, features: Mapping[str, Tensor], targets: Sequence[Target]
    ) -> dict[str, Tensor]:
        classifier, words = self.classifier(self.train_vocabulary), self.train_vocabulary
        if self.adapter_training is not None:
            masks = None
            if self.sem_seg_head is not None:
                with torch.no_grad():
                    masks = self._decode(features, words, False).final.mask_logits_BQHW
            return self.adapter_training(self.class_path, features, classifier, targets, masks)
        assert self.criterion is not None
        if self.student_training is None:
            return self.criterion(self._decode(features, words, self.deep_supervision), targets)
        seen = self.student_training.for_decoder(features)
        output = self._decode(seen, words, self.deep_supervision)
        losses, matches = self.criterion.with_matches(output, targets)
        masks = output.final.mask_logits_BQHW
        return losses | self.student_training(
            self.class_path, images_B3HW, features, classifier, masks, targets, matches
        )

    def classify(self, prediction: MaskPrediction, features: Mapping[str, Tensor]) -> ClassLogits:
        """Final class logits (B, Q, C+1) with the current words, see `ClassPath`."""
        classifier = self.classifier(self.vocabulary)
        return self.class_path(prediction, features, classifier, self.seen_C.to(self.device))

    def classify_proposals(self, logits_BMHW: Tensor, features: Mapping[str, Tensor]) -> Tensor:
        """CLIP's classification of any masks: log-probabilities (B, M, C+1), void last.

        Source: FrozenSeg, arXiv:2409.03525, section 3.3 (mask proposals at inference).
        """
        embeddings, _ = self.class_path.embed_masks(logits_BMHW, features)
        logits = self.class_path.clip_logits(
            embeddings, self.classifier(self.vocabulary), features, with_void=True
        )
        return logits.float().log_softmax(-1)

    def _proposals(
        self,
        sample: Mapping[str, Any],
        geometry: ImageGeometry,
        features: Mapping[str, Tensor],
        index: int,
    ) -> Proposals | None:
        """SAM's masks of one image with CLIP's classes; None where the mask ensemble is off."""
        if not self.use_sam_masks:
            return None
        masks_MHW = sample.get("sam_masks")
        if masks_MHW is None:
            masks_MHW = self._generate_masks(sample)
        masks_MHW = masks_MHW.to(self.device)
        logits = as_mask_logits(masks_MHW, geometry)[None]
        log_probs_MC1 = self.classify_proposals(logits, _of_image(features, index))[0]
        return Proposals(log_probs_MC1, masks_MHW, self.seen_C.to(self.device))

    def _generate_masks(self, sample: Mapping[str, Any]) -> Tensor:
        if self._mask_generator is None:
            raise ValueError(
                "TEST.USE_SAM_MASKS is on, but the sample has no `sam_masks`: set "
                "TEST.SAM_MASKS_DIR to an export of tools/export_sam_masks.py, or leave it empty"
            )
        return self._mask_generator(sample["image"].permute(1, 2, 0).cpu().numpy())

    def _decode(
        self, features: Mapping[str, Tensor], vocabulary: Vocabulary, auxiliary: bool
    ) -> DecoderOutput:
        if self.sem_seg_head is None:
            raise ValueError(
                f"{type(self).__name__} has no decoder: its adapter names true masks alone "
                "(TEST.ORACLE_MASKS). `frozenseg weights join` gives it to a model"
            )
        classifier = self.classifier(vocabulary)
        void = self.void_embedding.weight
        return self.sem_seg_head(features, classifier, void, auxiliary=auxiliary)

    def encode(self, batched_inputs: Samples) -> tuple[ImageList, dict[str, Tensor]]:
        """The padded images and the encoders' maps by name.

        SAM's is called "sam", CLIP's in the joint space, where a part reads it, "clip_cells".
        """
        divisibility = self.size_divisibility
        images = normalised_images(batched_inputs, self.pixel_mean, self.pixel_std, divisibility)
        sam_images = None
        if self.sam is not None and self.injects_sam:
            sam_images = self._sam_input(self.sam, batched_inputs)
        return images, self.feature_maps(images.tensor, sam_images)

    def feature_maps(
        self, images_B3HW: Tensor, sam_images_B3HW: Tensor | None = None
    ) -> dict[str, Tensor]:
        """The encoders' maps by name, of padded images that have each encoder's statistics."""
        features = dict(self.backbone(images_B3HW))
        self.class_path.add_cells(features)
        if self.sam is not None and sam_images_B3HW is not None:
            features["sam"] = self.sam(sam_images_B3HW)
        return features

    def _sam_input(self, sam: FrozenSAM, batched_inputs: Samples) -> Tensor:
        """Images with SAM's statistics, padded; at test time squeezed to SAM's own square.

        In training the crop is fed as it is: SAM resizes its positions where sizes differ.
        """
        mean, std = sam.pixel_mean, sam.pixel_std
        padded = normalised_images(batched_inputs, mean, std, self.size_divisibility).tensor
        square = (sam.image_size, sam.image_size)
        if self.training or tuple(padded.shape[-2:]) == square:
            return padded
        return F.interpolate(padded, size=square, mode="bilinear", align_corners=False)


def _of_image(features: Mapping[str, Tensor], index: int) -> dict[str, Tensor]:
    """What CLIP's judgement of one image of a batch reads."""
    return {name: features[name][index : index + 1] for name in (DENSE, CELLS) if name in features}


@META_ARCH_REGISTRY.register()
class FCCLIP(MaskClassificationModel):
    """FC-CLIP: `MaskClassificationModel` without SAM, under its released name."""


@META_ARCH_REGISTRY.register()
class FrozenSeg(MaskClassificationModel):
    """FrozenSeg: `MaskClassificationModel` with SAM, under its released name."""


@META_ARCH_REGISTRY.register()
class MAFT_Plus(MaskClassificationModel):
    """MAFT+: with text that the image changes and a CLIP that trains, under its released name."""


@META_ARCH_REGISTRY.register()
class OVRCOAT(MaskClassificationModel):
    """OVRCOAT: with a CLIP that trains and COAT, under its released name."""


@META_ARCH_REGISTRY.register()
class MASK_Adapter(MaskClassificationModel):
    """A Mask-Adapter that learns from true masks, without a decoder, under its released name."""
