"""Reading images, label maps and annotation files; every error names the file and what to do.

Legend: H and W pixels. Panoptic PNGs: https://cocodataset.org/#format-data, section 4: the id of a
pixel is R + 256 G + 65536 B; id 0 is unlabelled.
"""

from __future__ import annotations

import logging
import warnings
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError
from PIL.ImageFile import ImageFile

from frozenseg.data.image_files import HEIF_SUFFIXES
from frozenseg.errors import warn_once

logger = logging.getLogger(__name__)

_WHITES = (255, 1023, 4095, 16383, 65535)  # of 8, 10, 12, 14 and 16 bits
_DEPTHS = 'docs/segment.md, "Depths"'
DAMAGED = "delete the file and get it again"
# What Pillow raises for a file that is damaged, or says that it has more pixels than memory.
PILLOW_ERRORS = (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError)


def read_rgb(
    path: Path | BinaryIO, formats: list[str] | None = None, *, turn: bool = True
) -> NDArray[np.uint8]:
    """The pixels of an image file, RGB uint8 (H, W, 3), turned as its EXIF orientation says.

    Transparent images are laid on white; other depths become 8 bits as `to_8_bits` says; of an
    animation or several pages the first is taken, which is said once.

    Args:
        path: of the file, or the file itself, open for reading bytes.
        formats: Pillow's names of those that are read; None: all that it knows.
        turn: False: pixels as they are stored.
    Raises: FileNotFoundError; ValueError for a file that is empty, damaged, too large or not
        an image.
    """
    name = str(path if isinstance(path, Path) else getattr(path, "name", "the open file"))
    if isinstance(path, Path):
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such image file")
        if not path.stat().st_size:
            raise ValueError(f"{path}: the file is empty (0 bytes)")
    if Path(name).suffix.lower() in HEIF_SUFFIXES:
        _learn_heif(name)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=formats) as image:
                _say_frames(image, name)
                whole = _with_all_bits(image, path, name)
                turned = ImageOps.exif_transpose(whole) if turn else whole
                array = np.asarray(as_rgb(turned, name), dtype=np.uint8)
    except UnidentifiedImageError:
        raise ValueError(f"{name}: not an image file that Pillow can read") from None
    except Image.DecompressionBombError as error:
        raise ValueError(f"{name}: too large: {error}") from error
    except PILLOW_ERRORS as error:
        raise ValueError(f"{name}: cannot be read, damaged or incomplete ({error})") from error
    if array.ndim != 3 or not array.size:
        raise ValueError(f"{name}: the image has no pixels")
    return array.copy()


def as_rgb(image: Image.Image, name: str = "an image") -> Image.Image:
    """An 8-bit RGB version of any Pillow image; `name`: for a warning."""
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        return Image.fromarray(to_8_bits(np.asarray(image), name)).convert("RGB")
    if image.has_transparency_data:
        layer = image.convert("RGBA")
        white = Image.new("RGBA", layer.size, "white")
        return Image.alpha_composite(white, layer).convert("RGB")
    return image.convert("RGB")


def to_8_bits(values: NDArray[np.generic], name: str = "an image") -> NDArray[np.uint8]:
    """Greys or colours of any depth as 0..255 (docs/segment.md, "Depths").

    Whole numbers in 0..65535: 0 is black, and white the smallest of 255, 1023, 4095, 16383 and
    65535 that none exceeds: cameras and scanners keep 10 to 14 bits in 16. All others: the smallest
    value is black, the largest white. What is neither 8 nor 16 bits is said once.
    """
    numbers = np.nan_to_num(values.astype(np.float64))
    low, high = float(numbers.min()), float(numbers.max())
    if values.dtype.kind in "ui" and low >= 0 and high <= _WHITES[-1]:
        low, high = 0.0, float(next(white for white in _WHITES if high <= white))
    if high not in (_WHITES[0], _WHITES[-1]):
        scale = f"{low:g} is shown black, {high:g} white"
        warn_once(logger, "depth", f"{name}: neither 8 nor 16 bits are in use: {scale} ({_DEPTHS})")
    return np.rint(255 * (numbers - low) / max(high - low, 1e-12)).astype(np.uint8)


def _say_frames(image: Image.Image, name: str) -> None:
    """Of a JPEG with further pictures (MPO: previews, depth) the first is the photograph."""
    frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    if frames > 1:
        only = f"only the first of {frames} frames or pages is taken"
        warn_once(logger, "frames", f"{name}: {only}, as of every such file")


