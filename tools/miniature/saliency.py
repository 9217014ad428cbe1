"""Things cut out of pictures without any label, pasted into scenes, and described by their outline.

What differs from the edge of a picture of a single thing is taken for the thing. The description is
a fixed formula of that mask, the same for a thing that is turned, mirrored, enlarged or moved.

Source: saliency by histogram and copy-paste as in CP2, arXiv:2203.11709; hand-made descriptions as
targets as in MaskFeat, arXiv:2112.09133 (there gradients of the picture, here of the outline).

Legend: N pictures of things, B scenes, T things pasted into a scene, D numbers of a description,
H and W pixels.
"""

from __future__ import annotations

from typing import NamedTuple

import cv2
import numpy as np

_LEVELS = 12  # of each colour channel, in the histogram of the edge's colours
_EDGE = 7  # pixels
_RARE = 0.12  # how often, against the edge's average colour, a colour of the thing may occur there
_SHARES = (0.06, 0.7)  # of a picture; smaller and larger masks are wrong
_ON_EDGE = 0.05  # share of the picture's outermost pixels that the thing may cover
_ANGLES, _RADII, _REACH, _HARMONICS = 64, 10, 2.2, 9
_KEPT = 16  # numbers of an outline
DESCRIBED = _KEPT + 3  # with the mean colour
_PASTED = (3, 6)
_ZOOM = (0.8, 1.2)


class PastedScenes(NamedTuple):
    """Scenes with pasted things.

    Attributes:
        images: (B, H, W, 3) uint8.
        ids: (B, H, W) uint8, which of the pasted things covers a pixel, from 1; 0: none.
        rows: (B, T) int64, the picture that a thing comes from; -1 behind the last thing.
    """

    images: np.ndarray
    ids: np.ndarray
    rows: np.ndarray


class Cutouts:
    """The things of a pool of pictures that could be cut out.

    Attributes:
        usable: rows of the pictures where that worked.
        outlines_ND: of these, the outline (`describe_outlines`) and the mean colour (-1..1).
    """

    def __init__(self, images_N: np.ndarray):
        """`images_N`: (N, H, W, 3) uint8; H = W."""
        self._images_N = images_N
        self._masks_N = np.stack([salient_mask(image) for image in images_N])
        share_N = self._masks_N.mean((1, 2)) / 255
        rim = [self._masks_N[:, 0], self._masks_N[:, -1], self._masks_N[:, :, 0]]
        rim_N = np.concatenate([*rim, self._masks_N[:, :, -1]], 1).mean(1) / 255
        good = (share_N > _SHARES[0]) & (share_N < _SHARES[1]) & (rim_N < _ON_EDGE)
        self.usable = np.flatnonzero(good)
        self.outlines_ND = np.zeros((len(images_N), DESCRIBED), np.float32)
        colors = [images_N[n][self._masks_N[n] > 0].mean(0) for n in self.usable]
        self.outlines_ND[self.usable] = np.concatenate(
            [describe_outlines(self._masks_N[self.usable]), np.array(colors) / 128 - 1], 1
        )

    def paste(self, generator: np.random.Generator, scenes_B: np.ndarray) -> PastedScenes:
        """Copies of the scenes (B, H, W, 3) uint8 with three to six things on top of each."""
        images, ids = scenes_B.copy(), np.zeros(scenes_B.shape[:3], np.uint8)
        rows = np.full((len(scenes_B), _PASTED[1]), -1)
        for b in range(len(scenes_B)):
            for t in range(generator.integers(_PASTED[0], _PASTED[1] + 1)):
                rows[b, t] = generator.choice(self.usable)
                self._paste_one(generator, images[b], ids[b], int(rows[b, t]), t + 1)
        return PastedScenes(images, ids, rows)

    def _paste_one(
        self, generator: np.random.Generator, image: np.ndarray, ids: np.ndarray, row: int, k: int
    ) -> None:
        size, side = image.shape[0], self._images_N.shape[1]
        window = round(_ZOOM[1] * side)
        angle, zoom = generator.uniform(0, 360), generator.uniform(*_ZOOM)
        matrix = cv2.getRotationMatrix2D((side / 2, side / 2), angle, zoom)
        matrix[:, 2] += (window - side) / 2
        gain = np.float32(generator.uniform(0.85, 1.1))
        color = cv2.warpAffine(self._images_N[row], matrix, (window, window))
        mask = cv2.warpAffine(self._masks_N[row], matrix, (window, window))
        top, left = (generator.uniform(0.1, 0.9, 2) * size - window / 2).astype(int).tolist()
        inner = (slice(max(-top, 0), size - top), slice(max(-left, 0), size - left))
        color, mask = color[inner], mask[inner]
        place = (slice(max(top, 0), top + window), slice(max(left, 0), left + window))
        soft = cv2.GaussianBlur(mask, (3, 3), 0)[..., None] * np.float32(1 / 255)
        image[place] = (image[place] + soft * (gain * color - image[place])).clip(0, 255)
        ids[place][mask > 127] = k


