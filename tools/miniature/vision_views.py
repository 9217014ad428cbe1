"""Training batches of the miniature vision-only encoder: two views of a picture, nothing else.

A view is the picture turned, enlarged, shifted, mirrored and lit at random. Two views of a scene
know which places show the same point; neither knows what is there: masks and classes are not read.

Legend: B pictures, V views of a picture (2), H and W pixels, N cells of a view.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

PATCH = 32
_ZOOM = (0.85, 1.35)  # pixels of a view per pixel of the picture
_UPRIGHT_SHARE = 0.25  # of the views, which are neither turned nor enlarged
_MAX_NOISE = 8.0
_SLACK = 64  # the noise of a batch is drawn once, and each view takes another window of it


@dataclass(frozen=True)
class Views:
    """Two views of each picture.

    Attributes:
        images: (V, B, H, W, 3) float32, 0..255 before noise and lighting.
        places: (V, B, N, 2) float32: where the middle of cell n of view v lies in the other view,
            as x and y in -1..1 (edge to edge, as grid_sample takes it).
        inside: (V, B, N) bool: that place is at least half a cell inside the other view.
    """

    images: np.ndarray
    places: np.ndarray
    inside: np.ndarray


def draw_views(generator: np.random.Generator, pictures_B: np.ndarray) -> Views:
    """Two views of each picture (B, H, W, 3) uint8, of the pictures' own size."""
    size, batch = pictures_B.shape[1], len(pictures_B)
    images = np.empty((2, batch, size, size, 3), np.float32)
    matrices = np.empty((2, batch, 3, 3))
    noise = _draw_noise(generator, size)
    for v in range(2):
        for b in range(batch):
            matrices[v, b] = draw_matrix(generator, size)
            view = cv2.warpAffine(
                pictures_B[b],
                matrices[v, b, :2],
                (size, size),
                flags=cv2.INTER_LINEAR,
                borderMode=cv2.BORDER_REFLECT_101,
            )
            images[v, b] = _relight(generator, view, noise)
    places = np.stack([_places(matrices[v], matrices[1 - v], size) for v in range(2)])
    inside = (np.abs(places) <= 1 - PATCH / size).all(-1)
    return Views(images, places.astype(np.float32), inside)


def draw_matrix(generator: np.random.Generator, size: int) -> np.ndarray:
    """A map (3, 3) from the picture's pixels to those of a view: turned, enlarged, moved."""
    upright = generator.random() < _UPRIGHT_SHARE
    angle = 0.0 if upright else generator.uniform(0, 2 * np.pi)
    zoom = 1.0 if upright else np.exp(generator.uniform(*np.log(_ZOOM)))
    mirror = -1.0 if generator.random() < 0.5 else 1.0
    linear = zoom * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    linear = linear @ np.diag([mirror, 1.0])
    middle = np.full(2, (size - 1) / 2)
    shift = generator.uniform(-0.12, 0.12, 2) * size
    matrix = np.eye(3)
    matrix[:2, :2] = linear
    matrix[:2, 2] = middle + shift - linear @ middle
    return matrix


def _places(own_B33: np.ndarray, other_B33: np.ndarray, size: int) -> np.ndarray:
    """Where the middles of the cells lie in the other view, (B, N, 2) in -1..1."""
    middles = np.arange(PATCH // 2, size, PATCH) - 0.5
    y, x = np.meshgrid(middles, middles, indexing="ij")
    points_N3 = np.stack([x.ravel(), y.ravel(), np.ones(x.size)], -1)
    moved_BN3 = points_N3 @ (other_B33 @ np.linalg.inv(own_B33)).transpose(0, 2, 1)
    return (moved_BN3[..., :2] + 0.5) * 2 / size - 1


def relight(generator: np.random.Generator, pictures_B: np.ndarray) -> np.ndarray:
    """The pictures, each in another light, float32."""
    noise = _draw_noise(generator, pictures_B.shape[1])
    return np.stack([_relight(generator, picture, noise) for picture in pictures_B])


def _draw_noise(generator: np.random.Generator, size: int) -> np.ndarray:
    return generator.standard_normal((size + _SLACK, size + _SLACK, 3), dtype=np.float32)


def _relight(generator: np.random.Generator, view: np.ndarray, noise: np.ndarray) -> np.ndarray:
    """Brightness, a tint, noise, and now and then a blur; float32."""
    if generator.random() < 0.2:
        view = cv2.GaussianBlur(view, (0, 0), generator.uniform(0.5, 1.5))
    gain = generator.uniform(0.8, 1.2) * generator.uniform(0.93, 1.07, 3)
    scale = np.float32(generator.uniform(0, _MAX_NOISE))
    y, x = generator.integers(0, _SLACK, 2)
    return view * gain.astype(np.float32) + scale * noise[y : y - _SLACK, x : x - _SLACK]
