"""Pretraining of the miniature SAM on point prompts.

Legend: B pictures, P prompts of the whole batch, M masks of a prompt (the first is the single
answer, the others are alternatives), H, W pixels, h, w pixels of the decoder's masks, Q points.
Source: Segment Anything, arXiv:2304.02643, appendix A (focal and dice loss 20:1, IoU head with a
mean squared error, only the best alternative learns); ours draws all clicks at once, some of them
beside the mask, instead of correcting a first answer.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from segment_anything.modeling import Sam
from torch import Tensor, nn

from frozenseg.encoders.sam.config import read_sam_config
from tools.miniature.clip_batches import zoom
from tools.miniature.pool import ScenePool
from tools.miniature.training import export_half

SAM_CONFIG = Path(__file__).resolve().parents[2] / "configs" / "miniature" / "miniature_sam.json"
_PROMPTS, _CLICKS = 8, 3
_ONE_CLICK = 0.6  # share of prompts with a single click
_FOCAL_WEIGHT, _ALTERNATIVES_WEIGHT = 20.0, 0.5


class MiniatureSam(nn.Module):
    """The model, batched over pictures and prompts."""

    def __init__(self) -> None:
        super().__init__()
        self.sam: Any = Sam(*read_sam_config(str(SAM_CONFIG)).build_modules()).eval()

    def forward(
        self, images_BHW3: np.ndarray, picture_P: Tensor, points_PQ2: Tensor, labels_PQ: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Mask logits (P, M, h, w) and predicted IoU (P, M) of prompts on the pictures.

        Points are x, y in pixels; labels 1 inside, 0 outside, -1 no point.
        """
        images = torch.from_numpy(images_BHW3).permute(0, 3, 1, 2)
        images = (images - self.sam.pixel_mean) / self.sam.pixel_std
        with torch.autocast("cpu", dtype=torch.bfloat16):
            embedding_BChw = self.sam.image_encoder(images).float()
        sparse, dense = self.sam.prompt_encoder((points_PQ2, labels_PQ), boxes=None, masks=None)
        # predict_masks repeats one picture for all prompts: given zeros for the picture, the
        # embeddings of many pictures can come in through the dense prompt, which is added to it.
        masks, quality = self.sam.mask_decoder.predict_masks(
            image_embeddings=torch.zeros_like(embedding_BChw[:1]),
            image_pe=self.sam.prompt_encoder.get_dense_pe(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=embedding_BChw[picture_P] + dense,
        )
        return masks, quality

    def export(self, path: Path) -> None:
        """Writes the weights in float16, under segment_anything's names."""
        export_half(self.sam.state_dict(), path)


class SamTask:
    """The loss of a training step; all draws are keyed by (seed, step)."""

    def __init__(self, model: MiniatureSam, scenes: ScenePool, seed: int, batch: int = 4):
        """`batch`: pictures of a step, each with eight prompts."""
        self._model, self._scenes, self._seed, self._batch = model, scenes, seed, batch

    def loss(self, step: int, progress: float) -> tuple[Tensor, dict[str, float]]:
        """Loss, and for the log the mean IoU of the single answer on this batch."""
        generator = np.random.default_rng((self._seed, step))
        images, ids, picture, number = self._draw(generator)
        masks_PHW = ids[picture] == number[:, None, None]
        points, labels = draw_clicks(masks_PHW, generator)
        logits_PMhw, quality_PM = self._model(
            images, torch.from_numpy(picture), torch.from_numpy(points), torch.from_numpy(labels)
        )
        size = (logits_PMhw.shape[2], logits_PMhw.shape[3])
        target_P1hw = F.adaptive_avg_pool2d(torch.from_numpy(masks_PHW[:, None]).float(), size)
        error_PM = _FOCAL_WEIGHT * focal_loss(logits_PMhw, target_P1hw)
        error_PM = error_PM + dice_loss(logits_PMhw, target_P1hw)
        iou_PM = mask_iou(logits_PMhw.detach(), target_P1hw)
        loss = (
            error_PM[:, 0].mean()
            + _ALTERNATIVES_WEIGHT * error_PM[:, 1:].min(1).values.mean()
            + F.mse_loss(quality_PM, iou_PM)
        )
        figures = {"iou": float(iou_PM[:, 0].mean()), "iou_best": float(iou_PM.max(1)[0].mean())}
        return loss, figures

    def _draw(
        self, generator: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Pictures (B, H, W, 3), ids (B, H, W), and per prompt its picture and segment id (P,)."""
        pool = self._scenes
        rows = generator.integers(0, len(pool.images), self._batch)
        side = pool.images.shape[1]
        images = np.empty((self._batch, side, side, 3), np.uint8)
        ids = np.empty((self._batch, side, side), np.uint8)
        picture, number = [], []
        for b, row in enumerate(rows):
            images[b], ids[b] = zoom(pool.images[row], pool.ids[row], side, generator)
            present, areas = np.unique(ids[b], return_counts=True)
            present = present[areas >= 100]
            order = generator.permutation(np.resize(generator.permutation(present), _PROMPTS))
            picture += [b] * _PROMPTS
            number += order.tolist()
        return images, ids, np.array(picture), np.array(number, np.uint8)


def draw_clicks(
    masks_PHW: np.ndarray, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Points (P, Q, 2) float32 as x, y, and labels (P, Q) float32.

    The first lies in the mask; of the others, where there are any, about half lie beside it.
    """
    count = len(masks_PHW)
    points = np.zeros((count, _CLICKS, 2), np.float32)
    labels = np.full((count, _CLICKS), -1, np.float32)
    for p, mask in enumerate(masks_PHW):
        clicks = 1 if generator.random() < _ONE_CLICK else int(generator.integers(2, _CLICKS + 1))
        for q in range(clicks):
            inside = q == 0 or generator.random() < 0.5
            candidates = np.flatnonzero(mask if inside else ~mask)
            if len(candidates):
                y, x = divmod(int(generator.choice(candidates)), mask.shape[1])
                points[p, q] = x, y
                labels[p, q] = float(inside)
    return points, labels


def focal_loss(logits_PMhw: Tensor, target_P1hw: Tensor) -> Tensor:
    """Mean over pixels (P, M): cross entropy times the squared distance from the target."""
    target = target_P1hw.expand_as(logits_PMhw)
    error = F.binary_cross_entropy_with_logits(logits_PMhw, target, reduction="none")
    return (error * (logits_PMhw.sigmoid() - target).abs().square()).mean((2, 3))


def dice_loss(logits_PMhw: Tensor, target_P1hw: Tensor) -> Tensor:
    """1 - dice (P, M)."""
    share = logits_PMhw.sigmoid()
    overlap = (share * target_P1hw).sum((2, 3))
    return 1 - (2 * overlap + 1) / (share.sum((2, 3)) + target_P1hw.sum((2, 3)) + 1)


def mask_iou(logits_PMhw: Tensor, target_P1hw: Tensor) -> Tensor:
    """IoU (P, M) of the masks {logit > 0} and {target > 0.5}."""
    mask, truth = logits_PMhw > 0, target_P1hw > 0.5
    union = (mask | truth).sum((2, 3)).clamp_min(1)
    return (mask & truth).sum((2, 3)) / union
