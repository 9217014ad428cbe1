"""Pretraining of the miniature CLIP: contrast of regions, and of whole pictures, with captions.

Regions are pooled from the dense map along FC-CLIP's path (mean over the cells of a mask, then the
trunk's norm and the projection). Captions of the same class are all positives (multi-positive
softmax, as in SupCon, arXiv:2004.11362): in a world of 70 classes repeated captions would
otherwise count as negatives.

Legend: B pictures, R regions, M captions, K channels of the joint space, N cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frozenseg.data.miniature.classes import CLASSES
from frozenseg.encoders.clip.backbone import MAX_LOGIT_SCALE
from frozenseg.encoders.clip.config import read_clip_config
from tools.miniature.clip_batches import (
    Captions,
    draw_captions,
    draw_crops,
    draw_regions,
    every_token_text,
)
from tools.miniature.pool import CropPool, ScenePool
from tools.miniature.training import export_half

PIXEL_MEAN = (122.7709383, 116.7460125, 104.09373615)
PIXEL_STD = (68.5005327, 66.6321579, 70.32316305)
_LAYER_SCALE = 0.3  # timm starts at 1e-6, from where so short a training never gets away


def normalise(images: np.ndarray) -> Tensor:
    """Pictures (..., H, W, 3) with values 0..255 as the models take them (..., 3, H, W)."""
    scaled = (torch.from_numpy(images) - torch.tensor(PIXEL_MEAN)) / torch.tensor(PIXEL_STD)
    return scaled.movedim(-1, -3)


class Stage(NamedTuple):
    """A part of the curriculum.

    Attributes:
        until: the share of the training at which it ends.
        size, scenes: edge in pixels, and number of scenes of a step.
        crop_share: share of the steps that show single things instead.
        crop_size, crops: their edge and number.
    """

    until: float
    size: int
    scenes: int
    crop_share: float
    crop_size: int
    crops: int


CURRICULUM = (
    Stage(0.12, 128, 64, 0.5, 64, 128),
    Stage(0.45, 192, 32, 0.25, 96, 64),
    Stage(1.0, 256, 24, 0.15, 96, 64),
)


class MiniatureClip(nn.Module):
    """The open_clip model of `config_file`, with an embedding of only the tokens that occur.

    Token ids are renumbered in ascending order, so that the end of text stays the largest.
    """

    def __init__(self, config_file: str):
        super().__init__()
        self.clip: Any = open_clip.CLIP(**read_clip_config(config_file).arguments)
        self.clip.visual.to(memory_format=torch.channels_last)
        for name, parameter in self.clip.visual.trunk.named_parameters():
            if name.endswith("gamma"):
                nn.init.constant_(parameter, _LAYER_SCALE)
        self._context = self.clip.context_length
        self.full_size: tuple[int, int] = tuple(self.clip.token_embedding.weight.shape)
        used = torch.unique(open_clip.tokenize(every_token_text(), self._context))
        self.used_tokens: Tensor
        self.register_buffer("used_tokens", used)
        self.clip.token_embedding = nn.Embedding(len(used), self.full_size[1])
        nn.init.normal_(self.clip.token_embedding.weight, std=0.02)

    def encode_texts(self, texts: Sequence[str]) -> Tensor:
        """Unit vectors (M, K)."""
        tokens_ML = open_clip.tokenize(list(texts), self._context)
        tokens_ML = torch.searchsorted(self.used_tokens, tokens_ML)
        end_M = tokens_ML.argmax(-1)
        length = int(end_M.max()) + 1
        x = self.clip.token_embedding(tokens_ML[:, :length])
        x = x + self.clip.positional_embedding[:length]
        x = self.clip.transformer(x, attn_mask=self.clip.attn_mask[:length, :length])
        x = self.clip.ln_final(x[torch.arange(len(x)), end_M])
        return F.normalize(x @ self.clip.text_projection, dim=-1)

    def dense(self, images_BHW3: np.ndarray) -> Tensor:
        """The map `clip_vis_dense` as (B, N, C) float32; computed in bfloat16."""
        images = normalise(images_BHW3)  # channels_last in memory
        with torch.autocast("cpu", dtype=torch.bfloat16):
            trunk = self.clip.visual.trunk
            x = trunk.norm_pre(trunk.stages(trunk.stem(images)))
        return x.float().flatten(2).transpose(1, 2)

    def embed(self, pooled_RC: Tensor) -> Tensor:
        """Unit vectors (R, K) of pooled features."""
        visual = self.clip.visual
        return F.normalize(visual.head(visual.trunk.head(pooled_RC[..., None, None])), dim=-1)

    @property
    def scale(self) -> Tensor:
        return self.clip.logit_scale.exp().clamp(max=MAX_LOGIT_SCALE)

    def export(self, path: Path) -> None:
        """Writes the weights that `load_clip` reads: float16, unused words as zeros."""
        words = torch.zeros(self.full_size)
        words[self.used_tokens] = self.clip.token_embedding.weight.detach()
        export_half(self.clip.state_dict() | {"token_embedding.weight": words}, path)


class ClipTask:
    """The loss of a training step; all draws are keyed by (seed, step)."""

    def __init__(
        self,
        model: MiniatureClip,
        scenes: ScenePool,
        crops: CropPool,
        seed: int,
        curriculum: Sequence[Stage] = CURRICULUM,
    ):
        self._model, self._scenes, self._crops, self._seed = model, scenes, crops, seed
        self._curriculum = curriculum

    def loss(self, step: int, progress: float) -> tuple[Tensor, dict[str, float]]:
        """Crops or scenes, as the curriculum says; the log has the accuracy among the captions."""
        generator = np.random.default_rng((self._seed, step))
        later = [stage for stage in self._curriculum if progress < stage.until]
        stage = later[0] if later else self._curriculum[-1]
        if generator.random() < stage.crop_share:
            return self._crop_loss(generator, stage.crops, stage.crop_size)
        return self._scene_loss(generator, stage.scenes, stage.size)

    def _scene_loss(
        self, generator: np.random.Generator, batch: int, size: int
    ) -> tuple[Tensor, dict[str, float]]:
        hard = bool(generator.random() < 0.6)
        regions = draw_regions(self._scenes, generator, batch=batch, size=size, hard=hard)
        dense_BNC = self._model.dense(regions.images)
        weights_RN = torch.from_numpy(regions.weights)
        pooled_RC = torch.bmm(weights_RN[:, None], dense_BNC[regions.picture])[:, 0]
        captions = draw_captions(generator, regions.classes)
        loss, right = self._contrast(pooled_RC, captions, regions.classes)
        things = np.array([CLASSES[c].is_thing for c in regions.classes])
        return loss, {"things": float(right[things].mean()), "stuff": float(right[~things].mean())}

    def _crop_loss(
        self, generator: np.random.Generator, batch: int, size: int
    ) -> tuple[Tensor, dict[str, float]]:
        images, things, stuff = draw_crops(self._crops, generator, batch=batch, size=size)
        places = sorted(set(zip(things[:16].tolist(), stuff[:16].tolist(), strict=True)))
        captions = draw_captions(generator, things, places=places, things_only=True)
        pooled_BC = self._model.dense(images).mean(1)
        loss, right = self._contrast(pooled_BC, captions, things, stuff)
        return loss, {"crops": float(right.mean())}

    def _contrast(
        self,
        pooled_RC: Tensor,
        captions: Captions,
        classes_R: np.ndarray,
        stuff_R: np.ndarray | None = None,
    ) -> tuple[Tensor, np.ndarray]:
        """The loss in both directions and, per region, whether its best caption is right.

        A caption with a place is a positive where thing and place are right, and no pair at all
        where only the thing is.
        """
        visual_RK = self._model.embed(pooled_RC)
        text_MK = self._model.encode_texts(captions.texts)
        same_RM = classes_R[:, None] == captions.classes[None]
        has_place_M = captions.places >= 0
        there_RM = ~has_place_M[None] | np.zeros_like(same_RM)
        if stuff_R is not None:
            there_RM = there_RM | (stuff_R[:, None] == captions.places[None])
        ignored = torch.from_numpy(same_RM & ~there_RM)
        positive = torch.from_numpy(same_RM & there_RM)
        logits = (self._model.scale * visual_RK @ text_MK.T).masked_fill(ignored, -1e4)
        best = logits.detach().argmax(1).numpy()
        right = captions.classes[best] == classes_R
        loss = multi_positive_loss(logits, positive) + multi_positive_loss(logits.T, positive.T)
        return loss, right


def multi_positive_loss(logits: Tensor, positive: Tensor) -> Tensor:
    """Cross entropy with the uniform distribution over each row's positives, mean over the rows.

    Rows without a positive are left out.
    """
    rows = positive.any(1)
    target = positive[rows].float()
    target = target / target.sum(1, keepdim=True)
    return -(target * logits[rows].log_softmax(1)).sum(1).mean()
