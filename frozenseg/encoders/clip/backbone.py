"""The frozen CLIP backbone: dense features, embeddings of masks, embeddings of words.

Legend: B images, Q queries (masks), H and W pixels, h and w cells of a map, C channels of a map,
K channels of CLIP's joint space.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import open_clip
import torch
from detectron2.config import CfgNode
from detectron2.layers import ShapeSpec
from detectron2.modeling import BACKBONE_REGISTRY
from detectron2.modeling.backbone import Backbone
from timm.layers import DropPath
from torch import Tensor

from frozenseg.encoders.clip.image_towers import (
    ConvNeXtTower,
    build_visual_tower,
    map_shapes,
    to_channels_last,
)
from frozenseg.encoders.clip.weights import NO_WEIGHTS, load_clip
from frozenseg.encoders.frozen import (
    Frozen,
    check_tower_precision,
    tower_autocast,
    tower_precision,
)
from frozenseg.encoders.text.clip_text import ClipText
from frozenseg.layers.mask_pooling import has_positive, resize_mask_logits

MAX_LOGIT_SCALE = 100.0  # CLIP, arXiv:2103.00020, section 2.5
# The config section that holds the encoder's keys, by MODEL.META_ARCHITECTURE.
CONFIG_SECTIONS = {
    "FrozenSeg": "FROZEN_SEG",
    **dict.fromkeys(("FCCLIP", "MASK_Adapter", "MAFT_Plus", "OVRCOAT"), "FC_CLIP"),
}


def config_section(cfg: CfgNode) -> str:
    """Which section of MODEL holds the keys of the frozen CLIP; FC_CLIP for other architectures."""
    return CONFIG_SECTIONS.get(cfg.MODEL.META_ARCHITECTURE, "FC_CLIP")


class FrozenCLIP(Frozen, Backbone):
    """A CLIP model that never changes: no gradients, always in eval mode.

    Its parameters are named `clip_model.*`, as in the released checkpoints.

    Attributes:
        clip_model: the open_clip model.
        text: its text tower (`ClipText`).
        embed_dim: K.
    """

    def __init__(
        self,
        model: open_clip.CLIP,
        *,
        precision: str = "float32",
        precision_key: str = "precision",
    ):
        """
        Args:
            model: an open_clip model with a ConvNeXt or ModifiedResNet image tower.
            precision: see `precision`. precision_key: its name in messages.
        Raises: ValueError for other towers and precisions.
        """
        super().__init__()
        self.text: ClipText
        self.clip_model = model.requires_grad_(False)
        # Convolutions run about a tenth faster on the CPU in this layout (R50 at 640 x 640).
        self.clip_model.visual.to(memory_format=torch.channels_last)
        self._tower = build_visual_tower(model.visual)
        # Not a submodule of its own: its parameters are `clip_model`'s.
        object.__setattr__(self, "text", ClipText(model))
        self.embed_dim = self.text.embed_dim
        self.precision = check_tower_precision(precision, precision_key)
        self.train(False)
        self._shapes = map_shapes(self._tower, self.clip_model.visual)

    @torch.no_grad()
    def forward(self, images_B3HW: Tensor) -> dict[str, Tensor]:
        """Maps of normalised images: `stem`, `res2` ... `res5`, `clip_vis_dense`, (B, C, h, w)."""
        device = images_B3HW.device
        with tower_autocast(self.precision, device):
            maps = self._tower.features(to_channels_last(images_B3HW))
        if tower_precision(self.precision, device) == "float32":
            return maps
        return {name: each.float() for name, each in maps.items()}

    @property
    def precision(self) -> str:
        """What image and text tower compute in, one of `TOWER_PRECISIONS`.

        Results are float32, and so is what follows the maps (pooling, projection). "float32" leaves
        the image tower to the caller's autocast, if any.
        """
        return self.text.precision

    @precision.setter
    def precision(self, precision: str) -> None:
        self.text.precision = precision

    def pool_masks(self, dense_BChw: Tensor, mask_logits_BQHW: Tensor) -> tuple[Tensor, Tensor]:
        """CLIP's view of every mask.

        Args:
            dense_BChw: the map `clip_vis_dense`.
            mask_logits_BQHW: a cell belongs to the mask where its logit is positive; resized
                bilinearly to the map where sizes differ.

        Returns:
            embeddings (B, Q, K), not normalised, and bool (B, Q): the mask has a positive cell at
            the map's size. Embeddings of the others are finite but mean nothing.
        """
        if mask_logits_BQHW.shape[1] == 0:  # nothing can be resized
            empty = dense_BChw.new_zeros(len(dense_BChw), 0, self.embed_dim)
            return empty, empty.new_zeros(empty.shape[:2], dtype=torch.bool)
        size = (dense_BChw.shape[-2], dense_BChw.shape[-1])
        mask_logits_BQhw = resize_mask_logits(mask_logits_BQHW, size)
        embeddings_BQK = self._tower.pool(dense_BChw, mask_logits_BQhw)
        return embeddings_BQK, has_positive(mask_logits_BQhw)

    def embed_vectors(self, vectors_NC: Tensor) -> Tensor:
        """Single vectors of the map `clip_vis_dense` in the joint space: (N, K)."""
        return self._tower.project(vectors_NC[..., None, None])[..., 0, 0]

    @property
    def pools_by_averaging(self) -> bool:
        """Whether masks are pooled by averaging, before the projection: a ConvNeXt's are."""
        return isinstance(self._tower, ConvNeXtTower)

    @property
    def logit_scale(self) -> Tensor:
        """The factor of CLIP's cosines, exp of the learned parameter, at most 100 (scalar)."""
        return self.clip_model.logit_scale.exp().clamp(max=MAX_LOGIT_SCALE).reshape(())

    def output_shape(self) -> dict[str, ShapeSpec]:
        """Channels and stride of every map of `forward`."""
        return dict(self._shapes)

    @property
    def size_divisibility(self) -> int:
        """Images must be padded to a multiple of this many pixels."""
        return max(int(shape.stride or 1) for shape in self._shapes.values())