def salient_mask(image: np.ndarray) -> np.ndarray:
    """The largest part that does not look like the edge of the picture, (H, W) uint8, 0 or 255.

    Where the thing has the colour of its ground it is wrong.
    """
    smooth = cv2.bilateralFilter(image, 5, 30, 3)
    bins = smooth.astype(np.intp) * _LEVELS // 256
    flat = (bins[..., 0] * _LEVELS + bins[..., 1]) * _LEVELS + bins[..., 2]
    edge = np.ones(flat.shape, bool)
    edge[_EDGE:-_EDGE, _EDGE:-_EDGE] = False
    counts = np.bincount(flat[edge], minlength=_LEVELS**3).astype(np.float32)
    cube = counts.reshape(_LEVELS, _LEVELS, _LEVELS)
    for axis in range(3):  # neighbouring colours count a little
        padded = np.pad(cube, [(1, 1) if a == axis else (0, 0) for a in range(3)])
        before, after = (np.take(padded, range(k, k + _LEVELS), axis) for k in (0, 2))
        cube = cube + 0.5 * (before + after)
    density = cube.ravel()[flat]
    rare = np.where(density < _RARE * density[edge].mean(), 255, 0).astype(np.uint8)
    _, parts, stats, _ = cv2.connectedComponentsWithStats(cv2.medianBlur(rare, 5), connectivity=4)
    if len(stats) == 1:
        return np.zeros_like(rare)
    largest = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    return np.where(parts == largest, 255, 0).astype(np.uint8)


def describe_outlines(masks_N: np.ndarray) -> np.ndarray:
    """Numbers (N, D) float32 that say what masks look like, whichever way they are turned.

    On circles around the middle of a mask, how strongly it repeats itself once, twice, ... in a
    turn; of these the main components over all masks, with mean 0 and mean square 1.
    """
    raw = np.stack([_circles(mask) for mask in masks_N])
    raw = raw - raw.mean(0)
    directions = np.linalg.eigh(raw.T @ raw / len(raw))[1][:, ::-1]
    main = raw @ directions[:, :_KEPT]
    return (main / np.sqrt(np.square(main).mean())).astype(np.float32)


def _circles(mask: np.ndarray) -> np.ndarray:
    moments = cv2.moments(mask)
    middle = (moments["m10"] / moments["m00"], moments["m01"] / moments["m00"])
    reach = _REACH * np.sqrt(moments["m00"] / 255 / np.pi)
    polar = cv2.warpPolar(mask, (_RADII, _ANGLES), middle, reach, cv2.WARP_FILL_OUTLIERS)
    strength = np.abs(np.fft.rfft(polar.astype(np.float32) / 255, axis=0))[:_HARMONICS]
    strength[1:] *= 2  # a wave is in two places of the spectrum
    return (strength / _ANGLES).ravel()
