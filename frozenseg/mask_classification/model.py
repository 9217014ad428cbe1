"""The meta-architecture: frozen CLIP, trained mask decoder, open-vocabulary classification.

Legend: B images, Q queries, C classes (+1 for void), K text channels, H and W pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.structures import BitMasks, ImageList, Instances
from torch import Tensor, nn

from frozenseg.encoders.clip import FrozenCLIP
from frozenseg.inference.class_ensemble import ensemble_classes
from frozenseg.inference.instance import InstanceSegmentation
from frozenseg.inference.task_heads import TaskOutputs, TaskSettings, run_task_heads
from frozenseg.mask_classification.border import model_arguments
from frozenseg.mask_classification.criterion import SetCriterion
from frozenseg.mask_classification.decoder import DecoderOutput
from frozenseg.mask_classification.matcher import Target
from frozenseg.structures import (
    EnsembleSettings,
    ImageGeometry,
    MaskPrediction,
    TextClassifier,
)
from frozenseg.vocab import Vocabulary, seen_classes


class MaskClassificationModel(nn.Module):
    """Segments with the words of a vocabulary; only decoder and void embedding are trained.

    In training mode `forward` gives weighted losses, in eval mode one dict per image with
    `sem_seg`, `panoptic_seg`, `instances` and `proposals` (those that are on).
    Source: FC-CLIP, arXiv:2308.02487.
    """

    pixel_mean: Tensor
    pixel_std: Tensor

    @configurable
    def __init__(
        self,
        *,
        backbone: FrozenCLIP,
        sem_seg_head: nn.Module,
        criterion: SetCriterion,
        text_classifier: Callable[[Vocabulary], TextClassifier],
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        size_divisibility: int,
        task_settings: TaskSettings,
        ensemble: EnsembleSettings,
        train_vocabulary: Vocabulary,
        test_vocabulary: Vocabulary,
        deep_supervision: bool = True,
    ) -> None:
        """
        Args:
            backbone: a frozen encoder with `pool_masks`, `logit_scale` and `embed_dim`.
            text_classifier: gives the text embeddings of a vocabulary (and caches them).
            pixel_mean, pixel_std: RGB statistics in the range 0..255.
            train_vocabulary: the words that training targets index; its classes count as seen.
            test_vocabulary: the words to segment with; `set_vocabulary` changes them.
        Raises: ValueError if the criterion's class count is not the training vocabulary's.
        """
        super().__init__()
        num_classes = len(criterion.empty_weight) - 1
        if num_classes != len(train_vocabulary):
            raise ValueError(
                f"MODEL.SEM_SEG_HEAD.NUM_CLASSES is {num_classes} but the training vocabulary "
                f"has {len(train_vocabulary)} classes: set it to {len(train_vocabulary)}"
            )
        self.backbone = backbone
        self.sem_seg_head = sem_seg_head
        self.criterion = criterion
        self.void_embedding = nn.Embedding(1, backbone.embed_dim)
        self.size_divisibility = max(size_divisibility, backbone.size_divisibility)
        self.task_settings = task_settings
        self.ensemble = ensemble
        self.deep_supervision = deep_supervision
        self.train_vocabulary = train_vocabulary
        self._text_classifier = text_classifier
        for name, values in (("pixel_mean", pixel_mean), ("pixel_std", pixel_std)):
            buffer = torch.tensor(values, dtype=torch.float32)[:, None, None]
            self.register_buffer(name, buffer, persistent=False)
        self.set_vocabulary(test_vocabulary)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """The border: the whole config to keyword arguments."""
        return model_arguments(cfg)

    @property
    def device(self) -> torch.device:
        """Where inputs are moved to."""
        return self.pixel_mean.device

    def set_vocabulary(self, vocabulary: Vocabulary) -> None:
        """The words to segment with from now on; text is computed at the next image."""
        self.vocabulary = vocabulary
        self.seen_C = torch.tensor(seen_classes(vocabulary, self.train_vocabulary))
        self.thing_C = torch.tensor(vocabulary.thing_mask)

    def classifier(self, vocabulary: Vocabulary) -> TextClassifier:
        """Text embeddings of a vocabulary on the model's device.

        The builder computes them once and notices other weights or another device.
        """
        return self._text_classifier(vocabulary)

    def forward(self, batched_inputs: Sequence[Mapping[str, Any]]) -> Any:
        """Losses by name in training mode, else one dict of results per image.

        Each input has `image` (RGB uint8, (3, H, W)); optionally `height` and `width` of the
        wanted output (default: the image's own); in training also `instances` with `gt_classes`
        (N,) and `gt_masks` (N, H, W) bool.
        """
        images = self._preprocess(batched_inputs)
        features = self.backbone(images.tensor)
        if self.training:
            output = self._decode(features, self.train_vocabulary, self.deep_supervision)
            return self.criterion(output, _targets(batched_inputs, images, self.device))
        with torch.no_grad():
            prediction = self._decode(features, self.vocabulary, auxiliary=False).final
            class_logits = self.classify(prediction, features)
            results = []
            for index, sample in enumerate(batched_inputs):
                outputs = run_task_heads(
                    class_logits[index],
                    prediction.mask_logits_BQHW[index],
                    _geometry(sample, images, index),
                    self.thing_C,
                    self.task_settings,
                )
                results.append(_as_detectron2(outputs))
            return results

    def classify(self, prediction: MaskPrediction, features: Mapping[str, Tensor]) -> Tensor:
        """Final class logits (B, Q, C+1): the class ensemble's log-probabilities, void last.

        Source: FC-CLIP, arXiv:2308.02487, section 3.3 (geometric ensemble).
        """
        out_logits, valid = None, None
        if self.ensemble.enabled:
            embeddings, valid_BQ = self.backbone.pool_masks(
                features["clip_vis_dense"], prediction.mask_logits_BQHW
            )
            classifier = self.classifier(self.vocabulary)
            cosine = F.normalize(embeddings, dim=-1) @ classifier.embeddings_SK.T
            out_logits = classifier.max_over_synonyms(self.backbone.logit_scale * cosine)
            valid = valid_BQ if self.ensemble.on_valid_mask else None
        return ensemble_classes(
            prediction.class_logits_BQC,
            out_logits,
            self.seen_C.to(self.device),
            alpha=self.ensemble.alpha,
            beta=self.ensemble.beta,
            valid_BQ=valid,
        )

    def _decode(
        self, features: Mapping[str, Tensor], vocabulary: Vocabulary, auxiliary: bool
    ) -> DecoderOutput:
        classifier = self.classifier(vocabulary)
        void = self.void_embedding.weight
        return self.sem_seg_head(features, classifier, void, auxiliary=auxiliary)

    def _preprocess(self, batched_inputs: Sequence[Mapping[str, Any]]) -> ImageList:
        """Normalised images, padded bottom and right with zeros to the size divisibility."""
        images = [
            (sample["image"].to(self.device) - self.pixel_mean) / self.pixel_std
            for sample in batched_inputs
        ]
        return ImageList.from_tensors(images, self.size_divisibility)


def _targets(
    batched_inputs: Sequence[Mapping[str, Any]], images: ImageList, device: torch.device
) -> list[Target]:
    """Ground truth padded bottom and right like the images."""
    height, width = images.tensor.shape[-2:]
    targets = []
    for sample in batched_inputs:
        if "instances" not in sample:
            raise ValueError(
                "a training sample has no `instances`; INPUT.DATASET_MAPPER_NAME must name a "
                "mapper that makes them (coco_panoptic_lsj)"
            )
        instances = sample["instances"].to(device)
        masks = instances.gt_masks
        padding = (0, width - masks.shape[-1], 0, height - masks.shape[-2])
        targets.append(Target(instances.gt_classes, F.pad(masks, padding)))
    return targets


def _geometry(sample: Mapping[str, Any], images: ImageList, index: int) -> ImageGeometry:
    height, width = images.image_sizes[index]
    padded_height, padded_width = images.tensor.shape[-2:]
    return ImageGeometry(
        padded=(padded_height, padded_width),
        image=(int(height), int(width)),
        output=(int(sample.get("height", height)), int(sample.get("width", width))),
    )


def _as_detectron2(outputs: TaskOutputs) -> dict[str, Any]:
    """Results under detectron2's keys; label maps and masks stay tensors."""
    result: dict[str, Any] = {}
    if outputs.sem_seg is not None:
        result["sem_seg"] = outputs.sem_seg
    if outputs.panoptic is not None:
        result["panoptic_seg"] = outputs.panoptic
    if outputs.instances is not None:
        result["instances"] = _as_instances(outputs.instances)
    if outputs.proposals is not None:
        result["proposals"] = _as_instances(outputs.proposals)
    return result


def _as_instances(found: InstanceSegmentation) -> Instances:
    instances = Instances(tuple(found.masks.shape[-2:]))
    instances.pred_masks = found.masks
    instances.pred_boxes = BitMasks(found.masks).get_bounding_boxes()
    instances.scores = found.scores
    instances.pred_classes = found.classes
    return instances


@META_ARCH_REGISTRY.register()
class FCCLIP(MaskClassificationModel):
    """FC-CLIP: `MaskClassificationModel` without SAM, under its released name."""