class StudentCLIP(FrozenCLIP):
    """`FrozenCLIP` but for stem and stages of its image tower, which train (MAFT+, OVRCOAT).

    Head, projection and text tower stay as they are, and so does the eval mode: nothing random acts
    but the stochastic depth, where there is any.

    Attributes:
        teacher: the CLIP that the student started from; made when it is first needed, since it is
            part of no checkpoint.
    """

    teacher: FrozenCLIP | None

    def __init__(
        self,
        model: open_clip.CLIP,
        make_teacher: Callable[[], open_clip.CLIP],
        *,
        logit_scale: bool = False,
        drop_path: float = 0.0,
        **precision: str,
    ) -> None:
        """
        Args:
            model: with a ConvNeXt image tower.
            logit_scale: the factor of the cosines trains too.
            drop_path: rate of the last block; it rises linearly from 0 at the first one.
            precision: as of `FrozenCLIP`; of the text tower and the teacher alone.
        Raises: ValueError for other towers.
        """
        super().__init__(model, **precision)
        if not self.pools_by_averaging:
            raise ValueError("MODEL.STUDENT.ENABLED needs a CLIP with a ConvNeXt image tower")
        trunk: Any = self.clip_model.visual.trunk
        for part in (trunk.stem, trunk.stages):
            part.requires_grad_(True)
        self.clip_model.logit_scale.requires_grad_(logit_scale)
        blocks = [block for stage in trunk.stages for block in stage.blocks]
        for block, rate in zip(blocks, torch.linspace(0, drop_path, len(blocks)), strict=True):
            block.drop_path = DropPath(float(rate))  # not open_clip's, which differs by version
        self._make_teacher = make_teacher
        object.__setattr__(self, "teacher", None)

    def train(self, mode: bool = True) -> StudentCLIP:
        """Eval mode, except for the stochastic depth."""
        super().train(False)
        for module in self.modules():
            if isinstance(module, DropPath):
                module.train(mode)
        return self

    def forward(self, images_B3HW: Tensor) -> dict[str, Tensor]:
        """`FrozenCLIP.forward`, with gradients, in the caller's precision."""
        return self._tower.features(to_channels_last(images_B3HW))

    @torch.no_grad()
    def teacher_map(self, images_B3HW: Tensor) -> Tensor:
        """The map `clip_vis_dense` of the CLIP that the student started from."""
        if self.teacher is None:
            object.__setattr__(
                self, "teacher", FrozenCLIP(self._make_teacher(), precision=self.precision)
            )
        assert self.teacher is not None
        maps: dict[str, Tensor] = self.teacher.to(images_B3HW.device)(images_B3HW)
        return maps["clip_vis_dense"]


@BACKBONE_REGISTRY.register()
def CLIP(cfg: CfgNode, input_shape: Any = None) -> FrozenCLIP:
    """What MODEL.BACKBONE.NAME "CLIP" builds.

    Reads CLIP_MODEL_NAME, CLIP_PRETRAINED_WEIGHTS, CLIP_PRECISION and EMBED_DIM of the section of
    MODEL.META_ARCHITECTURE. MODEL.DEVICE "meta" builds names and shapes without weights.
    Raises: ValueError where EMBED_DIM is not the model's; and what `load_clip` raises.
    """
    architecture = cfg.MODEL.META_ARCHITECTURE
    if architecture not in CONFIG_SECTIONS:
        known = ", ".join(CONFIG_SECTIONS)
        raise ValueError(
            f"MODEL.META_ARCHITECTURE is {architecture!r}: the backbone CLIP serves {known}"
        )
    section = CONFIG_SECTIONS[architecture]
    node = cfg.MODEL[section]
    device = "meta" if cfg.MODEL.DEVICE == "meta" else "cpu"
    clip = load_clip(node.CLIP_MODEL_NAME, node.CLIP_PRETRAINED_WEIGHTS, device)
    student = cfg.MODEL.STUDENT
    key = f"MODEL.{section}.CLIP_PRECISION"
    precision = {"precision": node.CLIP_PRECISION, "precision_key": key}
    backbone = FrozenCLIP(clip, **precision)
    if student.ENABLED:
        backbone = StudentCLIP(
            clip,
            partial(_teacher, node.CLIP_MODEL_NAME, node.CLIP_PRETRAINED_WEIGHTS, section),
            logit_scale=student.LOGIT_SCALE,
            drop_path=student.DROP_PATH,
            **precision,
        )
    if backbone.embed_dim != node.EMBED_DIM:
        raise ValueError(
            f"MODEL.{section}.EMBED_DIM is {node.EMBED_DIM}, but the CLIP model "
            f"{node.CLIP_MODEL_NAME} has {backbone.embed_dim} channels: set it to "
            f"{backbone.embed_dim}"
        )
    return backbone


def _teacher(name: str, weights: str, section: str) -> open_clip.CLIP:
    if weights in NO_WEIGHTS:
        raise ValueError(
            f"MODEL.{section}.CLIP_PRETRAINED_WEIGHTS is empty: the losses of a student (MODEL."
            "STUDENT.COMPENSATION_WEIGHT, GRAM_WEIGHT) need the CLIP that it started from; name it"
        )
    return load_clip(name, weights)
