"""What all models share: the words they segment with, their text embeddings, pixel statistics."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.data import MetadataCatalog
from torch import Tensor, nn

from frozenseg.encoders.text.classifier import TextClassifierBuilder, TextEncoder
from frozenseg.encoders.text.word_vectors import text_cache
from frozenseg.vocab import Vocabulary, get_templates


class OpenVocabularyModel(nn.Module):
    """Base of the models: a vocabulary that can change between images, and normalised pixels.

    Attributes:
        vocabulary: the words to segment with.
        train_vocabulary: the words that training targets index.
        classifier: text embeddings of a vocabulary on the model's device, computed once.
        batch_independent: an image's result does not depend on the other images of its batch.
    """

    pixel_mean: Tensor
    pixel_std: Tensor
    batch_independent = True

    def __init__(
        self,
        *,
        text_classifier: TextClassifierBuilder,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        train_vocabulary: Vocabulary,
        test_vocabulary: Vocabulary,
    ) -> None:
        """
        Args:
            pixel_mean, pixel_std: RGB statistics in the range 0..255.
            train_vocabulary: the words that training targets index.
            test_vocabulary: the words to segment with; `set_vocabulary` changes them.
        """
        super().__init__()
        for name, values in (("pixel_mean", pixel_mean), ("pixel_std", pixel_std)):
            buffer = torch.tensor(values, dtype=torch.float32)[:, None, None]
            self.register_buffer(name, buffer, persistent=False)
        self.classifier = text_classifier
        self.train_vocabulary = train_vocabulary
        self.set_vocabulary(test_vocabulary)

    @property
    def device(self) -> torch.device:
        """Where inputs are moved to."""
        return self.pixel_mean.device

    def set_vocabulary(self, vocabulary: Vocabulary) -> None:
        """The words to segment with from now on; text is computed at the next image."""
        self.vocabulary = vocabulary


def shared_arguments(cfg: CfgNode, text: TextEncoder, templates: str) -> dict[str, Any]:
    """Where the config ends: keyword arguments of `OpenVocabularyModel`.

    Args: templates: their name or file, see `get_templates`.
    Raises: ValueError for DATASETS.TRAIN without a dataset, or with several vocabularies.
    """
    train = datasets_vocabulary("DATASETS.TRAIN", cfg.DATASETS.TRAIN)
    test = cfg.DATASETS.TEST
    return {
        "text_classifier": TextClassifierBuilder(
            text,
            templates=get_templates(templates),
            cache_dir=text_cache(cfg.MODEL.TEXT_CACHE_DIR),
        ),
        "pixel_mean": cfg.MODEL.PIXEL_MEAN,
        "pixel_std": cfg.MODEL.PIXEL_STD,
        "train_vocabulary": train,
        "test_vocabulary": datasets_vocabulary("DATASETS.TEST", test) if test else train,
    }


def datasets_vocabulary(key: str, names: Sequence[str]) -> Vocabulary:
    """The vocabulary of the first dataset of `DATASETS.TRAIN` or `.TEST`, which `key` names.

    Raises: ValueError if there is none, or if training sets have different ones (their class
        indices would mean different words).
    """
    if not names:
        raise ValueError(f"{key} is empty: name a registered dataset")
    first, *others = (Vocabulary.from_metadata(MetadataCatalog.get(name)) for name in names)
    for name, vocabulary in zip(names[1:], others, strict=True):
        if key == "DATASETS.TRAIN" and vocabulary != first:
            raise ValueError(
                f"DATASETS.TRAIN: {names[0]} and {name} have different vocabularies, so their "
                "class indices cannot be mixed; train on sets that share one"
            )
    return first
