"""Frozen visual features kept on disk, for training without augmentation.

Legend: B images, M images whose features are missing, H and W pixels, h and w patches, C channels.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from frozenseg.encoders.shard_store import ShardStore
from frozenseg.encoders.visual.encoder import FrozenVisualEncoder

_FORMAT = 2  # part of the cache's key: raise it when the computation changes
DTYPES = {torch.float16: np.float16, torch.float32: np.float32}  # of tensors, on disk


class CachedVisualEncoder:
    """A frozen visual encoder that computes the features of an image once.

    It answers like the encoder, which stays the owner of its parameters. The key is the encoder's
    digest with the pixels, so that changed weights, other statistics and other crops can never
    meet old features. What is returned is what the disk holds, also the first time: results do not
    depend on what was in the cache.

    Every image that differs in one pixel takes its place on disk (C * h * w values): with random
    crops or colours nothing is ever found again.

    Attributes:
        encoder: the encoder.
    """

    def __init__(
        self,
        encoder: FrozenVisualEncoder,
        folder: Path,
        *,
        dtype: torch.dtype = torch.float16,
    ):
        """
        Args:
            folder: where the features of all encoders live, made when needed.
            dtype: precision on disk. float16 halves the space and keeps 3 digits of a feature,
                float32 keeps all.
        Raises: ValueError for another dtype.
        """
        if dtype not in DTYPES:
            raise ValueError(f"features are kept as float16 or float32, not as {dtype}")
        self.encoder = encoder
        self._folder = folder
        self._dtype = dtype
        self._stores: dict[str, ShardStore] = {}

    @torch.no_grad()
    def __call__(self, images_B3HW: Tensor) -> Tensor:
        """Patch features (B, C, h, w) as of `FrozenVisualEncoder.forward`, rounded to the dtype of
        the cache; computed in float32 also under autocast.

        Raises: ValueError for features beyond the range of float16.
        """
        store = self._open()
        keys = image_digests(images_B3HW)
        h, w = (side // self.encoder.stride for side in images_B3HW.shape[-2:])
        found = store.find(keys, (self.encoder.channels, h, w), DTYPES[self._dtype])
        rows = {key: torch.from_numpy(row) for key, row in found.items()}
        place = {key: index for index, key in enumerate(keys) if key not in rows}
        if place:
            rows |= self._compute(images_B3HW, place, store)
        features_BChw = torch.stack([rows[key] for key in keys])
        return features_BChw.to(images_B3HW.device).float()

    def _open(self) -> ShardStore:
        content = json.dumps([_FORMAT, self.encoder.digest, str(self._dtype)])
        name = hashlib.sha256(content.encode()).hexdigest()[:32]
        if name not in self._stores:
            self._stores = {name: ShardStore(self._folder / name, "visual features")}
        return self._stores[name]

    def _compute(
        self, images_B3HW: Tensor, place: Mapping[str, int], store: ShardStore
    ) -> dict[str, Tensor]:
        """Features of the images at `place` by their keys, which are kept.

        The whole batch is computed: with fewer images, convolutions and products round differently,
        and a result would depend on which features were found.
        """
        with torch.autocast(images_B3HW.device.type, enabled=False):
            features_BChw = self.encoder(images_B3HW)
        features_MChw = features_BChw[list(place.values())]
        kept_MChw = features_MChw.to("cpu", self._dtype)
        if not kept_MChw.isfinite().all() and features_MChw.isfinite().all():
            raise ValueError(
                f"visual features up to {float(features_MChw.abs().max()):.3g} are beyond the range"
                " of float16: keep them as float32"
            )
        store.add(list(place), kept_MChw.numpy())
        return dict(zip(place, kept_MChw, strict=True))


def image_digests(images_B3HW: Tensor) -> list[str]:
    """SHA-256 of every image (64 hexadecimal digits): shape, dtype and pixels."""
    images_B3HW = images_B3HW.detach().cpu().contiguous()
    header = f"{tuple(images_B3HW.shape[1:])} {images_B3HW.dtype}".encode()
    data = images_B3HW.flatten(1).view(torch.uint8).numpy()
    return [hashlib.sha256(header + row.tobytes()).hexdigest() for row in data]
