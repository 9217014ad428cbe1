"""How well the miniature CLIP names pictures of single things, and masks on scenes.

Everything goes through the doors that the models use: load_clip, FrozenCLIP, TextClassifierBuilder.
Legend: B pictures, Q masks, S synonyms, C classes, K channels, H, W pixels.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from frozenseg.data.miniature.classes import CLASSES, vocabulary_text
from frozenseg.data.miniature.scenes import MiniatureScene, draw_crop, draw_scene
from frozenseg.encoders.clip.backbone import FrozenCLIP
from frozenseg.encoders.clip.weights import load_clip
from frozenseg.encoders.text.classifier import TextClassifierBuilder
from frozenseg.structures import TextClassifier
from frozenseg.vocab import Vocabulary, get_templates
from tools.miniature.clip_training import normalise
from tools.miniature.pool import CROP_SIZE

_BATCH = 32


def evaluate_clip(
    config_file: str, weights: str, *, seed: int, scenes: int, crops: int, sizes: Sequence[int]
) -> dict[str, Any]:
    """Accuracies in per cent: crops over all names and over each name alone; masks by group.

    Masks are the ground truth, pooled as FC-CLIP pools predicted ones; a mask without a cell at
    the map's size counts as wrong. `sizes`: edges to which the scenes are resized.
    """
    clip = FrozenCLIP(load_clip(config_file, weights))
    builder = TextClassifierBuilder(clip.text, templates=get_templates("vild_14"))
    classifier = builder(Vocabulary.parse(vocabulary_text()))
    figures: dict[str, Any] = {"crops": _crop_accuracies(clip, builder, classifier, seed, crops)}
    drawn = [draw_scene(seed, i) for i in range(scenes)]
    for size in sizes:
        figures[f"masks_{size}"] = _mask_accuracies(clip, classifier, drawn, size)
    return figures


def _crop_accuracies(
    clip: FrozenCLIP,
    builder: TextClassifierBuilder,
    classifier: TextClassifier,
    seed: int,
    count: int,
) -> dict[str, float]:
    drawn = [draw_crop(seed, i, size=CROP_SIZE) for i in range(count)]
    things = np.array([thing for *_, thing, _ in drawn])
    embeddings = []
    for i in range(0, count, _BATCH):
        images = normalise(np.stack([image for image, *_ in drawn[i : i + _BATCH]]))
        with torch.no_grad():
            embeddings.append(clip.clip_model.encode_image(images))
    embeddings_BK = torch.cat(embeddings)
    right = classify(embeddings_BK, classifier) == things
    seen = np.array([CLASSES[t].seen for t in things])
    figures = {"all": percent(right), "seen": percent(right[seen])}
    figures["unseen"] = percent(right[~seen])
    for number in range(3):
        names = [[row.synonyms[number]] for row in CLASSES]
        one_name = builder(Vocabulary.from_names(names))
        right = classify(embeddings_BK, one_name) == things
        figures[f"name_{number}_alone"] = percent(right)
    return figures


def _mask_accuracies(
    clip: FrozenCLIP, classifier: TextClassifier, drawn: Sequence[MiniatureScene], size: int
) -> dict[str, Any]:
    right: dict[str, list[bool]] = defaultdict(list)
    for scene in drawn:
        images = normalise(scene.image[None])
        if size != images.shape[-1]:
            images = F.interpolate(images, (size, size), mode="bilinear", align_corners=False)
        dense = clip(images)["clip_vis_dense"]
        ids = np.array([segment["id"] for segment in scene.segments])
        masks_QHW = torch.from_numpy(scene.ids == ids[:, None, None]).float()
        embeddings_BQK, valid_BQ = clip.pool_masks(dense, 2 * masks_QHW[None] - 1)
        found = classify(embeddings_BQK[0], classifier)
        for segment, answer, valid in zip(scene.segments, found, valid_BQ[0], strict=True):
            row, truth = CLASSES[segment["category"]], CLASSES[int(answer)]
            kind = "things" if row.is_thing else "stuff"
            for group in (kind, f"{'seen' if row.seen else 'unseen'} {kind}"):
                right[group].append(bool(valid) and row is truth)
            if row.is_thing:
                right["shape of things"].append(bool(valid) and row.shape == truth.shape)
                right["color of things"].append(bool(valid) and row.color == truth.color)
            right["without a cell"].append(not valid)
    return {group: percent(right[group]) for group in sorted(right)}


def classify(embeddings_NK: Tensor, classifier: TextClassifier) -> np.ndarray:
    """The class (N,) with the best cosine over its names."""
    embeddings_NK = F.normalize(embeddings_NK, dim=-1)
    cosines_NS = embeddings_NK @ classifier.embeddings_SK.T
    return classifier.max_over_synonyms(cosines_NS).argmax(-1).numpy()


def percent(shares: Sequence[float] | np.ndarray) -> float:
    """Their mean in per cent, to one digit; NaN where there are none."""
    return round(100 * float(np.mean(shares)), 1) if len(shares) else float("nan")
