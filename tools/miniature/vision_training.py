"""Pretraining of the miniature vision-only encoder on pictures alone: no captions, classes, masks.

Three tasks at once, for a plain vision transformer:
- *Cells*: two views of a scene; what the student says of a cell must agree with what a slowly
  following teacher says of the same point in the other view, against all other points of the batch.
- *Pictures*: the same for whole pictures of single things (mean over the cells).
- *Pixels*: part of the student's cells is blanked out, and it tells what was there.

Source: the momentum contrast of MoCo v3, arXiv:2104.02057, per cell as in DenseCL, arXiv:2011.09157
(ours finds corresponding cells by geometry), and the masked pixels of SimMIM, arXiv:2111.09886.

Legend: B pictures, V = 2 views, N cells, C channels, K channels compared, D values of a patch,
P pairs of cells.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor, nn

from frozenseg.data.atomic import write_atomically
from frozenseg.encoders.conv_stem import build_vit
from tools.miniature.clip_training import PIXEL_MEAN, PIXEL_STD
from tools.miniature.pool import CropPool, ScenePool
from tools.miniature.saliency import Disguiser
from tools.miniature.vision_views import PATCH, Views, draw_views

_COMPARED, _HIDDEN = 64, 256
_TEMPERATURE = 0.15
_BLOCK = 2  # pixels are told as means of blocks of 2 x 2
# Share of a picture's cells that are blanked out: 0 .. this.
_MAX_BLANK = {"cells": 0.6, "pictures": 0.25, "outlines": 0.1}
_PIXEL_WEIGHT = 0.5
# Share of the steps that compare pictures of single things, by all they show or by outline.
_FIRST_STRENGTH, _FULL_STRENGTH_AT = 0.05, 0.6
_PICTURES = {"pictures": 0.25, "outlines": 0.5}


class MiniatureVision(nn.Module):
    """The transformer with what only the training needs; the transformer alone is exported."""

    def __init__(self, arguments: dict[str, Any]):
        """`arguments`: of `build_vit`."""
        super().__init__()
        self.vit: Any = build_vit(arguments)
        width = self.vit.embed_dim
        self.blank = nn.Parameter(0.02 * torch.randn(width))
        self.pixels = nn.Linear(width, 3 * (PATCH // _BLOCK) ** 2)
        self.heads = nn.ModuleDict({name: _head(width) for name in ("cells", *_PICTURES)})

    def forward(self, images_B3HW: Tensor, blank_BN: Tensor | None = None) -> Tensor:
        """The last layer's cells (B, N, C) float32; `blank_BN`: cells that are not shown."""
        vit = self.vit
        with torch.autocast("cpu", dtype=torch.bfloat16):
            x = vit.patch_embed.proj(images_B3HW).flatten(2).transpose(1, 2)
            if blank_BN is not None:
                x = torch.where(blank_BN[..., None], self.blank.to(x.dtype), x)
            x = x + self._positions(x.shape[1])
            for block in vit.blocks:
                x = block(x)
        return vit.norm(x.float())

    def _positions(self, cells: int) -> Tensor:
        """Positions of all cells; of the middle ones for a picture smaller than the model's own."""
        full, side = self.vit.patch_embed.grid_size[0], round(cells**0.5)
        low = (full - side) // 2
        grid = self.vit.pos_embed.unflatten(1, (full, full))
        return grid[:, low : low + side, low : low + side].flatten(1, 2)

    def export(self, path: Path) -> None:
        """Writes the transformer in float16 under timm's names."""
        state = {k: v.detach().half().clone() for k, v in self.vit.state_dict().items()}
        write_atomically(path, lambda part: save_file(state, part))


def read_vit_config(path: Path) -> dict[str, Any]:
    """The arguments of `build_vit` in a JSON file such as configs/miniature/miniature_vit.json."""
    arguments: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))["timm_vit"]
    return arguments


def _head(width: int) -> nn.Module:
    return nn.Sequential(nn.Linear(width, _HIDDEN), nn.GELU(), nn.Linear(_HIDDEN, _COMPARED))


class VisionTask:
    """The loss of a training step; all draws are keyed by (seed, step)."""

    def __init__(
        self,
        model: MiniatureVision,
        scenes: ScenePool,
        crops: CropPool,
        seed: int,
        batches: tuple[int, int] = (16, 64),
    ):
        """`batches`: scenes, or single things, of a step."""
        self._model, self._scenes, self._crops, self._seed = model, scenes, crops, seed
        self._batches = batches
        self._disguiser = Disguiser(crops.images)

    def loss(self, step: int, progress: float) -> tuple[Tensor, dict[str, float]]:
        """Loss, and for the log how often the matching point or picture is the nearest."""
        del progress
        generator = np.random.default_rng((self._seed, step))
        kind = str(generator.choice(list(_STEPS), p=list(_STEPS.values())))
        compared = getattr(self, f"_{kind}")
        loss, figures = compared(generator)
        return loss, figures

    def _pictures(self, cells_VBNC: Tensor, views: Views, kind: str) -> tuple[Tensor, float]:
        said_VBK = self._model.heads[kind](cells_VBNC.mean(2))
        return contrast(said_VBK[0], said_VBK[1])

    def _cells(self, cells_VBNC: Tensor, views: Views, kind: str) -> tuple[Tensor, float]:
        said_VBNK = self._model.heads[kind](cells_VBNC)
        inside = torch.from_numpy(views.inside)
        losses, shares = [], []
        for v in range(2):
            other = sample_cells(said_VBNK[1 - v], torch.from_numpy(views.places[v]))
            loss, share = contrast(said_VBNK[v][inside[v]], other[inside[v]])
            losses.append(loss)
            shares.append(share)
        return (losses[0] + losses[1]) / 2, sum(shares) / 2

    def _pixel_loss(self, cells_BNC: Tensor, images_B3HW: Tensor, blank_BN: Tensor) -> Tensor:
        """Mean squared error of all pixels; those of blanked cells weigh as much as the others."""
        truth = F.pixel_unshuffle(F.avg_pool2d(images_B3HW, _BLOCK), PATCH // _BLOCK)
        truth = truth.flatten(2).transpose(1, 2)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            told = self._model.pixels(cells_BNC)
        error_BN = (told.float() - truth).square().mean(-1)
        return (error_BN[blank_BN].mean() + error_BN[~blank_BN].mean()) / 2


def draw_rows(generator: np.random.Generator, images_N: np.ndarray, count: int) -> np.ndarray:
    return generator.integers(0, len(images_N), count)


def draw_blanks(generator: np.random.Generator, shape: tuple[int, ...], most: float) -> np.ndarray:
    """Cells that are not shown (V, B, N) bool: a share of 0 .. `most` of a view, at least one."""
    share = generator.uniform(0, most, (*shape[:2], 1))
    rank = generator.random(shape).argsort(-1).argsort(-1)
    return rank < np.maximum(np.round(share * shape[2]), 1)


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


def normalise(images: np.ndarray) -> Tensor:
    """Pictures (..., H, W, 3) with values 0..255 as the model takes them (..., 3, H, W)."""
    mean, std = torch.tensor(PIXEL_MEAN), torch.tensor(PIXEL_STD)
    scaled = torch.from_numpy(images) / std
    return scaled.sub_(mean / std).movedim(-1, -3)
