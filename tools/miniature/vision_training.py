"""Pretraining of the miniature vision-only encoder on pictures alone: no captions, classes, masks.

Three tasks for a vision transformer:
- *Cells*: two views of a scene; what is said of a cell must agree with what is said of the same
  point in the other view, against all other points of the batch.
- *Outlines*: things cut out of other pictures are pasted into scenes; every cell of theirs must
  tell the outline and the colour of the whole thing (`saliency`: by a formula, from pixels).
- *Pixels*: part of the cells is blanked out, and all tell what was there.

Source: contrast of cells as in VADeR, arXiv:2011.05499; targets by formula as in MaskFeat,
arXiv:2112.09133; blanked-out cells as in SimMIM, arXiv:2111.09886.

Legend: B pictures, V = 2 views, N cells, T pasted things, C channels, K channels compared,
P pairs of cells, D numbers of a description.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from frozenseg.encoders.visual.conv_stem import build_vit
from tools.miniature.clip_batches import cell_shares
from tools.miniature.clip_training import normalise
from tools.miniature.pool import CropPool, ScenePool
from tools.miniature.saliency import DESCRIBED, Cutouts
from tools.miniature.training import export_half
from tools.miniature.vision_views import PATCH, draw_views, relight

_COMPARED, _HIDDEN = 64, 256
_TEMPERATURE = 0.15
_BLOCK = 2  # pixels are told as means of blocks of 2 x 2
_OUTLINE_SHARE = 0.7  # of the steps; the others compare cells
_MAX_BLANK = {"cells": 0.6, "outlines": 0.3}  # of a picture's cells
_MIN_COVER = 0.25  # of a cell, for it to tell the outline
_PIXEL_WEIGHT = 0.5


class MiniatureVision(nn.Module):
    """The transformer with what only the training needs; the transformer alone is exported."""

    def __init__(self, arguments: dict[str, Any]):
        """`arguments`: of `build_vit`."""
        super().__init__()
        self.vit: Any = build_vit(arguments)
        width = self.vit.embed_dim
        self.blank = nn.Parameter(0.02 * torch.randn(width))
        self.pixels = nn.Linear(width, 3 * (PATCH // _BLOCK) ** 2)
        self.compared = _head(width, _COMPARED)
        self.outlines = _head(width, DESCRIBED)

    def forward(self, images_B3HW: Tensor, blank_BN: Tensor | None = None) -> Tensor:
        """The last layer's cells (B, N, C) float32; `blank_BN`: cells that are not shown."""
        vit = self.vit
        with torch.autocast("cpu", dtype=torch.bfloat16):
            x = vit.patch_embed(images_B3HW)
            if blank_BN is not None:
                x = torch.where(blank_BN[..., None], self.blank.to(x.dtype), x)
            x = vit.blocks(x + vit.pos_embed)
        return vit.norm(x.float())

    def export(self, path: Path) -> None:
        """Writes the transformer in float16 under timm's names."""
        export_half(self.vit.state_dict(), path)


def _head(width: int, outputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width, _HIDDEN), nn.GELU(), nn.Linear(_HIDDEN, outputs))


