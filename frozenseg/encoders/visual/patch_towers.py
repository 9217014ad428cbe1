"""Image towers of open_clip and timm behind one interface: a map of patch features out.

Legend: B images, H and W pixels, h and w patches, N = h * w, C channels of the result, D width of
a tower, P positions of a tower.
"""

from __future__ import annotations

from typing import Any

import torch
from open_clip.modified_resnet import ModifiedResNet
from open_clip.transformer import VisionTransformer as ClipVit
from timm.layers import resample_abs_pos_embed
from timm.models.convnext import ConvNeXt
from timm.models.resnet import ResNet
from timm.models.vision_transformer import VisionTransformer as TimmVit
from torch import Tensor, nn
from torch.func import functional_call

from frozenseg.checkpoints.digests import attention_heads
from frozenseg.encoders.clip.image_towers import build_visual_tower, map_shapes, to_channels_last


class PatchTower(nn.Module):
    """Images (B, 3, H, W), H and W multiples of `stride`, in; features (B, C, h, w) out.

    Attributes:
        visual: the library's module, whose parameters these are.
        channels: C.
        stride: side of a patch in pixels, H / h.
    """

    def __init__(self, visual: nn.Module, *, channels: int, stride: int):
        super().__init__()
        self.visual: Any = visual
        self.channels = channels
        self.stride = stride

    def describe(self) -> dict[str, Any]:
        """What the features depend on beside the weights, fit for JSON."""
        grid = getattr(getattr(self.visual, "patch_embed", self.visual), "grid_size", None)
        return {
            "tower": type(self).__name__,
            "modules": repr(self.visual),
            "heads": attention_heads(self.visual),
            "grid": list(grid) if grid else None,
        }


class ClipVitTower(PatchTower):
    """CLIP's vision transformer: patch tokens through the last norm and the projection.

    The tokens so lie in the joint space, though CLIP trained only the class token to. Images of
    other sizes than the model's: its positions are resized bicubically.
    """

    def __init__(self, visual: ClipVit):
        patch = tuple(visual.patch_size)
        if visual.attn_pool is not None or visual.final_ln_after_pool or visual.pool_type == "none":
            raise ValueError(
                "CLIP vision transformers with an attention pool, without pooling, or with the "
                "last norm behind it have no patch tokens in the joint space: choose another model"
            )
        _check_square(patch)
        visual.output_tokens = True
        super().__init__(visual, channels=visual.proj.shape[1], stride=patch[0])

    def forward(self, images_B3HW: Tensor) -> Tensor:
        """Projected patch tokens (B, K, h, w)."""
        size = _patches(images_B3HW, self.stride)
        positions_PD = resample_abs_pos_embed(
            self.visual.positional_embedding[None],
            new_size=size,
            old_size=list(self.visual.grid_size),
            num_prefix_tokens=1,
        )[0]
        # The tower's own forward with other positions: every variant of it stays open_clip's.
        _, tokens_BND = functional_call(
            self.visual, {"positional_embedding": positions_PD}, (images_B3HW,)
        )
        return _to_map(tokens_BND @ self.visual.proj, size)


class TimmVitTower(PatchTower):
    """timm's vision transformer: patch tokens of the last block, through the last norm."""

    def __init__(self, visual: TimmVit):
        """`visual` must have been built with `dynamic_img_size=True`: timm resizes positions."""
        if not visual.dynamic_img_size:
            raise ValueError("timm's vision transformer must be built with dynamic_img_size=True")
        patch = tuple(visual.patch_embed.patch_size)
        _check_square(patch)
        super().__init__(visual, channels=visual.embed_dim, stride=patch[0])

    def forward(self, images_B3HW: Tensor) -> Tensor:
        """Normalised patch tokens (B, C, h, w)."""
        tokens_BND = self.visual.forward_features(images_B3HW)[:, self.visual.num_prefix_tokens :]
        return _to_map(tokens_BND, _patches(images_B3HW, self.stride))


class ClipConvolutionTower(PatchTower):
    """A convolutional CLIP: every cell of the last map, as near to the joint space as it gets."""

    def __init__(self, visual: nn.Module):
        visual.to(memory_format=torch.channels_last)
        tower = build_visual_tower(visual)
        shape = map_shapes(tower, visual)["clip_vis_dense"]
        dense = next(visual.parameters()).new_zeros(1, shape.channels, 1, 1)
        super().__init__(visual, channels=tower.project(dense).shape[1], stride=shape.stride)
        self._tower = tower

    def forward(self, images_B3HW: Tensor) -> Tensor:
        """Cells (B, C, h, w); see `VisualTower.project`."""
        dense_BDhw = self._tower.features(to_channels_last(images_B3HW))["clip_vis_dense"]
        return self._tower.project(dense_BDhw)


class TimmResNetTower(PatchTower):
    """timm's ResNet: the last map."""

    def __init__(self, visual: ResNet):
        visual.to(memory_format=torch.channels_last)
        stride = visual.feature_info[-1]["reduction"]
        super().__init__(visual, channels=visual.num_features, stride=stride)

    def forward(self, images_B3HW: Tensor) -> Tensor:
        """The last map (B, C, h, w)."""
        return self.visual.forward_features(to_channels_last(images_B3HW))


_TOWERS = (
    (ClipVit, ClipVitTower),
    (TimmVit, TimmVitTower),
    (ModifiedResNet, ClipConvolutionTower),
    (ResNet, TimmResNetTower),
)


def build_patch_tower(visual: nn.Module) -> PatchTower:
    """The tower for a model of timm, or the image part of a model of open_clip.

    Raises: ValueError for other kinds.
    """
    if isinstance(getattr(visual, "trunk", None), ConvNeXt):
        return ClipConvolutionTower(visual)
    for kind, tower in _TOWERS:
        if isinstance(visual, kind):
            return tower(visual)
    kind_name = type(getattr(visual, "trunk", visual)).__name__
    raise ValueError(
        f"no patch features can be had of a {kind_name}: choose a CLIP with a vision transformer, "
        "a ConvNeXt or a ResNet, or a vision transformer or ResNet of timm"
    )


def _check_square(patch: tuple[int, ...]) -> None:
    if patch[0] != patch[1]:
        raise ValueError(f"patches of {patch[0]} x {patch[1]} pixels: they must be square")


def _patches(images_B3HW: Tensor, stride: int) -> list[int]:
    return [images_B3HW.shape[-2] // stride, images_B3HW.shape[-1] // stride]


def _to_map(tokens_BND: Tensor, size: list[int]) -> Tensor:
    return tokens_BND.unflatten(1, size).permute(0, 3, 1, 2)