def _with_all_bits(image: ImageFile, file: Path | BinaryIO, name: str) -> Image.Image:
    """The image; with 16-bit colours, of which Pillow keeps the upper 8 bits, by `to_8_bits`."""
    if image.mode not in ("RGB", "RGBA") or ";16" not in str(image.tile[:1]):
        return image
    import cv2

    orientation = image.getexif().get(ExifTags.Base.Orientation, 1)
    image.load()  # says what is damaged
    if isinstance(file, Path):
        data = file.read_bytes()
    else:
        file.seek(0)
        data = file.read()
    colors_HWC = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if colors_HWC is None or colors_HWC.dtype != np.uint16 or colors_HWC.ndim != 3:
        return image
    rgb_HW3 = to_8_bits(colors_HWC[:, :, 2::-1], name)
    alpha_HWA = np.rint(colors_HWC[:, :, 3:] / 257).astype(np.uint8)
    whole = Image.fromarray(np.concatenate([rgb_HW3, alpha_HWA], axis=2))
    whole.getexif()[ExifTags.Base.Orientation] = orientation
    return whole


def _learn_heif(name: str) -> None:
    """Makes Pillow read HEIC files. Raises: ValueError without the package that can."""
    try:
        import pi_heif
    except ImportError as error:
        raise ValueError(
            f"{name}: HEIC images need a package: pip install 'frozenseg[heif]', or save them as "
            "JPEG"
        ) from error
    pi_heif.register_heif_opener()


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
    turned = tuple(size) == tuple(expected)[::-1] and Path(path).is_file()
    if not turned or exif_orientation(path) < 5:
        return ""
    return (
        "EXIF data turn the image, its annotation is of the pixels as they are stored: set "
        "`exif: ignore` in the dataset's YAML, or save the images without EXIF data"
    )


def read_label_png(path: str | Path) -> NDArray[np.int64]:
    """Semantic labels (H, W), the PNG's own integers (8 or 16 bit). Errors as `read_image`."""
    labels, mode = read_values(path)
    check_one_channel(path, labels, mode)
    return labels.astype(np.int64)


def check_one_channel(path: str | Path, values: NDArray[Any], mode: str) -> None:
    """Raises ValueError if what `read_values` gave is not a label map (H, W)."""
    if values.ndim != 2:
        raise ValueError(
            f"{path}: has {values.shape[-1]} channels (mode {mode}): it is a coloured picture, not "
            "a map of labels; if its colours are the classes of a dataset of your own, set "
            "`mask_values: color` in its YAML, else prepare the dataset again"
        )


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
            _refuse_jpeg(image)
            return np.array(image), image.mode
    except PILLOW_ERRORS as error:
        raise ValueError(f"{path}: damaged or incomplete label map ({error}); {DAMAGED}") from error


def read_color_map(path: str | Path) -> NDArray[np.int32]:
    """The colours (H, W) of a mask, as R + 256 G + 65536 B; of a palette file those of the palette.

    An alpha channel is left out. Errors as `read_image`, also for a JPEG, whose colours are not
    those that were saved.
    """
    require_file(Path(path))
    try:
        with Image.open(path) as image:
            _refuse_jpeg(image)
            return ids_of_rgb(np.asarray(image.convert("RGB")))
    except PILLOW_ERRORS as error:
        raise ValueError(f"{path}: damaged or incomplete label map ({error}); {DAMAGED}") from error


def hex_of_color(packed: int) -> str:
    """The usual "#rrggbb" of R + 256 G + 65536 B."""
    return "#" + packed.to_bytes(3, "little").hex()


def _refuse_jpeg(image: ImageFile) -> None:
    if image.format == "JPEG":
        raise ValueError("a JPEG, which changes labels and ids; save it as PNG")


def check_same_size(
    path: str | Path, size: tuple[int, ...], image: str, expected: tuple[int, ...]
) -> None:
    """Raises ValueError if a map (height, width) differs from its image's size."""
    if tuple(size) != tuple(expected):
        order = exif_advice(image, expected, size)
        raise ValueError(
            f"{path}: is {size[1]}x{size[0]} but its image {image} is {expected[1]}x{expected[0]} "
            f"(width x height); {order or 'they do not belong together: prepare the dataset again'}"
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