class VisionTask:
    """The loss of a training step; all draws are keyed by (seed, step)."""

    def __init__(
        self,
        model: MiniatureVision,
        scenes: ScenePool,
        crops: CropPool,
        seed: int,
        batches: tuple[int, int] = (12, 24),
    ):
        """`batches`: scenes of a step that compares cells (twice), or that tells outlines."""
        self._model, self._scenes, self._seed = model, scenes.images, seed
        self._batches = batches
        self._cutouts = Cutouts(crops.images)

    def loss(self, step: int, progress: float) -> tuple[Tensor, dict[str, float]]:
        """Loss, and for the log the share of points found again, or of outlines explained."""
        del progress
        generator = np.random.default_rng((self._seed, step))
        if generator.random() < _OUTLINE_SHARE:
            return self._tell_outlines(generator)
        return self._compare_cells(generator)

    def _compare_cells(self, generator: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        rows = generator.integers(0, len(self._scenes), self._batches[0])
        views = draw_views(generator, self._scenes[rows])
        images = normalise(views.images).flatten(0, 1)
        cells, pixel_loss = self._look(generator, images, _MAX_BLANK["cells"])
        said_VBNK = self._model.compared(cells).unflatten(0, (2, -1))
        inside = torch.from_numpy(views.inside)
        losses, shares = [], []
        for v in range(2):
            other = sample_cells(said_VBNK[1 - v], torch.from_numpy(views.places[v]))
            loss, share = contrast(said_VBNK[v][inside[v]], other[inside[v]])
            losses.append(loss)
            shares.append(share)
        figures = {"cells": sum(shares) / 2, "loss_pixels": float(pixel_loss.detach())}
        return (losses[0] + losses[1]) / 2 + _PIXEL_WEIGHT * pixel_loss, figures

    def _tell_outlines(self, generator: np.random.Generator) -> tuple[Tensor, dict[str, float]]:
        rows = generator.integers(0, len(self._scenes), self._batches[1])
        scenes = self._scenes[rows]
        pasted = self._cutouts.paste(generator, scenes[:, :, :: generator.choice([-1, 1])])
        images = normalise(relight(generator, pasted.images))
        cells_BNC, pixel_loss = self._look(generator, images, _MAX_BLANK["outlines"])
        share_BTN = np.stack([cell_shares(ids, hard=False) for ids in pasted.ids])
        share_BN, which_BN = torch.from_numpy(share_BTN).max(1)
        asked_BN = share_BN > _MIN_COVER
        row_BN = torch.from_numpy(pasted.rows).gather(
            1, which_BN.clamp(max=pasted.rows.shape[1] - 1)
        )
        truth_PD = torch.from_numpy(self._cutouts.outlines_ND)[row_BN[asked_BN]]
        error_P = (self._model.outlines(cells_BNC[asked_BN]) - truth_PD).square().mean(1)
        weight_P = share_BN[asked_BN]
        error = (error_P * weight_P).sum() / weight_P.sum()
        explained = 1 - float(error.detach() / truth_PD.square().mean())
        figures = {"outlines": max(explained, 0.0), "loss_pixels": float(pixel_loss.detach())}
        return error + _PIXEL_WEIGHT * pixel_loss, figures

    def _look(
        self, generator: np.random.Generator, images_B3HW: Tensor, most: float
    ) -> tuple[Tensor, Tensor]:
        """Cells (B, N, C), some of them blanked out, and how wrong all tell their pixels.

        Pixels of blanked cells weigh as much as the others.
        """
        cells = (images_B3HW.shape[2] // PATCH) ** 2
        blank_BN = torch.from_numpy(draw_blanks(generator, (len(images_B3HW), cells), most))
        cells_BNC = self._model(images_B3HW, blank_BN)
        truth = F.pixel_unshuffle(F.avg_pool2d(images_B3HW, _BLOCK), PATCH // _BLOCK)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            told = self._model.pixels(cells_BNC)
        error_BN = (told.float() - truth.flatten(2).transpose(1, 2)).square().mean(-1)
        return cells_BNC, (error_BN[blank_BN].mean() + error_BN[~blank_BN].mean()) / 2


def draw_blanks(generator: np.random.Generator, shape: tuple[int, int], most: float) -> np.ndarray:
    """Cells that are not shown (B, N) bool: a share of 0 .. `most` of a picture, at least one."""
    share_B1 = generator.uniform(0, most, (shape[0], 1))
    rank = generator.random(shape).argsort(-1).argsort(-1)
    return rank < np.maximum(np.round(share_B1 * shape[1]), 1)


def sample_cells(cells_BNK: Tensor, places_BN2: Tensor) -> Tensor:
    """The map of cells read at places (x, y in -1..1) between them, bilinearly: (B, N, K)."""
    side = round(cells_BNK.shape[1] ** 0.5)
    maps = cells_BNK.transpose(1, 2).unflatten(2, (side, side))
    found = F.grid_sample(maps, places_BN2[:, :, None], align_corners=False, padding_mode="border")
    return found[..., 0].transpose(1, 2)


def contrast(
    one_PK: Tensor, other_PK: Tensor, temperature: float = _TEMPERATURE
) -> tuple[Tensor, float]:
    """Cross entropy of finding one's own partner among all, both ways; how often it is the best."""
    one_PK, other_PK = F.normalize(one_PK, dim=-1), F.normalize(other_PK, dim=-1)
    logits = one_PK @ other_PK.T / temperature
    own = torch.arange(len(logits))
    right = float((logits.argmax(1) == own).float().mean())
    return (F.cross_entropy(logits, own) + F.cross_entropy(logits.T, own)) / 2, right
