"""The meta-architecture "Fusioner": any frozen visual encoder with any frozen language encoder.

Legend: B images, T words asked, C classes, S rows of a text classifier (synonyms), K channels of
word vectors, V channels of patches, h and w patches, H and W pixels, R rows of a band.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from torch import Tensor, nn

from frozenseg.encoders.open_vocabulary import OpenVocabularyModel
from frozenseg.fusioner.from_config import model_arguments
from frozenseg.fusioner.method import BACKGROUND_WORD, SegmentationMethod
from frozenseg.inference.argmax import labels_of
from frozenseg.inference.sliding_window import sliding_window
from frozenseg.resize import nearest_resize
from frozenseg.structures import LossDivisor

Samples = Sequence[Mapping[str, Any]]


@META_ARCH_REGISTRY.register()
class Fusioner(OpenVocabularyModel):
    """Says for every pixel which of the asked words it belongs to, or that it is background.

    In training mode `forward` gives losses, in eval mode one dict per image with `semantic_labels`.
    Source: Fusioner, arXiv:2210.15138.

    Attributes:
        tasks: what it computes.
    """

    tasks = ("semantic",)

    @configurable
    def __init__(
        self,
        *,
        visual: nn.Module,
        language: nn.Module,
        method: nn.Module,
        threshold: float = 0.5,
        crop: int = 224,
        stride: int = 149,
        windows_at_once: int = 8,
        features: Callable[[Tensor], Tensor] | None = None,
        **shared: Any,
    ) -> None:
        """
        Args:
            visual, language: frozen encoders.
            method: a `SegmentationMethod`; the only part that is trained.
            threshold: of the probability that a pixel belongs to a word.
            crop, stride: side and step of the test windows, in pixels.
            windows_at_once: windows that are computed together.
            features: stands in for `visual` in training, with what it has seen before on disk.
            shared: vocabularies, text classifier and pixel statistics (`OpenVocabularyModel`).
        """
        super().__init__(**shared)
        self.visual, self.language = visual, language
        self.method: Any = method
        self.threshold = threshold
        self.crop, self.stride, self.windows_at_once = crop, stride, windows_at_once
        self._features = (features or visual,)  # in a tuple: not a second module of the same name

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """The keyword arguments that a config describes."""
        return model_arguments(cfg)

    @property
    def loss_divisors(self) -> Mapping[str, LossDivisor]:
        """What each loss is divided by."""
        return self.method.loss_divisors

    def forward(self, batched_inputs: Samples) -> Any:
        """Losses by name in training mode, else one dict of results per image.

        Training samples have `image` (uint8 RGB (3, H, W), all of one size), `labels` (int32
        (H, W)) and `asked`, a class index. At test time images may have any size; `asked`, class
        indices of the vocabulary, may be left out: all of them; `height` and `width` are the size
        of the result, by default the image's. `semantic_labels` is int32 (height, width).
        """
        if self.training:
            return self._losses(batched_inputs)
        with torch.no_grad():
            return [{"semantic_labels": self._segment(sample)} for sample in batched_inputs]

    def patches(self, images_B3HW: Tensor) -> Tensor:
        """The frozen visual encoder's patches (B, V, h, w) of normalised images.

        Only a training keeps them on disk: its images come again, those of users and the windows
        of a test do not.
        """
        return (self._features[0] if self.training else self.visual)(images_B3HW)

    def _losses(self, samples: Samples) -> dict[str, Tensor]:
        if any("labels" not in sample for sample in samples):
            raise ValueError(
                "a training sample has no `labels`; INPUT.DATASET_MAPPER_NAME must be 'episodes'"
            )
        images = torch.stack([self._normalised(sample["image"]) for sample in samples])
        labels_BHW = torch.stack([sample["labels"] for sample in samples]).to(self.device)
        asked_B = torch.tensor([int(sample["asked"]) for sample in samples], device=self.device)
        # A class is asked for by its name; synonyms count at test time.
        words_CK = self.classifier(self.train_vocabulary).first_rows()
        if self.method.has_rivals:
            words_CK = torch.cat((words_CK, self._background()))
        return self.method.losses(self.patches(images), words_CK, labels_BHW, asked_B)

    def _segment(self, sample: Mapping[str, Any]) -> Tensor:
        """Class indices int32 (height, width), BACKGROUND where no word fits."""
        image = self._normalised(sample["image"])
        height, width = image.shape[-2:]
        asked = sorted(sample.get("asked", range(len(self.vocabulary))))
        if not asked:
            raise ValueError("`asked` names no class: leave it out to ask for all words")
        asked_T = torch.tensor(asked, device=self.device)
        words = self.classifier(self.vocabulary).select(asked_T)
        rivals_RK = self._rivals(asked, words.embeddings_SK)
        method: SegmentationMethod = self.method

        def score(windows_B3cc: Tensor) -> Tensor:
            size = (windows_B3cc.shape[-2], windows_B3cc.shape[-1])
            patches_BVhw = self.patches(windows_B3cc)
            logits_BSHW = method(patches_BVhw, words.embeddings_SK, size, rivals_RK)
            return words.max_over_synonyms(logits_BSHW.movedim(1, -1)).movedim(-1, 1)

        labels = torch.empty(height, width, dtype=torch.int32, device=self.device)
        bands = sliding_window(
            image, score, crop=self.crop, stride=self.stride, batch=self.windows_at_once
        )
        class_T = asked_T.to(torch.int32)
        for rows, logits_TRW in bands:
            place_RW = labels_of(logits_TRW, self.threshold)
            labels[rows] = torch.where(place_RW < 0, place_RW, class_T[place_RW.clamp(min=0)])
        size = (int(sample.get("height", height)), int(sample.get("width", width)))
        return nearest_resize(labels, size)

    def _normalised(self, image: Tensor) -> Tensor:
        return (image.to(self.device) - self.pixel_mean) / self.pixel_std

    def _rivals(self, asked: Sequence[int], words_SK: Tensor) -> Tensor:
        """Vectors (R, K) that the asked words compete with; see `SegmentationMethod`."""
        if not self.method.has_rivals:
            return words_SK[:0]
        asked_names = {name for index in asked for name in self.vocabulary.synonyms[index]}
        synonyms = self.train_vocabulary.synonyms
        others_C = torch.tensor([asked_names.isdisjoint(names) for names in synonyms])
        words_CK = self.classifier(self.train_vocabulary).first_rows()
        return torch.cat((words_CK[others_C.to(self.device)], self._background()))

    def _background(self) -> Tensor:
        return self.classifier.embed((BACKGROUND_WORD,)).to(self.device)
