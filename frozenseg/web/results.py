"""The files of a result that a visitor can download."""

from __future__ import annotations

import re
import secrets
import shutil
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from frozenseg.files import write_atomically
from frozenseg.web.limits import Limits
from frozenseg.web.viewer import resized

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from frozenseg.predict.segmentation import Segmentation

KEPT = 16  # results of a visitor on disk at a time
LARGEST_OVERLAY = 2048  # longer side; at 25 megapixels drawing would take longer than segmenting
_FAST = 1  # of zlib's levels: three times as fast as the usual 6


class _Result(NamedTuple):
    folder: Path
    visitor: str
    bytes: int


class ResultFolder:
    """Files of the last results, each in a folder whose name cannot be guessed."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        """`folder`: made when needed."""
        self.folder, self._limits = folder, limits
        self._kept: list[_Result] = []
        self._lock = threading.Lock()

    def write(
        self,
        segmentation: Segmentation,
        image_name: str,
        about: Mapping[str, Any],
        visitor: str = "",
    ) -> tuple[Path, Path, Path]:
        """NAME_overlay.png, NAME_labels.png and NAME.json.

        The label map has the image's size; the overlay is reduced to a longer side of 2048.

        Args:
            segmentation: knows its image.
            image_name: the visitor's file; NAME is made of it.
            about: first entries of the JSON object.
            visitor: whose oldest results make room for this one.
        """
        from PIL import Image

        from frozenseg.predict.segmentation_files import save_one

        folder = self.folder / secrets.token_urlsafe(16)
        folder.mkdir(parents=True)
        name = safe_name(image_name)
        overlay, labels = folder / f"{name}_overlay.png", folder / f"{name}_labels.png"
        picture = Image.fromarray(_overlay(segmentation))
        write_atomically(overlay, lambda part: picture.save(part, "PNG", compress_level=_FAST))
        save_one(segmentation, labels, {})
        content = folder / f"{name}.json"
        save_one(segmentation, content, {"image": image_name, **about})
        size = sum(file.stat().st_size for file in (overlay, labels, content))
        with self._lock:
            self._kept.append(_Result(folder, visitor, size))
            self._make_room(visitor)
        return overlay, labels, content

    def remove_older(self, seconds: float) -> None:
        """Deletes the results that are older."""
        with self._lock:
            for result in list(self._kept):
                if result.folder.stat().st_mtime < time.time() - seconds:
                    self._remove(result)

    def _make_room(self, visitor: str) -> None:
        own = [result for result in self._kept if result.visitor == visitor]
        while len(own) > KEPT or _bytes(own) > self._limits.visitor_bytes:
            self._remove(own.pop(0))
        while _bytes(self._kept) > self._limits.disk_bytes:
            self._remove(self._kept[0])

    def _remove(self, result: _Result) -> None:
        self._kept.remove(result)
        shutil.rmtree(result.folder, ignore_errors=True)


def _bytes(results: list[_Result]) -> int:
    return sum(result.bytes for result in results)


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
