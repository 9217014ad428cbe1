"""Reading images, label maps and annotation files; every error names the file and what to do.

Legend: H and W pixels. Panoptic PNGs: https://cocodataset.org/#format-data, section 4: the id of a
pixel is R + 256 G + 65536 B; id 0 is unlabelled.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

DAMAGED = "delete the file and get it again"


def read_rgb(
    path: Path, formats: list[str] | None = None, *, turn: bool = True
) -> NDArray[np.uint8]:
    """The pixels of an image file, RGB uint8 (H, W, 3), turned as its EXIF orientation says.

    Transparent images are laid on white; 16-bit and float greys are scaled to 8 bits; of an
    animation the first frame is taken.

    Args:
        formats: Pillow's names of those that are read; None: all that it knows.
        turn: False: pixels as they are stored.
    Raises: FileNotFoundError; ValueError for a file that is empty, damaged, too large or not
        an image.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such image file")
    if not path.stat().st_size:
        raise ValueError(f"{path}: the file is empty (0 bytes)")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=formats) as image:
                turned = ImageOps.exif_transpose(image) if turn else image
                array = np.asarray(as_rgb(turned), dtype=np.uint8)
    except UnidentifiedImageError:
        raise ValueError(f"{path}: not an image file that Pillow can read") from None
    except Image.DecompressionBombError as error:
        raise ValueError(f"{path}: too large: {error}") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:  # Pillow's damaged files
        raise ValueError(f"{path}: cannot be read, damaged or incomplete ({error})") from error
    if array.ndim != 3 or not array.size:
        raise ValueError(f"{path}: the image has no pixels")
    return array.copy()


def as_rgb(image: Image.Image) -> Image.Image:
    """An 8-bit RGB version of any Pillow image."""
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        return Image.fromarray(_to_8_bits(np.asarray(image))).convert("RGB")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB")
    return image.convert("RGB")


def _to_8_bits(grey_HW: NDArray[np.generic]) -> NDArray[np.uint8]:
    """16-bit greys divided by 257; other depths stretched from their smallest to largest value."""
    values_HW = np.nan_to_num(grey_HW.astype(np.float64))
    low, high = float(values_HW.min()), float(values_HW.max())
    if grey_HW.dtype.kind in "ui" and low >= 0 and high <= 65535:
        low, high = 0.0, 65535.0 if high > 255 else 255.0
    return np.rint(255 * (values_HW - low) / max(high - low, 1e-12)).astype(np.uint8)


def require_file(path: Path, remedy: str = "") -> None:
    """Raises FileNotFoundError with the remedy if `path` is not a file."""
    if not path.is_file():
        order = f"; {remedy}" if remedy else ""
        raise FileNotFoundError(
            f"{path} does not exist{order} (the root folder is $DETECTRON2_DATASETS)"
        )


def read_image(path: str | Path, exif: str = "turn") -> NDArray[np.uint8]:
    """A dataset's image (H, W, 3) uint8 RGB, turned as its EXIF data say unless these are ignored.

    Args: exif: as `DatasetSplit.exif`.
    Raises: FileNotFoundError, or ValueError naming the file if it cannot be decoded.
    """
    require_file(Path(path))
    try:
        return read_rgb(Path(path), turn=exif == "turn")
    except ValueError as error:
        raise ValueError(f"{error}; {DAMAGED}") from error


def exif_orientation(path: str | Path) -> int:
    """1 (as stored) to 8 (quarter turns from 5 on), as the EXIF data of a readable image say."""
    with Image.open(path) as image:
        return int(image.getexif().get(ExifTags.Base.Orientation, 1))


def exif_advice(path: str | Path, size: tuple[int, ...], expected: tuple[int, ...]) -> str:
    """What to do if an image's EXIF orientation is why its size is not the annotation's; or ""."""
    if tuple(size) != tuple(expected)[::-1] or exif_orientation(path) < 5:
        return ""
    return (
        "EXIF data turn the image, its annotation is of the pixels as they are stored: set "
        "`exif: ignore` in the dataset's YAML, or save the images without EXIF data"
    )


def read_label_png(path: str | Path) -> NDArray[np.int64]:
    """Semantic labels (H, W), the PNG's own integers (8 or 16 bit). Errors as `read_image`."""
    labels, _ = read_values(path)
    if labels.ndim != 2:
        raise ValueError(
            f"{path}: is a label map of {labels.ndim} dimensions {labels.shape}; one channel is "
            "expected: prepare the dataset again"
        )
    return labels.astype(np.int64)


def read_panoptic_png(path: str | Path) -> NDArray[np.uint8]:
    """A panoptic map (H, W, 3) uint8, see `ids_of_rgb`; an alpha channel is left out.

    Unlike `read_image`, which lays transparent colours on white and so would change the ids.
    Errors as `read_image`, also for a grey or palette file, whose values are not ids.
    """
    rgb, mode = read_values(path)
    if mode not in ("RGB", "RGBA"):
        raise ValueError(
            f"{path}: is a PNG of mode {mode}; a panoptic map has its segment ids in 8-bit RGB: "
            "prepare the dataset again"
        )
    return rgb[..., :3]


def read_values(path: str | Path) -> tuple[NDArray[Any], str]:
    """The values of a label file as they are, and Pillow's name for its mode.

    Errors as `read_image`.
    """
    require_file(Path(path))
    try:
        with Image.open(path) as image:
            if image.format == "JPEG":
                raise ValueError("a JPEG, which changes labels and ids; save it as PNG")
            return np.array(image), image.mode
    except (OSError, ValueError, SyntaxError) as error:
        raise ValueError(f"{path}: damaged or incomplete label map ({error}); {DAMAGED}") from error


def check_same_size(
    path: str | Path, size: tuple[int, ...], image: str, expected: tuple[int, ...]
) -> None:
    """Raises ValueError if a map (height, width) differs from its image's size."""
    if tuple(size) != tuple(expected):
        raise ValueError(
            f"{path}: is {size[1]}x{size[0]} but its image {image} is {expected[1]}x{expected[0]} "
            "(width x height): the files do not belong together; prepare the dataset again"
        )


def ids_of_rgb(rgb: NDArray[np.uint8]) -> NDArray[np.int32]:
    """Segment ids (H, W) int32 of a panoptic map (H, W, 3) uint8."""
    wide = rgb.astype(np.int32)
    return wide[..., 0] + 256 * wide[..., 1] + 65536 * wide[..., 2]


def rgb_of_ids(ids: NDArray[np.integer[Any]]) -> NDArray[np.uint8]:
    """The panoptic map (H, W, 3) uint8 of segment ids (H, W) below 2^24."""
    return np.stack([(ids >> shift) & 255 for shift in (0, 8, 16)], axis=-1).astype(np.uint8)


def semantic_of_panoptic(
    ids: NDArray[np.integer[Any]], segments: list[dict[str, Any]], ignore_label: int
) -> NDArray[np.int64]:
    """Class indices (H, W) int64 of a panoptic map; pixels of no segment get `ignore_label`."""
    labels = np.full(ids.shape, ignore_label, dtype=np.int64)
    for segment in segments:
        labels[ids == segment["id"]] = segment["category_id"]
    return labels
