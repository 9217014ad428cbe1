"""The files of a result that a visitor can download."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from frozenseg.files import write_atomically
from frozenseg.web.viewer import resized

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from frozenseg.predict.segmentation import Segmentation

KEPT = 8  # results on disk at a time; gradio has copied the files of older ones
LARGEST_OVERLAY = 2048  # longer side; at 25 megapixels drawing would take longer than segmenting
_FAST = 1  # of zlib's levels: three times as fast as the usual 6


class ResultFolder:
    """Files of the last few results, each in a folder of its own."""

    def __init__(self, folder: Path) -> None:
        """`folder`: made when needed."""
        self._folder = folder
        self._count = 0

    def write(
        self, segmentation: Segmentation, image_name: str, about: Mapping[str, Any]
    ) -> tuple[Path, Path, Path]:
        """NAME_overlay.png, NAME_labels.png and NAME.json.

        The label map has the image's size; the overlay is reduced to a longer side of 2048.

        Args:
            segmentation: knows its image.
            image_name: the visitor's file; NAME is made of it.
            about: first entries of the JSON object.
        """
        from PIL import Image

        from frozenseg.predict.segmentation_files import save_one

        folder = self._folder / str(self._count % KEPT)
        self._count += 1
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.iterdir():
            old.unlink()
        name = safe_name(image_name)
        overlay, labels = folder / f"{name}_overlay.png", folder / f"{name}_labels.png"
        picture = Image.fromarray(_overlay(segmentation))
        write_atomically(overlay, lambda part: picture.save(part, "PNG", compress_level=_FAST))
        save_one(segmentation, labels, {})
        save_one(segmentation, folder / f"{name}.json", {"image": image_name, **about})
        return overlay, labels, folder / f"{name}.json"


def _overlay(segmentation: Segmentation) -> NDArray[np.uint8]:
    image_HW3 = segmentation.image_HW3
    if image_HW3 is None:
        raise ValueError("the files of a result need a segmentation that knows its image")
    height, width = image_HW3.shape[:2]
    factor = min(1.0, LARGEST_OVERLAY / max(height, width))
    size = max(1, round(height * factor)), max(1, round(width * factor))
    return segmentation.overlay(resized(image_HW3, *size))


def safe_name(image_name: str) -> str:
    """A short file name without suffix from any file name: letters, digits, "_" and "-"."""
    stem = re.sub(r"[^\w-]+", "_", Path(image_name).stem).strip("_")
    return stem[:60] or "image"


def about_model(about: Mapping[str, Any]) -> dict[str, Any]:
    """What a result file says of its model: `Segmenter.about` without folders of the server."""
    return {
        key: Path(value).name if key in ("weights", "name") and value else value
        for key, value in about.items()
    }
