"""What a user gives as an image, or as several: to RGB pixels.

Legend: B images, H and W pixels. Results are RGB uint8 (H, W, 3).
"""

from __future__ import annotations

import glob
import io
import logging
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, TypeAlias, TypeGuard, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from frozenseg.data.image_files import VIDEO_SUFFIXES, find_images, is_address
from frozenseg.data.reading import as_rgb, read_rgb, to_8_bits
from frozenseg.visualization.overlay import check_image

if TYPE_CHECKING:
    import torch

ImageLike: TypeAlias = "str | Path | BinaryIO | Image.Image | NDArray[Any] | torch.Tensor"
Images: TypeAlias = "ImageLike | Iterable[ImageLike]"

logger = logging.getLogger(__name__)

_KINDS = (
    "a path, an open file, a PIL image, a numpy array (H, W, 3), a torch tensor (3, H, W), a "
    "folder, or a list"
)


def read_image(image: ImageLike) -> NDArray[np.uint8]:
    """One image as RGB pixels.

    Args:
        image: the path of a file, or the file itself, open for bytes (io.BytesIO); a PIL image
            (turned as its EXIF orientation says); an array (H, W), (H, W, 1), (H, W, 3) RGB or
            (H, W, 4) with transparency, laid on white; a tensor (3, H, W), (1, H, W) or
            (4, H, W). Numbers: uint8 in 0..255, floats in 0..1,
            uint16 as `to_8_bits` takes them.
    Raises: FileNotFoundError; TypeError for another type; ValueError for another shape or range,
        or a file that cannot be read.
    """
    if isinstance(image, (str, os.PathLike)):
        path = Path(image).expanduser()
        if path.is_dir():
            raise ValueError(f"{path} is a folder: give it alone, not among other images")
        check_no_address(image)
        if path.suffix.lower() in VIDEO_SUFFIXES and path.is_file():
            raise ValueError(
                f"{path} is a video: segmenter.video(path) gives its frames' segmentations, "
                f"`frozenseg segment --input {path}` their files"
            )
        return read_rgb(path)
    if isinstance(image, io.TextIOBase):
        raise TypeError(f"{source_of(image)}: is open as text: open it for bytes, mode 'rb'")
    if hasattr(image, "read") and not isinstance(image, (Image.Image, np.ndarray)):
        return read_rgb(cast("BinaryIO", image))
    if isinstance(image, Image.Image):
        array = np.asarray(as_rgb(ImageOps.exif_transpose(image)), dtype=np.uint8).copy()
    elif _is_tensor(image):
        array = _from_tensor(image)
    elif isinstance(image, np.ndarray):
        array = _from_array(image, "array", "(H, W, 3)")
    else:
        raise TypeError(f"an image must be {_KINDS}; got a {type(image).__name__}")
    check_image(array)
    return array


def check_no_address(path: str | os.PathLike[str]) -> None:
    """Raises: ValueError for an address on the internet."""
    if is_address(str(path)):
        raise ValueError(f"{path}: addresses are not fetched: download the file first")


def image_list(images: Images) -> Sequence[ImageLike] | Iterator[ImageLike] | None:
    """The images that a folder, glob pattern, list, iterator or batch stands for; None for one.

    Raises: ValueError for a folder or pattern without images; TypeError for no kind of image.
    """
    if isinstance(images, (str, os.PathLike)):
        check_no_address(images)
        path = Path(images).expanduser()
        is_pattern = glob.has_magic(str(path)) and not path.exists()
        if not (path.is_dir() or is_pattern):
            return None
        found = find_images([str(path)])
        left_out = found.say_left_out()
        if not found.files:
            raise ValueError(
                f"{path}: no image file found there{f'; {left_out}' if left_out else ''}"
            )
        if left_out:
            logger.warning("%s: %s", path, left_out)
        return found.files
    if isinstance(images, np.ndarray) or _is_tensor(images):
        return list(images) if images.ndim == 4 else None
    if isinstance(images, (Image.Image, io.IOBase)):  # a file could be iterated over
        return None
    if isinstance(images, (list, tuple, Iterator)):
        return cast("Sequence[ImageLike] | Iterator[ImageLike]", images)
    raise TypeError(f"an image must be {_KINDS}; got a {type(images).__name__}")


def source_of(image: ImageLike) -> str:
    """The path that an image is read from, "" where it is in memory."""
    if isinstance(image, (str, os.PathLike)):
        return str(image)
    name = getattr(image, "filename", "") or getattr(image, "name", "")
    return name if isinstance(name, str) else ""  # a pipe's is a number


def _is_tensor(image: object) -> TypeGuard[torch.Tensor]:
    """Whether it is one of torch, which is not imported for that: who has a tensor has done so."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(image, torch.Tensor)


def _from_tensor(image: torch.Tensor) -> NDArray[np.uint8]:
    import torch

    if image.ndim == 3 and image.shape[0] not in (1, 3, 4):
        hint = ": use image.permute(2, 0, 1)" if image.shape[2] in (1, 3, 4) else ""
        raise ValueError(f"a tensor must be (3, H, W), got {tuple(image.shape)}{hint}")
    image = image.detach().cpu()
    if image.dtype in (torch.float16, torch.bfloat16):
        image = image.float()
    array = image.permute(1, 2, 0).numpy() if image.ndim == 3 else image.numpy()
    return _from_array(array, "tensor", "(3, H, W)")


def _from_array(array: NDArray[Any], kind: str, wanted: str) -> NDArray[np.uint8]:
    channels = array.shape[2] if array.ndim == 3 else 1
    if array.ndim not in (2, 3) or channels not in (1, 3, 4):
        hint = ""
        if array.ndim == 3 and array.shape[0] in (1, 3, 4):
            hint = ": use image.transpose(1, 2, 0)"
        raise ValueError(f"an {kind} must be {wanted}, got {tuple(array.shape)}{hint}")
    if not array.size:
        raise ValueError(f"the image has no pixels: its shape is {tuple(array.shape)}")
    if array.ndim == 3 and channels == 1:
        array = array[:, :, 0]
    if array.dtype.kind == "f":
        if not (np.isfinite(array).all() and array.min() >= 0 and array.max() <= 1):
            raise ValueError(
                f"a floating-point {kind} must be in 0..1, got {array.min():g}..{array.max():g}: "
                "divide it by 255, or convert it to uint8"
            )
        array = np.rint(array * 255).astype(np.uint8)
    if array.dtype == np.uint16:
        array = to_8_bits(array, f"an {kind}")
    if array.dtype != np.uint8:
        raise ValueError(f"an {kind} must be uint8, uint16 or floating-point, got {array.dtype}")
    if array.dtype == np.uint8 and channels == 3:
        return array.copy()
    return np.asarray(as_rgb(Image.fromarray(array)), dtype=np.uint8).copy()
